"""Access tokens: JWT (RFC 7519) signed with HS256, read without a look at the database."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from todo_core import clock
from todo_core.accounts.signing import LONGEST_TOKEN, KeyRing
from todo_core.errors import Unauthenticated
from todo_core.settings import TokenSettings

REMEMBERED_TOKENS = 10_000
"""About 400 bytes each: a digest, an expiry and a principal."""


class _Claims(BaseModel):
    """What an access token says, within what a column and a clock can hold."""

    model_config = ConfigDict(strict=True)

    sub: Annotated[UUID, Field(strict=False)]  # JSON has no UUIDs
    ver: int = Field(ge=0, lt=2**31)
    exp: int = Field(ge=0, lt=2**53)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom an access token speaks for. Every statement that runs for it checks both values."""

    id: UUID
    auth_version: int


class AccessTokens:
    """Issues and verifies access tokens.

    Keys rotate: the first key signs, all of them verify.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._keys = KeyRing(settings)
        self.lifetime_seconds = settings.access_seconds
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """A token for the account, good for `lifetime_seconds`."""
        issued_at = int(clock.now().timestamp())
        claims = {
            "sub": str(principal.id),
            "ver": principal.auth_version,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_seconds,
        }
        return self._keys.sign(claims)

    def verify(self, token: str) -> Principal:
        """The account that the token speaks for.

        What was verified once is remembered until it expires: an app sends the same token with every request.

        Raises:
            Unauthenticated: malformed, expired, or signed by no key of ours.
        """
        return self._look_up(token)[1]

    def expires_at(self, token: str) -> float:
        """When the token expires, as a POSIX timestamp. Raises as `verify` does."""
        return self._look_up(token)[0]

    def _look_up(self, token: str) -> tuple[float, Principal]:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()  # 32 bytes, whatever the token has
        remembered = self._verified.get(digest)
        known = remembered or self._decode(token)
        if known[0] <= clock.now().timestamp():
            raise Unauthenticated
        if remembered is None:
            self._verified[digest] = known
            if len(self._verified) > REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        return known

    def _decode(self, token: str) -> tuple[float, Principal]:
        try:
            claims = _Claims.model_validate(self._keys.read(token))
        except ValueError as error:
            raise Unauthenticated from error
        return float(claims.exp), Principal(claims.sub, claims.ver)


def new_refresh_token() -> str:
    """An opaque token of 256 random bits."""
    return secrets.token_urlsafe(32)


def refresh_token_hash(token: str) -> bytes:
    """What is stored of it. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).digest()
