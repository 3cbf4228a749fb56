"""The product: what an account, a todo and a reminder are, and every line of SQL.

Knows nothing of HTTP and nothing of Celery; `todo_api` and `todo_worker` are the two doors to it.
"""
