"""What operations ask for: the process's parts, the request's transaction, the services, the person."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession

from todo_api.cache import TodoLists
from todo_api.circuit_breaker import RedisCircuitBreaker
from todo_api.limits import Limits, MailAllowance, network_of
from todo_api.stream_registry import StreamRegistry
from todo_core.accounts.links import Links
from todo_core.accounts.password_checks import PasswordChecks
from todo_core.accounts.passwords import PasswordHasher
from todo_core.accounts.repository import AccountReads, AccountRepository, VerificationRepository
from todo_core.accounts.service import AccountService
from todo_core.accounts.tokens import AccessTokens, Principal
from todo_core.accounts.verification import MailLimits, VerificationService
from todo_core.database import Database, StatementPool, plain_connection
from todo_core.errors import AppError, Unauthenticated
from todo_core.inbox.repository import InboxMarks, InboxReads
from todo_core.inbox.service import InboxBrowser
from todo_core.preferences.repository import PreferencesReads, PreferencesRepository
from todo_core.preferences.service import PreferencesService
from todo_core.reminders.repository import ReminderRepository
from todo_core.reminders.service import ReminderService
from todo_core.settings import Settings
from todo_core.todos.service import TodoBrowser
from todo_core.webhooks.repository import WebhookReads, WebhookRepository
from todo_core.webhooks.service import WebhookService


@dataclass(frozen=True, slots=True)
class Process:
    """What one API process has, made by `create_app` and closed by its lifespan."""

    settings: Settings
    database: Database
    redis: RedisCircuitBreaker
    passwords: PasswordHasher
    access_tokens: AccessTokens
    account_reads: AccountReads
    browser: TodoBrowser
    lists: TodoLists
    limits: Limits
    links: Links
    preferences_reads: PreferencesReads
    webhook_reads: WebhookReads
    inbox: InboxBrowser
    inbox_reads: InboxReads
    streams: StreamRegistry

    @classmethod
    def start(cls, settings: Settings) -> "Process":
        """Make every part. Opens no connection yet: a process starts while PostgreSQL or Redis is down."""
        database = Database(settings.database)
        redis = RedisCircuitBreaker(settings.redis)
        account_reads = AccountReads(database.statements)
        browser = TodoBrowser(database.statements)
        inbox_reads = InboxReads(database.statements)
        return cls(
            settings=settings,
            database=database,
            redis=redis,
            passwords=PasswordHasher(settings.passwords),
            access_tokens=AccessTokens(settings.tokens),
            account_reads=account_reads,
            browser=browser,
            lists=TodoLists(browser, account_reads, redis, settings.cache),
            limits=Limits(redis, settings.rate_limits),
            links=Links(settings.tokens),
            preferences_reads=PreferencesReads(database.statements),
            webhook_reads=WebhookReads(database.statements),
            inbox=InboxBrowser(inbox_reads, InboxMarks(database.statements)),
            inbox_reads=inbox_reads,
            streams=StreamRegistry(inbox_reads, redis, settings.streams),
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.streams.aclose()
        await self.lists.written()
        self.passwords.close()
        await self.redis.close()
        await self.database.close()


async def get_process(request: Request) -> Process:
    """The process that serves this request."""
    process: Process = request.app.state.process
    return process


ProcessDep = Annotated[Process, Depends(get_process)]


async def get_session(process: ProcessDep) -> AsyncIterator[AsyncSession]:
    """The request's transaction: committed once, here, before the answer is sent.

    An error rolls it back, but for those that say that what they wrote must stay (`AppError.keeps_changes`).
    """
    async with process.database.sessions() as session:
        try:
            yield session
        except AppError as error:
            if error.keeps_changes:
                await session.commit()
            raise
        await session.commit()


# scope="function": by default this would end, and so commit, after the answer has gone out.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


class Bearer(OAuth2PasswordBearer):
    """Reads and verifies the access token. No database: each statement checks the account itself."""

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        return _principal(request)


def _principal(request: Request) -> Principal:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    process: Process = request.app.state.process
    principal = process.access_tokens.verify(token)
    request.state.user_id = str(principal.id)
    return principal


async def check_signed_in(request: Request) -> None:
    """Verify the access token, and that its account still stands behind it.

    Raises:
        Unauthenticated: there is no token, it is not valid, or it was ended; or the account is gone.
    """
    process: Process = request.app.state.process
    if await process.account_reads.list_version(_principal(request)) is None:
        raise Unauthenticated


CurrentUser = Annotated[
    Principal,
    Depends(
        Bearer(
            tokenUrl="token",
            refreshUrl="token",
            scheme_name="Account",
            description="Sign in with a username or e-mail address, and leave client_id and client_secret empty. "
            "`invalid_grant` means that the name or the password is not right: try again, or open an account with "
            "`POST /users/` first. After many tries, wait a quarter of an hour.",
        )
    ),
]


async def get_accounts(process: ProcessDep, session: SessionDep) -> AccountService:
    """The rules of accounts, on this request's transaction."""
    return AccountService(
        AccountRepository(session),
        process.account_reads,
        process.access_tokens,
        timedelta(seconds=process.settings.tokens.refresh_seconds),
        change_preferences=_preferences(process, session).update,
    )


async def get_passwords(request: Request, process: ProcessDep) -> PasswordChecks:
    """What this request may do with passwords: an operation that checks or sets one asks for it, and is limited by it.

    tests/integration/test_limits.py walks the operations that do.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return PasswordChecks(process.passwords, process.limits, network_of(request), left)


async def get_changes(request: Request) -> StatementPool:
    """Where todos are changed: the operation opens the transaction, and it is committed before the answer is made."""
    process: Process = request.app.state.process
    return process.database.changes


async def get_preferences(process: ProcessDep, session: SessionDep) -> PreferencesService:
    """The rules of preferences, on this request's transaction."""
    return _preferences(process, session)


def _preferences(process: Process, session: AsyncSession) -> PreferencesService:
    async def replan(owner_id: UUID, now: datetime, *, defaults_changed: bool) -> None:
        reminders = ReminderService(ReminderRepository(await plain_connection(session)))
        await reminders.replan_account(owner_id, now, defaults_changed=defaults_changed)

    return PreferencesService(
        AccountRepository(session), PreferencesRepository(session), process.preferences_reads, replan=replan
    )


async def get_webhooks(process: ProcessDep, session: SessionDep) -> WebhookService:
    """The rules of webhooks, on this request's transaction."""
    return WebhookService(
        AccountRepository(session), WebhookRepository(session), process.webhook_reads, process.settings.webhooks
    )


async def get_verifications(process: ProcessDep, session: SessionDep) -> VerificationService:
    """The rules of proving an address, on this request's transaction."""
    return VerificationService(AccountRepository(session), VerificationRepository(session), process.links)


async def get_browser(request: Request) -> TodoBrowser:
    """Single todos."""
    process: Process = request.app.state.process
    return process.browser


Accounts = Annotated[AccountService, Depends(get_accounts)]
Changes = Annotated[StatementPool, Depends(get_changes)]


async def get_mails(request: Request, process: ProcessDep) -> MailLimits:
    """What mails to an unproven address this request may ask for: an operation that sends one asks for it.

    tests/integration/test_limits.py walks the operations that do.
    """
    return MailAllowance(process.limits, process.settings.rate_limits, network_of(request))


Mails = Annotated[MailLimits, Depends(get_mails)]
Passwords = Annotated[PasswordChecks, Depends(get_passwords)]
PreferencesDep = Annotated[PreferencesService, Depends(get_preferences)]
Webhooks = Annotated[WebhookService, Depends(get_webhooks)]
Verifications = Annotated[VerificationService, Depends(get_verifications)]
Browser = Annotated[TodoBrowser, Depends(get_browser)]
TodoId = Annotated[UUID, Path(description="the todo's id")]

_ENTITY_TAG = re.compile(r'\s*(?:W/)?"(\d{1,9})"\s*')


def _versions(header: str | None) -> frozenset[int] | None:
    """The versions that a list of entity tags names; None for no header or `*`. Tags that are not ours match nothing.

    A weak tag is taken as its strong twin: a proxy that compresses weakens it, and the version is exact all the same.
    """
    if header is None or header.strip() == "*":
        return None
    matches = (_ENTITY_TAG.fullmatch(tag) for tag in header.split(","))
    return frozenset(int(match[1]) for match in matches if match)


async def get_expected_versions(
    if_match: Annotated[str | None, Header(description="ETag last seen: 412 if the todo has changed since")] = None,
) -> frozenset[int] | None:
    """If-Match (RFC 9110, section 13.1.1)."""
    return _versions(if_match)


async def get_known_versions(
    if_none_match: Annotated[
        str | None, Header(description="ETag last seen: 304 if the todo is still the same")
    ] = None,
) -> frozenset[int]:
    """If-None-Match (RFC 9110, section 13.1.2)."""
    return _versions(if_none_match) or frozenset()


ExpectedVersions = Annotated[frozenset[int] | None, Depends(get_expected_versions)]
KnownVersions = Annotated[frozenset[int], Depends(get_known_versions)]
