"""The core of the product: the rules of accounts, todos and reminders, and every line of SQL.

It imports neither HTTP nor Celery code; `todo_api` and `todo_worker` build on it.
"""
