"""The rules of accounts: who may open one, sign in, stay signed in, change it and leave."""

import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from todo_core.accounts import tokens
from todo_core.accounts.models import Account
from todo_core.accounts.password_checks import PasswordChecks, account_subject, name_subject
from todo_core.accounts.password_policy import is_own_word
from todo_core.accounts.repository import AccountReads, AccountRepository
from todo_core.accounts.tokens import AccessTokens, Principal
from todo_core.errors import AppError, Conflict, Fault, Forbidden, Invalid, Unauthenticated
from todo_core.ids import new_id

ChangePreferences = Callable[[Principal, Mapping[str, Any]], Awaitable[object]]
"""Changes preferences of an account, and whatever has to follow: `PreferencesService.update`."""


class InvalidGrant(AppError):
    """Wrong name or password, or a refresh token that is not good (any more). RFC 6749, section 5.2."""

    code = "invalid_grant"


class RefreshTokenReused(InvalidGrant):
    """A used refresh token came back: it was stolen or copied, so its family has ended (RFC 9700, section 4.14.2)."""

    code = "refresh_token_reused"
    keeps_changes = True


class WrongPassword(Forbidden):
    """The account's password is asked for once more, and was not given right."""

    code = "wrong_password"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens of a sign-in: an access token, its lifetime in seconds, and a refresh token for the next pair."""

    access_token: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Registration:
    """The fields of a new account. The API has checked the form of each."""

    username: str
    email: str
    password: str
    timezone: str
    locale: str


def username_key(username: str) -> str:
    """Return the key by which usernames are compared: without case and compatibility forms."""
    return unicodedata.normalize("NFKC", username).casefold()


def email_key(email: str) -> str:
    """Return the key by which e-mail addresses are compared."""
    return unicodedata.normalize("NFC", email).casefold()


def login_key(login: str) -> str:
    """Return the key of a login: an e-mail address, or a username, which has no @."""
    return email_key(login) if "@" in login else username_key(login)


class AccountService:
    """Rules only: the statements are the repository's, the commit is the edge's."""

    def __init__(
        self,
        accounts: AccountRepository,
        reads: AccountReads,
        access_tokens: AccessTokens,
        refresh_lifetime: timedelta,
        *,
        change_preferences: ChangePreferences,
    ) -> None:
        self._accounts = accounts
        self._reads = reads
        self._access_tokens = access_tokens
        self._refresh_lifetime = refresh_lifetime
        self._change_preferences = change_preferences

    async def register(self, registration: Registration, checks: PasswordChecks) -> Account:
        """Open an account.

        Raises:
            Invalid: the password is the account's own name or address.
            Conflict: the username or the address is another account's, whatever its case; names the fields.
        """
        _refuse_own_words(registration.password, registration.username, registration.email)
        key = username_key(registration.username)
        account = Account(
            username=registration.username,
            username_key=key,
            email=registration.email,
            email_key=email_key(registration.email),
            password_hash=await checks.hash(name_subject(key), registration.password),
            timezone=registration.timezone,
            locale=registration.locale,
        )
        await self._save(account)
        return account

    async def sign_in(self, login: str, password: str, checks: PasswordChecks) -> TokenPair:
        """Exchange a username or an e-mail address and the password for tokens.

        An unknown name takes as long as a wrong password: neither the answer nor its time tells which names exist.

        Raises:
            InvalidGrant: no account has this name and password.
        """
        field = "email_key" if "@" in login else "username_key"
        key = login_key(login)
        found = await self._reads.credentials(**{field: key})
        subject = name_subject(key) if found is None else account_subject(found.principal.id)
        matches = await checks.verify(subject, password, found.password_hash if found else None)
        if found is None or not matches:
            raise InvalidGrant
        outdated = checks.is_outdated(found.password_hash)
        new_hash = await checks.hash(subject, password, known=True) if outdated else None
        # A check takes its time. A password that was replaced meanwhile must neither sign in nor come back.
        account = await self._accounts.get(found.principal, lock=True)
        if account is None:
            raise InvalidGrant
        if new_hash is not None:
            account.password_hash = new_hash
        return await self._new_pair(found.principal, new_id())

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token for the next pair.

        Raises:
            InvalidGrant: unknown or expired.
            RefreshTokenReused: it was used before; every token of its family is now void.
        """
        found = await self._accounts.lock_refresh_token(tokens.refresh_token_hash(refresh_token))
        if found is None:
            raise InvalidGrant
        token, expired, principal = found
        if token.used_at is not None:
            await self._accounts.delete_family(token.family_id)
            raise RefreshTokenReused
        if expired:
            raise InvalidGrant
        await self._accounts.mark_used(token)
        return await self._new_pair(principal, token.family_id)

    async def me(self, principal: Principal) -> Account:
        """The signed-in account.

        Raises:
            Unauthenticated: it is gone, or the token has been ended.
        """
        account = await self._accounts.get(principal)
        if account is None:
            raise Unauthenticated
        return account

    async def update(
        self, principal: Principal, changes: Mapping[str, str], current_password: str | None, checks: PasswordChecks
    ) -> Account:
        """Change what is given of username, email, password, timezone and locale.

        A new password ends every session of the account, this one included: sign in again with it. A new address is
        not proven. In a new time zone, reminders that are still to come move to its days.

        Raises:
            WrongPassword: a new e-mail address or password came without the current password.
            Invalid: the new password is the account's own name or address.
            Conflict: the username or the address is another account's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if {"email", "password"} & changes.keys():
            await self._confirm(principal, current_password, checks)
        new_hash = None
        if "password" in changes:
            new_hash = await checks.hash(account_subject(principal.id), changes["password"], known=True)
        account = await self._accounts.get(principal, lock=True)
        if account is None:
            raise Unauthenticated
        if changes.get("timezone", account.timezone) != account.timezone:
            await self._change_preferences(principal, {"timezone": changes["timezone"]})
        if changes.get("email", account.email) != account.email:
            await self._accounts.forget_email_proofs(account)
        for field in ("locale", "username", "email"):
            if field in changes:
                setattr(account, field, changes[field])
        account.username_key = username_key(account.username)
        account.email_key = email_key(account.email)
        if new_hash is not None:
            _refuse_own_words(changes["password"], account.username, account.email)
            account.password_hash = new_hash
            account.auth_version += 1
            await self._accounts.delete_all_refresh_tokens(account.id)
        await self._save(account)
        return account

    async def delete(self, principal: Principal, password: str, checks: PasswordChecks) -> None:
        """Remove the account and all that is its own.

        Raises:
            WrongPassword: the password is not the account's.
            Unauthenticated: the account is gone already, or the token has been ended.
        """
        await self._confirm(principal, password, checks)
        # The same lock that every change of the account's todos takes first.
        if await self._accounts.begin_change(principal) is None:
            raise Unauthenticated
        await self._accounts.delete(principal.id)

    async def _confirm(self, principal: Principal, password: str | None, checks: PasswordChecks) -> None:
        found = await self._reads.credentials_of(principal)
        if found is None:
            raise Unauthenticated
        subject = account_subject(principal.id)
        if password is None or not await checks.verify(subject, password, found.password_hash):
            raise WrongPassword

    async def _save(self, account: Account) -> None:
        # Asked first so that both fields are named when both are taken; the unique constraints decide.
        taken = await self._accounts.taken(account.username_key, account.email_key, besides=account.id)
        if not taken:
            clash = await self._accounts.save(account)
            taken = {clash} if clash else set()
        if taken:
            raise Conflict(*(Fault(field, "taken") for field in sorted(taken, reverse=True)))

    async def _new_pair(self, principal: Principal, family_id: UUID) -> TokenPair:
        refresh_token = tokens.new_refresh_token()
        await self._accounts.add_refresh_token(
            principal.id, family_id, tokens.refresh_token_hash(refresh_token), self._refresh_lifetime
        )
        return TokenPair(self._access_tokens.issue(principal), self._access_tokens.lifetime_seconds, refresh_token)


def _refuse_own_words(password: str, username: str, email: str) -> None:
    if is_own_word(password, username, email):
        raise Invalid(Fault("password", "own_password"))
