"""`python -m todo_worker.probe`: exits with 0 while all worker processes of this machine are alive, else with 1.

Health checks run it. It reads the files of `heartbeat.py` only: asking the broker (`celery inspect ping`) is costly,
and calls a worker dead while Redis is away.
"""

import sys

from todo_core.settings import ConfigurationError, Settings
from todo_worker.heartbeat import dead_processes


def main() -> int:
    """Print what is wrong on standard error; return the exit status."""
    try:
        dead = dead_processes(Settings.load().worker)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    if dead is None:
        print("No worker process has given a sign of life.", file=sys.stderr)
        return 1
    if dead:
        print(f"No sign of life for too long: {', '.join(map(str, dead))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
