"""The measurements that the pages quote: `python -m bench [routes|depth|storage] [--quick]`.

Each starts throw-away servers, measures the API beside references in alternating rounds, and ends with exit code 1 if
a bound that the project promises is broken.
"""
