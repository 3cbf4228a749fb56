"""The signed links in mails: whoever holds one may do the one thing that it is for, without signing in.

They are JWTs by the keys of the access tokens (`TOKEN_KEYS`), told apart by their audience: a link is no access token,
an access token is no link, and no link is good for anything else.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from todo_core import clock
from todo_core.accounts.service import email_key
from todo_core.accounts.signing import KeyRing
from todo_core.errors import AppError
from todo_core.settings import TokenSettings

VERIFICATION_LIFETIME = timedelta(days=3)
VERIFY_EMAIL_PATH = "/verify-email"
UNSUBSCRIBE_PATH = "/unsubscribe"

Audience = Literal["verify-email", "unsubscribe"]


class InvalidLink(AppError):
    """It has expired, it is damaged, it was made for something else, or not by us."""

    code = "invalid_link"


class _Link(BaseModel):
    """What every link says."""

    model_config = ConfigDict(strict=True)

    sub: Annotated[UUID, Field(strict=False)]  # JSON has no UUIDs


class _Verification(_Link):
    exp: int = Field(ge=0, lt=2**53)


class _Unsubscription(_Link):
    adr: str


_L = TypeVar("_L", bound=_Link)


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """Whose mails are to stop, and which address they went to."""

    account_id: UUID
    address: str
    """As `address_digest` gives it."""


def address_digest(email: str) -> str:
    """What stands for an address where the address itself should not."""
    return base64.urlsafe_b64encode(hashlib.sha256(email_key(email).encode()).digest()).rstrip(b"=").decode("ascii")


class Links:
    """Makes and reads the links' tokens. The first key signs, all of them verify."""

    def __init__(self, settings: TokenSettings) -> None:
        self._keys = KeyRing(settings)

    def verify_email(self, verification_id: UUID | str) -> str:
        """The path and query, to follow PUBLIC_URL, that settle an `EmailVerification`; good for some days."""
        expires_at = int((clock.now() + VERIFICATION_LIFETIME).timestamp())
        return f"{VERIFY_EMAIL_PATH}?token={self._sign('verify-email', sub=str(verification_id), exp=expires_at)}"

    def unsubscribe(self, account_id: UUID | str, email: str) -> str:
        """The path and query, to follow PUBLIC_URL, that end an account's mails to this address.

        It has no expiry: mails are kept, and the wish to get no more of them is good at any time.
        """
        return f"{UNSUBSCRIBE_PATH}?token={self._sign('unsubscribe', sub=str(account_id), adr=address_digest(email))}"

    def read_verify_email(self, token: str) -> UUID:
        """The id of the `EmailVerification` that the token settles.

        Raises:
            InvalidLink: it is no such token, or it has expired.
        """
        link = self._verify("verify-email", token, _Verification)
        if link.exp <= clock.now().timestamp():
            raise InvalidLink
        return link.sub

    def read_unsubscribe(self, token: str) -> Unsubscription:
        """Whose mails the token ends.

        Raises:
            InvalidLink: it is no such token.
        """
        link = self._verify("unsubscribe", token, _Unsubscription)
        return Unsubscription(link.sub, link.adr)

    def _sign(self, audience: Audience, **claims: object) -> str:
        return self._keys.sign({"aud": audience, "iat": int(clock.now().timestamp()), **claims})

    def _verify(self, audience: Audience, token: str, says: type[_L]) -> _L:
        try:
            return says.model_validate(self._keys.read(token, audience=audience))
        except ValueError as error:
            raise InvalidLink from error
