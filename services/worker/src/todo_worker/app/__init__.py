"""The Celery app: all that the worker has of Celery, and nothing else in the worker imports it.

Celery is here for three things: it supervises the worker's processes (starts them, replaces one that died, stops them
within a grace period), beat ticks once a second for all of them together, and its broker carries wake-ups between
processes. A wake-up holds ids at most, expires within seconds, and is safe to lose and to repeat: PostgreSQL knows what
is to do, and the engine (`todo_worker.pump`) polls by itself while Celery's broker is away.

`celery -A todo_worker.app` finds the app in `celery.py`, by Celery's own convention.
"""
