"""Every table, so that the metadata is whole: for Alembic, and for nothing else."""

from todo_core.accounts.models import Account, RefreshToken
from todo_core.todos.models import Todo

__all__ = ["Account", "RefreshToken", "Todo"]
