"""The errors of the product. Each service maps them to its own protocol; core knows no HTTP."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that breaks one rule.

    `rule` is a stable name that a service has a text for, in each language; `params` fill that text.
    """

    field: str
    rule: str
    params: Mapping[str, object] = dataclasses.field(default_factory=dict)


class AppError(Exception):
    """An error with a text for the user. `code` never changes once released."""

    code: ClassVar[str]
    keeps_changes: ClassVar[bool] = False
    """True if writes made before the error are committed all the same (by the API's `get_session`)."""

    def __init__(self, *faults: Fault, retry_after: int | None = None) -> None:
        super().__init__(self.code)
        self.faults = faults
        self.retry_after = retry_after
        """Seconds after which another try may succeed."""


class NotFound(AppError):
    """The thing does not exist, or belongs to another account: the error does not tell which."""

    code = "not_found"


class Conflict(AppError):
    """The change conflicts with existing data."""

    code = "conflict"


class Invalid(AppError):
    """The input breaks a rule beyond its schema."""

    code = "validation_failed"


class Unauthenticated(AppError):
    """The request has no valid account (any more)."""

    code = "unauthenticated"


class Forbidden(AppError):
    """The account is known but not allowed to do this."""

    code = "forbidden"


class PreconditionFailed(AppError):
    """The resource has changed since the caller read it."""

    code = "precondition_failed"


class Unavailable(AppError):
    """A server that the request needs is down or overloaded; the same request may succeed later."""

    code = "unavailable"
