"""Every statement on accounts, refresh tokens and the proofs of e-mail addresses, but for the worker's."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.models import Account, EmailVerification, RefreshToken
from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool, violated_constraint

_LIST_VERSION = "SELECT change_seq, changed_at FROM accounts WHERE id = $1 AND auth_version = $2"
_RAISE_COUNTER = (
    "UPDATE accounts SET change_seq = change_seq + 1,"
    " changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')"
)
BEGIN_CHANGE = f"{_RAISE_COUNTER} WHERE id = $1 AND auth_version = $2 RETURNING id, changed_at"
"""What `AccountRepository.begin_change` does, to head a static statement: its parameters are the principal's."""
_BEGIN_CHANGE = text(f"{_RAISE_COUNTER} WHERE id = :id AND auth_version = :auth_version RETURNING changed_at")
_TAKE_ADDRESS = text(
    "INSERT INTO mailed_addresses AS m (digest, mailed_at) VALUES (:digest, clock_timestamp())"
    " ON CONFLICT (digest) DO UPDATE SET mailed_at = excluded.mailed_at"
    " WHERE m.mailed_at <= excluded.mailed_at - CAST(:pause AS interval) RETURNING digest"
)
_RECENT_MAILS = "unnest(proof_mails_at) AS at WHERE at > clock_timestamp() - interval '1 day'"
_TAKE_ACCOUNT = text(
    "UPDATE accounts SET proof_mails_at ="  # noqa: S608 - a constant
    f" array(SELECT at FROM {_RECENT_MAILS} ORDER BY at) || clock_timestamp()"
    f" WHERE id = :id AND (SELECT count(*) FROM {_RECENT_MAILS}) < :most RETURNING id"
)
_ACCOUNT_WAITS = text(
    "SELECT ceil(extract(epoch FROM min(at) + interval '1 day' - clock_timestamp()))::int"  # noqa: S608 - a constant
    f" FROM (SELECT at FROM accounts, {_RECENT_MAILS} AND id = :id ORDER BY at DESC LIMIT :most) AS newest"
)
_ADDRESS_WAITS = text(
    "SELECT ceil(extract(epoch FROM mailed_at + CAST(:pause AS interval) - clock_timestamp()))::int"
    " FROM mailed_addresses WHERE digest = :digest"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against."""

    principal: Principal
    password_hash: str


class AccountReads:
    """Reads that need no transaction. None holds a connection while a password is checked."""

    def __init__(self, reads: StatementPool) -> None:
        self._reads = reads

    async def credentials(self, *, username_key: str | None = None, email_key: str | None = None) -> Credentials | None:
        """By username or by e-mail address. A disabled account has none: it is as if it did not exist."""
        column, key = ("username_key", username_key) if email_key is None else ("email_key", email_key)
        return self._credentials(
            await self._reads.fetchrow(
                "SELECT id, auth_version, password_hash FROM accounts"  # noqa: S608 - one of two
                f" WHERE {column} = $1 AND disabled_at IS NULL",
                key,
            )
        )

    async def credentials_of(self, principal: Principal) -> Credentials | None:
        """Of the signed-in account."""
        return self._credentials(
            await self._reads.fetchrow(
                "SELECT id, auth_version, password_hash FROM accounts WHERE id = $1 AND auth_version = $2",
                principal.id,
                principal.auth_version,
            )
        )

    @staticmethod
    def _credentials(row: asyncpg.Record | None) -> Credentials | None:
        if row is None:
            return None
        return Credentials(Principal(UUID(row["id"]), row["auth_version"]), row["password_hash"])

    async def list_version(self, principal: Principal) -> str | None:
        """What changes with every change of the account's todos, and never comes back.

        The counter alone could: after a failover that lost its last commits it would count them again. The instant
        beside it tells them apart. None if the account is gone or the token's version is outdated.
        """
        row = await self._reads.fetchrow(_LIST_VERSION, principal.id, principal.auth_version)
        return None if row is None else version_of(row)


def version_of(row: asyncpg.Record) -> str:
    """The list version in a row with an account's `change_seq` and `changed_at`."""
    return f"{row['change_seq']}-{row['changed_at'].isoformat()}"


class AccountRepository:
    """Reads and writes within the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def begin_change(self, principal: Principal) -> datetime | None:
        """Lock the account for a change of what it owns, and raise its change counter.

        Every writer takes this lock first, so one account's changes are ordered as they commit and cannot deadlock.

        Returns:
            the change's own instant, later than that of every change before it; None if the account is gone or the
            token's version is outdated.
        """
        row = (
            await self._session.execute(_BEGIN_CHANGE, {"id": principal.id, "auth_version": principal.auth_version})
        ).first()
        return None if row is None else row[0]

    async def get(self, principal: Principal, *, lock: bool = False) -> Account | None:
        """The signed-in account."""
        statement = select(Account).where(
            col(Account.id) == principal.id, col(Account.auth_version) == principal.auth_version
        )
        if lock:
            statement = statement.with_for_update()
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def lock_by_id(self, account_id: UUID) -> Account | None:
        """An account that a signed link names, locked until the transaction ends."""
        return (
            await self._session.execute(select(Account).where(col(Account.id) == account_id).with_for_update())
        ).scalar_one_or_none()

    async def taken(self, username_key: str, email_key: str, *, besides: UUID | None = None) -> set[str]:
        """Which of "username" and "email" another account has."""
        statement = select(col(Account.username_key) == username_key, col(Account.email_key) == email_key).where(
            or_(col(Account.username_key) == username_key, col(Account.email_key) == email_key)
        )
        if besides is not None:
            statement = statement.where(col(Account.id) != besides)
        names: set[str] = set()
        for same_username, same_email in await self._session.execute(statement):
            names |= {"username"} if same_username else set()
            names |= {"email"} if same_email else set()
        return names

    async def save(self, account: Account) -> str | None:
        """Insert or update it. The name of the field that another account took meanwhile, if one did."""
        self._session.add(account)
        try:
            await self._session.flush()
        except IntegrityError as error:
            constraint = violated_constraint(error)
            for field in ("username", "email"):
                if constraint == f"uq_accounts_{field}_key":
                    return field
            raise
        return None

    async def forget_email_proofs(self, account: Account) -> None:
        """Its address is another: it is not proven, and no link that was made for the one before proves it."""
        account.email_verified_at = None
        await self._session.execute(delete(EmailVerification).where(col(EmailVerification.account_id) == account.id))

    async def delete(self, account_id: UUID) -> None:
        """Remove the account; foreign keys take along all that is its own."""
        await self._session.execute(delete(Account).where(col(Account.id) == account_id))

    async def add_refresh_token(
        self, account_id: UUID, family_id: UUID, token_hash: bytes, lifetime: timedelta
    ) -> None:
        """Store a token's hash; its lifetime starts by the database's clock."""
        self._session.add(
            RefreshToken(
                account_id=account_id,
                family_id=family_id,
                token_hash=token_hash,
                expires_at=func.now() + lifetime,  # type: ignore[arg-type] # a SQL expression, computed at INSERT
            )
        )
        await self._session.flush()

    async def lock_refresh_token(self, token_hash: bytes) -> tuple[RefreshToken, bool, Principal] | None:
        """The token, whether it has expired, and whose it is.

        Its account is locked first, as by every change: a token is used once, a family that ends has no member on its
        way, and a new password does not meet a refresh half-way.
        """
        token_is_this = col(RefreshToken.token_hash) == token_hash
        owner = (
            await self._session.execute(
                select(col(Account.id), col(Account.auth_version))
                .join(RefreshToken, col(RefreshToken.account_id) == Account.id)
                .where(token_is_this)
                .with_for_update(of=Account)
            )
        ).first()
        if owner is None:
            return None
        # Read only now: it may have been used, or be gone, since the lock was asked for.
        row = (
            await self._session.execute(
                select(RefreshToken, col(RefreshToken.expires_at) <= func.now()).where(token_is_this)
            )
        ).first()
        return None if row is None else (row[0], row[1], Principal(*owner))

    async def mark_used(self, token: RefreshToken) -> None:
        """Note the time of use."""
        await self._session.execute(
            update(RefreshToken).where(col(RefreshToken.id) == token.id).values(used_at=func.now())
        )

    async def delete_family(self, family_id: UUID) -> None:
        """End every token that came from the same sign-in."""
        await self._session.execute(delete(RefreshToken).where(col(RefreshToken.family_id) == family_id))

    async def delete_all_refresh_tokens(self, account_id: UUID) -> None:
        """End every sign-in of the account."""
        await self._session.execute(delete(RefreshToken).where(col(RefreshToken.account_id) == account_id))


class VerificationRepository:
    """Proofs of e-mail addresses, in the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def take_address(self, digest: str, pause: timedelta) -> int | None:
        """Note that an address is written to, unless it was within `pause`, by whichever account.

        Returns:
            None, or in how many seconds it may be.
        """
        if (await self._session.execute(_TAKE_ADDRESS, {"digest": digest, "pause": pause})).first() is not None:
            return None
        waits: int = (await self._session.execute(_ADDRESS_WAITS, {"digest": digest, "pause": pause})).scalar_one()
        return max(1, waits)

    async def take_account(self, account_id: UUID, most: int) -> int | None:
        """Note that an account asks for a mail, unless it has asked for `most` within a day, to whichever addresses.

        Returns:
            None, or in how many seconds it may.
        """
        values = {"id": account_id, "most": most}
        if (await self._session.execute(_TAKE_ACCOUNT, values)).first() is not None:
            return None
        waits: int = (await self._session.execute(_ACCOUNT_WAITS, values)).scalar_one()
        return max(1, waits)

    async def add(self, account: Account) -> None:
        """Have the worker send a link to the account's address."""
        self._session.add(EmailVerification(account_id=account.id, email=account.email, email_key=account.email_key))
        await self._session.flush()

    async def lock(self, verification_id: UUID) -> tuple[EmailVerification, Account] | None:
        """A proof and its account, which is locked until the transaction ends."""
        statement = (
            select(EmailVerification, Account)
            .join(Account, col(Account.id) == col(EmailVerification.account_id))
            .where(col(EmailVerification.id) == verification_id)
            .with_for_update(of=Account)
        )
        row = (await self._session.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def settle(self, verification: EmailVerification) -> None:
        """Write down that the proof was given, and when it first was."""
        for statement in (
            update(Account)
            .where(col(Account.id) == verification.account_id)
            .values(email_verified_at=func.coalesce(col(Account.email_verified_at), func.now())),
            update(EmailVerification)
            .where(col(EmailVerification.id) == verification.id)
            .values(used_at=func.coalesce(col(EmailVerification.used_at), func.now())),
        ):
            await self._session.execute(statement)
