"""Every table, so that the metadata is whole: for Alembic, and for nothing else."""

from todo_core.accounts.models import Account, RefreshToken
from todo_core.notifications.models import EmailVerification, Inbox, MailedAddress, Notification, Preferences, Webhook
from todo_core.reminders.models import Delivery, Reminder
from todo_core.todos.models import Bytewise, Todo

__all__ = [
    "Account",
    "Bytewise",
    "Delivery",
    "EmailVerification",
    "Inbox",
    "MailedAddress",
    "Notification",
    "Preferences",
    "RefreshToken",
    "Reminder",
    "Todo",
    "Webhook",
]
