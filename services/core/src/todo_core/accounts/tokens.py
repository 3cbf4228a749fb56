"""Access tokens: JWT (RFC 7519) signed with HS256, read without a look at the database."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from jose import JWTError, jwt

from todo_core import clock
from todo_core.errors import Unauthenticated
from todo_core.settings import TokenSettings

_ALGORITHM = "HS256"
_OPTIONS = {"require_exp": True, "require_sub": True, "verify_exp": False}  # expiry is by our own clock
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom an access token speaks for. Every statement that runs for it checks both values."""

    id: UUID
    auth_version: int


class AccessTokens:
    """Issues and verifies access tokens.

    Each names its key in the header (`kid`), so that keys rotate: the first key signs, all of them verify.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._keys = settings.key_ring
        self._signing_key_id = next(iter(self._keys))
        self.lifetime_seconds = settings.access_seconds
        self._verified: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """A token for the account, good for `lifetime_seconds`."""
        issued_at = int(clock.now().timestamp())
        claims = {
            "sub": str(principal.id),
            "ver": principal.auth_version,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_seconds,
        }
        key = self._keys[self._signing_key_id]
        token: str = jwt.encode(claims, key, _ALGORITHM, headers={"kid": self._signing_key_id})
        return token

    def verify(self, token: str) -> Principal:
        """The account that the token speaks for.

        What was verified once is remembered until it expires: an app sends the same token with every request.

        Raises:
            Unauthenticated: malformed, expired, or signed by no key of ours.
        """
        remembered = self._verified.get(token)
        if remembered is not None and remembered[0] > clock.now().timestamp():
            return remembered[1]
        expires_at, principal = self._decode(token)
        if expires_at <= clock.now().timestamp():
            raise Unauthenticated
        self._verified[token] = expires_at, principal
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return principal

    def expires_at(self, token: str) -> float:
        """When the token expires, as a POSIX timestamp. Raises as `verify` does."""
        self.verify(token)
        return self._verified[token][0]

    def _decode(self, token: str) -> tuple[float, Principal]:
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            # The algorithm is pinned, or a token could choose its own (CVE-2024-33663).
            claims: dict[str, Any] = jwt.decode(token, key, [_ALGORITHM], _OPTIONS)
            return float(claims["exp"]), Principal(UUID(claims["sub"]), int(claims["ver"]))
        except (JWTError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated from error


def new_refresh_token() -> str:
    """An opaque token of 256 random bits."""
    return secrets.token_urlsafe(32)


def refresh_token_hash(token: str) -> bytes:
    """What is stored of it. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).digest()
