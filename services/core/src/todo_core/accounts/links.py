"""The signed links in mails: whoever holds one may do the one thing that it is for, without signing in.

They are JWTs by the keys of the access tokens (`TOKEN_KEYS`), told apart by their audience: a link is no access token,
an access token is no link, and no link is good for anything else.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from jose import JWTError, jwt

from todo_core import clock
from todo_core.accounts.service import email_key
from todo_core.errors import AppError
from todo_core.settings import TokenSettings

VERIFICATION_LIFETIME = timedelta(days=3)
VERIFY_EMAIL_PATH = "/verify-email"
UNSUBSCRIBE_PATH = "/unsubscribe"

_ALGORITHM = "HS256"
_OPTIONS = {"require_aud": True, "require_sub": True, "verify_exp": False}  # expiry is by our own clock

Audience = Literal["verify-email", "unsubscribe"]


class InvalidLink(AppError):
    """It has expired, it is damaged, it was made for something else, or not by us."""

    code = "invalid_link"


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
        self._keys = settings.key_ring
        self._signing_key_id = next(iter(self._keys))

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
        claims = self._verify("verify-email", token)
        try:
            verification_id, expires_at = UUID(claims["sub"]), float(claims["exp"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidLink from error
        if expires_at <= clock.now().timestamp():
            raise InvalidLink
        return verification_id

    def read_unsubscribe(self, token: str) -> Unsubscription:
        """Whose mails the token ends.

        Raises:
            InvalidLink: it is no such token.
        """
        claims = self._verify("unsubscribe", token)
        try:
            return Unsubscription(UUID(claims["sub"]), str(claims["adr"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidLink from error

    def _sign(self, audience: Audience, **claims: object) -> str:
        issued_at = int(clock.now().timestamp())
        token: str = jwt.encode(
            {"aud": audience, "iat": issued_at, **claims},
            self._keys[self._signing_key_id],
            _ALGORITHM,
            headers={"kid": self._signing_key_id},
        )
        return token

    def _verify(self, audience: Audience, token: str) -> dict[str, Any]:
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            # The algorithm is pinned, or a token could choose its own (CVE-2024-33663).
            claims: dict[str, Any] = jwt.decode(token, key, [_ALGORITHM], _OPTIONS, audience=audience)
        except (JWTError, KeyError, TypeError, ValueError) as error:
            raise InvalidLink from error
        return claims
