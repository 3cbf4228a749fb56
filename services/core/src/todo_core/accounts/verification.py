"""The rules for verifying an e-mail address. A link works without signing in."""

from abc import ABC, abstractmethod
from datetime import timedelta

from todo_core.accounts.links import InvalidLink, Links, address_digest
from todo_core.accounts.repository import AccountRepository, VerificationRepository
from todo_core.accounts.tokens import Principal
from todo_core.errors import AppError, Conflict, Unauthenticated


class MailLimits(ABC):
    """How many mails to unproven addresses may be asked for. These two PostgreSQL keeps, whatever Redis has lost."""

    def __init__(self, per_account: int, pause_seconds: int) -> None:
        self.per_account = per_account
        """In a day, whichever addresses the account has in it."""
        self.pause = timedelta(seconds=pause_seconds)
        """Between two to one address, whoever asks: it may be a stranger's."""

    @abstractmethod
    async def take(self) -> None:
        """Count one mail by the limits that are kept elsewhere.

        Raises:
            TooManyMails: there were too many.
        """

    @abstractmethod
    def refused(self, limit: str) -> None:
        """Note which of the two has refused one."""


class AlreadyVerified(Conflict):
    """The account's address is proven: there is no mail to send."""

    code = "already_verified"


class MailedRecently(AppError):
    """A mail was asked for not long ago, for this very address. The answer says from when on another can be.

    That tells nothing that registering with the address does not tell as well: only one account can have it.
    """

    code = "mailed_recently"


class TooManyMails(AppError):
    """This account, this network, or everybody together has asked for as many as may be sent in a day."""

    code = "too_many_mails"


class VerificationService:
    """Rules only: the worker sends the mails, the edge commits."""

    def __init__(self, accounts: AccountRepository, verifications: VerificationRepository, links: Links) -> None:
        self._accounts = accounts
        self._verifications = verifications
        self._links = links

    async def request(self, owner: Principal, limits: MailLimits) -> str:
        """Have a link sent to the account's address, which is returned.

        Raises:
            AlreadyVerified: the address is proven.
            MailedRecently: one was asked for within the address's pause.
            TooManyMails: too many were asked for.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        account = await self._accounts.get(owner, lock=True)
        if account is None:
            raise Unauthenticated
        if account.email_verified_at is not None:
            raise AlreadyVerified
        waits = await self._verifications.take_address(address_digest(account.email), limits.pause)
        if waits is not None:
            limits.refused("mails_address")
            raise MailedRecently(retry_after=waits)
        waits = await self._verifications.take_account(account.id, limits.per_account)
        if waits is not None:
            limits.refused("mails_account")
            raise TooManyMails(retry_after=waits)
        await limits.take()
        await self._verifications.add(account)
        return account.email

    async def settle(self, token: str) -> None:
        """Take a link's token as the proof that it is. A second time changes nothing.

        Raises:
            InvalidLink: it is no such token, it has expired, or the account has another address by now.
        """
        found = await self._verifications.lock(self._links.read_verify_email(token))
        if found is None or found[0].email != found[1].email:
            raise InvalidLink
        await self._verifications.settle(found[0])
