"""Connects Alembic to the database: one migrator at a time, with time limits, for every command.

The advisory lock is polled with no transaction open, never waited for: a waiting lock holds a snapshot, `CREATE INDEX
CONCURRENTLY` waits for snapshots, and the two would wait for each other.
"""

import asyncio
from typing import Literal

import asyncpg
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel.sql.sqltypes import AutoString

from todo_core.database import Instant, connect, metadata, migration_revision
from todo_core.migrations import revisions
from todo_core.models import Bytewise  # imports every table
from todo_core.settings import DatabaseSettings, Settings

_LOCK_KEY = 0x746F646F_6D696772  # "todomigr"
_POLL_SECONDS = 0.2


async def _take_lock(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):  # noqa: ASYNC110 - see above
        await asyncio.sleep(_POLL_SECONDS)


def _render(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    # SQLModel's string type and ours are written as their database types.
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    if kind == "type" and isinstance(item, Instant):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, Bytewise):
        return 'sa.String(collation="C")'
    return False


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
        render_item=_render,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run(settings: DatabaseSettings) -> None:
    limits = {
        "application_name": "todo-migrate",
        "timezone": "UTC",
        "lock_timeout": str(settings.migration_lock_timeout_ms),
        "statement_timeout": str(settings.migration_statement_timeout_ms),
    }
    # The lock has its own connection: the migrations' may commit, or be ended by a time limit.
    holder = await connect(settings, server_settings=limits)
    try:
        await _take_lock(holder)
        attributes["reached"] = await migration_revision(holder)
        if attributes.get("leave_newer") and revisions.is_newer(attributes["reached"]):
            return
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(settings, server_settings=limits),
            poolclass=pool.NullPool,
        )
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
        await engine.dispose()
        attributes["reached"] = await migration_revision(holder)
    finally:
        await holder.close()


attributes = context.config.attributes
settings = attributes.get("settings")
asyncio.run(_run(settings.database if isinstance(settings, Settings) else Settings.load().database))
