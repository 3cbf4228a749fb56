"""Signs and reads JSON Web Tokens (RFC 7519, HS256) by the product's keys: access tokens, and the links in mails."""

import re
from typing import Any

from jose import JWTError, jwt

from todo_core.settings import TokenSettings

LONGEST_TOKEN = 1_024
"""Bytes. Ours have about 300."""

_ALGORITHM = "HS256"
_OPTIONS = {"verify_exp": False}  # expiry is by our own clock
# base64url without padding, whose last character leaves no bit unused (RFC 4648, section 3.5): python-jose passes over
# what is no base64url, and so lets one token be spelt in endless ways.
_SEGMENT = "(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_COMPACT = re.compile(rf"{_SEGMENT}\.{_SEGMENT}\.{_SEGMENT}")


class NotSigned(ValueError):
    """The text is no token that one of our keys has signed."""


class KeyRing:
    """Signs with the first key and reads what any of them has signed; a token names its key in the header (`kid`)."""

    def __init__(self, settings: TokenSettings) -> None:
        self._keys = settings.key_ring
        self._signing_key_id = next(iter(self._keys))

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims."""
        key = self._keys[self._signing_key_id]
        token: str = jwt.encode(claims, key, _ALGORITHM, headers={"kid": self._signing_key_id})
        return token

    def read(self, token: str, *, audience: str | None = None) -> dict[str, Any]:
        """The claims of a token, signed for this audience (none: for no audience). Their types are not checked.

        Raises:
            NotSigned: it is not, or it is longer than `LONGEST_TOKEN`, or spelt in another way than the signer would.
        """
        if len(token) > LONGEST_TOKEN or _COMPACT.fullmatch(token) is None:
            raise NotSigned
        try:
            header = jwt.get_unverified_header(token)
            # RFC 7515, section 4.1.11: what it lists must be understood. We know no extension.
            if "crit" in header:
                raise NotSigned
            # The algorithm is pinned, or a token could choose its own (CVE-2024-33663).
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys[header["kid"]],
                [_ALGORITHM],
                {**_OPTIONS, "require_aud": audience is not None},
                audience=audience,
            )
        except (JWTError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise NotSigned from error
        return claims
