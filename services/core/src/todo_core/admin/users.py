"""Accounts as an operator sees and changes them: names, times and counts, and never a word of anybody's todos."""

from typing import Any
from uuid import UUID

import asyncpg

from todo_core.accounts.service import login_key
from todo_core.database import StatementPool

_LIST = """
SELECT username, email, email_verified_at IS NOT NULL AS verified, disabled_at IS NOT NULL AS disabled, created_at,
       (SELECT max(r.created_at) FROM refresh_tokens r WHERE r.account_id = a.id) AS last_seen_at,
       (SELECT count(*) FROM todos t WHERE t.owner_id = a.id) AS todos
FROM accounts a
WHERE position($2 IN username_key) > 0 OR position($2 IN email_key) > 0
ORDER BY created_at DESC, id DESC LIMIT $1
"""
_SHOW = """
SELECT id, username, email, email_verified_at, disabled_at, created_at, timezone, locale,
       (SELECT max(r.created_at) FROM refresh_tokens r WHERE r.account_id = a.id) AS last_seen_at,
       (SELECT count(DISTINCT r.family_id) FROM refresh_tokens r WHERE r.account_id = a.id AND r.expires_at > now())
           AS sessions,
       (SELECT count(*) FROM todos t WHERE t.owner_id = a.id AND NOT t.completed) AS todos_open,
       (SELECT count(*) FROM todos t WHERE t.owner_id = a.id AND t.completed) AS todos_completed,
       (SELECT count(*) FROM reminders m WHERE m.account_id = a.id AND m.state = 'scheduled') AS reminders_scheduled,
       (SELECT count(*) FROM notifications n WHERE n.account_id = a.id) AS notifications,
       (SELECT count(*) FROM webhooks w WHERE w.account_id = a.id) AS webhooks
FROM accounts a WHERE id = $1
"""
# A username can look like an id: the account with that id is meant.
_FIND = """
SELECT id FROM accounts WHERE id = $1 OR username_key = $2 OR email_key = $2
ORDER BY coalesce(id = $1, false) DESC LIMIT 1
"""
# Each raises auth_version, which ends all access tokens.
_DISABLE = """
UPDATE accounts SET disabled_at = coalesce(disabled_at, now()), auth_version = auth_version + 1
WHERE id = $1 RETURNING username
"""
_ENABLE = "UPDATE accounts SET disabled_at = NULL WHERE id = $1 RETURNING username"
_SET_HASH = """
UPDATE accounts SET password_hash = $2, auth_version = auth_version + 1 WHERE id = $1 RETURNING username
"""
_END_SESSIONS = "DELETE FROM refresh_tokens WHERE account_id = $1"
_DELETE = "DELETE FROM accounts WHERE id = $1 RETURNING username"


class UnknownUser(Exception):
    """No account has this username, e-mail address or id."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No account has the username, e-mail address or id {name!r}.")


class Users:
    """Runs an operator's statements on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def list(self, limit: int, text: str = "") -> list[dict[str, Any]]:
        """Return the newest accounts whose username or e-mail address has this text in it."""
        return [dict(row) for row in await self._statements.fetch(_LIST, limit, login_key(text))]

    async def find(self, name: str) -> str:
        """Return the id of the account with this username, e-mail address or id.

        Raises:
            UnknownUser: there is none.
        """
        try:
            account_id = UUID(name)
        except ValueError:
            account_id = None
        row = await self._statements.fetchrow(_FIND, account_id, login_key(name))
        if row is None:
            raise UnknownUser(name)
        return str(row["id"])

    async def show(self, name: str) -> dict[str, Any]:
        """Return one account with its counts.

        Raises:
            UnknownUser: there is none.
        """
        row = await self._statements.fetchrow(_SHOW, await self.find(name))
        if row is None:
            raise UnknownUser(name)
        return dict(row)

    async def disable(self, name: str) -> str:
        """End all sessions of an account and refuse new ones; return its username.

        Its reminders that come due meanwhile are skipped.

        Raises:
            UnknownUser: there is no such account. So do the three below.
        """
        return await self._change_and_end_sessions(_DISABLE, name)

    async def enable(self, name: str) -> str:
        """Let an account sign in again; return its username."""
        return _username(name, await self._statements.fetchrow(_ENABLE, await self.find(name)))

    async def set_password(self, name: str, password_hash: str) -> str:
        """Replace the password of an account and end all its sessions; return its username."""
        return await self._change_and_end_sessions(_SET_HASH, name, password_hash)

    async def delete(self, name: str) -> str:
        """Remove an account; foreign keys take along all that is its own. Return the username that it had."""
        return _username(name, await self._statements.fetchrow(_DELETE, await self.find(name)))

    async def _change_and_end_sessions(self, statement: str, name: str, *parameters: object) -> str:
        account_id = await self.find(name)
        # Two statements: the second sees the refresh token of a sign-in that held the account's lock before the first.
        async with self._statements.transaction() as transaction:
            username = _username(name, await transaction.fetchrow(statement, account_id, *parameters))
            await transaction.fetch(_END_SESSIONS, account_id)
        return username


def _username(name: str, row: asyncpg.Record | None) -> str:
    if row is None:
        raise UnknownUser(name)
    return str(row["username"])
