"""The door that time comes in by: Celery over `todo_core`. It brings reminders to people when they are due."""
