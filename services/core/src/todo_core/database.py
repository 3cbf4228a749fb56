"""The ways to PostgreSQL: plain connections for what is hot, sessions for the rest; built by whoever starts a process.

What is hot sends static statements on plain connections: reads by `StatementPool.fetch`, changes by
`StatementPool.transaction`. What is not, uses a session of SQLAlchemy and the models.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg
from sqlalchemy import CheckConstraint, DateTime, MetaData, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import SQLModel

from todo_core.errors import Unavailable
from todo_core.settings import DatabaseSettings
from todo_core.urls import with_password

_MARGIN_SECONDS = 0.5

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata: MetaData = SQLModel.metadata
metadata.naming_convention = NAMING_CONVENTION


class Instant(DateTime):
    """A point in time: `timestamptz`, always with its zone."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(timezone=True)


def readable(column: str) -> CheckConstraint:
    """A check that an instant lies in the years 1 to 9999, which are those that Python has.

    asyncpg fails on all others. It reads `infinity` and `-infinity` as the last and the first microsecond of these
    years, without their zone, and writes those two as infinite: so they are excluded as well.
    """
    bounds = "{0} > '0001-01-01 00:00:00+00' AND {0} < '9999-12-31 23:59:59.999999+00'"
    return CheckConstraint(bounds.format(column), name=f"{column}_readable")


_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said its last word, and the connection has not ended yet
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, out of memory, disk full
    asyncpg.exceptions.OperatorInterventionError,  # shutting down, statement ended by its time limit
    asyncpg.exceptions.TransactionRollbackError,  # deadlock, serialisation: the same request may succeed
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a failover under way
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,  # not let in: a password that was changed
    asyncpg.exceptions.InvalidCatalogNameError,  # no such database (yet)
    OSError,
    TimeoutError,
)


def is_outage(error: BaseException) -> bool:
    """Whether PostgreSQL was down, overloaded or out of time, rather than wrongly asked.

    SQLAlchemy wraps the driver's error, and its asyncpg adapter once more; the cause at the bottom decides.
    """
    if isinstance(error, (DisconnectionError, PoolTimeoutError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig.__cause__ if error.orig is not None else None
        if cause is None:
            return isinstance(error, (OperationalError, InterfaceError))
        error = cause
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.ClientConfigurationError):
        return False  # asyncpg's InterfaceError for an argument of the wrong kind
    return isinstance(error, _OUTAGES)


def violated_constraint(error: DBAPIError) -> str | None:
    """The name of the constraint that a write broke."""
    name: str | None = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name


def dsn(settings: DatabaseSettings) -> str:
    """The libpq URL, with the password from its own setting where there is one."""
    return with_password(settings.url, settings.password)


def deadline_seconds(settings: DatabaseSettings) -> float:
    """How long a statement is waited for: a little longer than PostgreSQL's own limit, whose word is the better one."""
    return settings.statement_timeout_ms / 1_000 + _MARGIN_SECONDS


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Ends itself when a statement is given up: by its deadline, or because its caller was cancelled.

    asyncpg would ask the server, over another connection, to cancel the statement, and keep this one until the server
    has said that it did: a server that hangs never does.
    """

    def _cancel_current_command(self, *_: object) -> None:
        self._loop.call_soon(self.terminate)


async def connect(settings: DatabaseSettings, *, server_settings: dict[str, str] | None = None) -> asyncpg.Connection:
    """One connection, with the limits of `settings` or those given instead.

    Each statement, BEGIN and COMMIT included, has a deadline on this side too, a little after PostgreSQL's own
    (`statement_timeout`): a server that hangs does not keep its time.
    """
    limits = server_settings if server_settings is not None else _limits(settings)
    return await asyncpg.connect(
        dsn(settings),
        timeout=settings.connect_timeout_seconds,
        command_timeout=int(limits["statement_timeout"]) / 1_000 + _MARGIN_SECONDS,
        server_settings=limits,
        connection_class=_Connection,
    )


def _limits(settings: DatabaseSettings) -> dict[str, str]:
    return {
        "application_name": "todo",
        "timezone": "UTC",
        "statement_timeout": str(settings.statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
    }


class Statements(Protocol):
    """Where static statements are sent: the pool (each its own transaction), a transaction, a connection."""

    async def fetch(self, statement: str, /, *parameters: object) -> list[asyncpg.Record]:
        """All rows."""

    async def fetchrow(self, statement: str, /, *parameters: object) -> asyncpg.Record | None:
        """The first row, if any."""


class Transaction:
    """Statements on one connection that are committed together: `begin`, or the first statement, opens it.

    A change of a single statement needs neither BEGIN nor COMMIT, which are a way to PostgreSQL each: `alone` sends it
    as a transaction of its own, unless this one has begun.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._begun = False
        self._committed = False

    async def begin(self) -> None:
        """Open it, if that has not been done."""
        if self._committed:
            raise RuntimeError("a statement was sent alone: it is committed, and nothing can be added to it")
        if not self._begun:
            await self._connection.execute("BEGIN")
            self._begun = True

    async def fetch(self, statement: str, /, *parameters: object) -> list[asyncpg.Record]:
        """All rows."""
        await self.begin()
        rows: list[asyncpg.Record] = await self._connection.fetch(statement, *parameters)
        return rows

    async def fetchrow(self, statement: str, /, *parameters: object) -> asyncpg.Record | None:
        """The first row, if any."""
        await self.begin()
        return await self._connection.fetchrow(statement, *parameters)

    async def alone(self, statement: str, /, *parameters: object) -> asyncpg.Record | None:
        """The first row, if any, of the only statement of this change."""
        if self._begun:
            return await self._connection.fetchrow(statement, *parameters)
        self._committed = True
        return await self._connection.fetchrow(statement, *parameters)

    async def commit(self) -> None:
        """End it, and keep what it wrote."""
        if self._begun:
            await self._connection.execute("COMMIT")

    async def roll_back(self) -> None:
        """End it, and leave everything as it was."""
        if self._begun and not self._connection.is_closed():
            await self._connection.execute("ROLLBACK")


class StatementPool:
    """Plain asyncpg connections for static statements: no ORM session.

    asyncpg's own pool is not used: it costs twice as much as the statement itself, and under load it does not serve in
    the order of asking, so that the unlucky wait ten times as long as the median. Here a semaphore does.
    """

    def __init__(self, settings: DatabaseSettings, size: int | None = None, *, application_name: str = "todo") -> None:
        self._settings = settings
        self._server_settings = _limits(settings) | _STATEMENT_SETTINGS | {"application_name": application_name}
        self._timeout = settings.pool_timeout_seconds
        self._slots = asyncio.Semaphore(settings.statement_pool_size if size is None else size)
        self._idle: list[asyncpg.Connection] = []
        self._open: set[asyncpg.Connection] = set()

    async def fetch(self, statement: str, /, *parameters: object) -> list[asyncpg.Record]:
        """All rows. UUIDs come as text, which is what answers are made of.

        Raises:
            Unavailable: no connection was free in time.
        """
        connection = await self._take()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
            return rows
        except (asyncio.CancelledError, TimeoutError):
            # The server may have stopped answering: the next one gets another connection.
            connection.terminate()
            raise
        finally:
            self._give_back(connection)

    async def fetchrow(self, statement: str, /, *parameters: object) -> asyncpg.Record | None:
        """The first row, if any.

        Raises:
            Unavailable: no connection was free in time.
        """
        rows = await self.fetch(statement, *parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A change: committed as the block ends, and undone if it raises.

        Raises:
            Unavailable: no connection was free in time.
        """
        connection = await self._take()
        transaction = Transaction(connection)
        try:
            yield transaction
            await transaction.commit()
        except (asyncio.CancelledError, TimeoutError):
            connection.terminate()  # as above; the server undoes what was not committed
            raise
        except BaseException:
            try:
                await transaction.roll_back()
            except BaseException:  # the first error is the one to tell
                connection.terminate()
            raise
        finally:
            self._give_back(connection)

    async def _take(self) -> asyncpg.Connection:
        if self._slots.locked():
            try:
                async with asyncio.timeout(self._timeout):
                    await self._slots.acquire()
            except TimeoutError:
                raise Unavailable(retry_after=1) from None
        else:
            await self._slots.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                # asyncpg knows at once when the server closed the socket.
                if not connection.is_closed():
                    return connection
                self._open.discard(connection)
            connection = await connect(self._settings, server_settings=self._server_settings)
            self._open.add(connection)
            try:
                await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
            except BaseException:
                connection.terminate()
                self._open.discard(connection)
                raise
            return connection
        except BaseException:
            self._slots.release()
            raise

    def _give_back(self, connection: asyncpg.Connection) -> None:
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._idle.append(connection)
        self._slots.release()

    async def close(self) -> None:
        """Close every connection; one whose server does not answer is cut off after a second."""
        self._idle.clear()
        # Where closing fails, asyncpg has cut the connection off: there is nothing left to do about it.
        await asyncio.gather(*(connection.close(timeout=1) for connection in self._open), return_exceptions=True)
        self._open.clear()


_STATEMENT_SETTINGS = {
    # Planned once a connection, not once a request: planning takes longer than reading a page. The statements are
    # written so that one plan suits every parameter (tests/integration/test_explain.py).
    "plan_cache_mode": "force_generic_plan",
}


class Database:
    """A process's way to PostgreSQL."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        sessions = max(1, settings.pool_size // 2)
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connect(settings),
            pool_size=sessions,
            max_overflow=0,
            pool_timeout=settings.pool_timeout_seconds,
            pool_use_lifo=True,
            hide_parameters=True,  # an error's text ends up in the log, and they are what people wrote
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        self.sessions = async_sessionmaker(self.engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)
        self.statements = StatementPool(settings)
        # Apart from the reads, none of which then waits behind a change that waits for a lock.
        self.changes = StatementPool(settings, max(1, settings.pool_size - sessions))

    async def close(self) -> None:
        """Close all pools; nobody waits for a server that does not answer."""
        await self.statements.close()
        await self.changes.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.engine.dispose()


def _refuse_closed(dbapi_connection: Any, *_: object) -> None:
    # asyncpg knows at once when the server closed the socket: asking it is free, where a pre-ping costs a round trip.
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


async def plain_connection(session: AsyncSession) -> asyncpg.Connection:
    """The session's own connection, for static statements in its transaction. The session must have sent one."""
    raw = await (await session.connection()).get_raw_connection()
    return raw.driver_connection


async def migration_revision(statements: StatementPool | asyncpg.Connection) -> str | None:
    """The migration that the database is at; None if it was never migrated."""
    try:
        row = await statements.fetchrow("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return None if row is None else row["version_num"]
