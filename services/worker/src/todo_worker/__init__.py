"""The worker: Celery processes over `todo_core` that send reminders when they are due."""
