"""Imports every table, so that Alembic has complete metadata."""

from todo_core.accounts.models import Account, EmailVerification, MailedAddress, RefreshToken
from todo_core.inbox.models import Inbox, Notification
from todo_core.preferences.models import Preferences
from todo_core.reminders.models import Delivery, Reminder
from todo_core.todos.models import Bytewise, Todo
from todo_core.webhooks.models import Webhook

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
