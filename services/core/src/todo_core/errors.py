"""What can go wrong, said once. A door turns each kind into its own protocol's answer; core knows no HTTP."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that broke one rule.

    `rule` is a stable name that a door has words for, in each language; `params` fill those words.
    """

    field: str
    rule: str
    params: Mapping[str, object] = dataclasses.field(default_factory=dict)


class AppError(Exception):
    """Something that a person can be told. `code` never changes once released."""

    code: ClassVar[str]
    keeps_changes: ClassVar[bool] = False
    """Whether what was written before it is committed all the same (the edge does so: see the API's `get_session`)."""

    def __init__(self, *faults: Fault, retry_after: int | None = None) -> None:
        super().__init__(self.code)
        self.faults = faults
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""


class NotFound(AppError):
    """It does not exist, or it is someone else's: nobody learns which."""

    code = "not_found"


class Conflict(AppError):
    """It would clash with what is there already."""

    code = "conflict"


class Invalid(AppError):
    """The input breaks a rule that its shape alone did not show."""

    code = "validation_failed"


class Unauthenticated(AppError):
    """No account stands behind this request (any more)."""

    code = "unauthenticated"


class Forbidden(AppError):
    """The account is known, and still may not."""

    code = "forbidden"


class PreconditionFailed(AppError):
    """It has changed since the caller last looked."""

    code = "precondition_failed"


class Unavailable(AppError):
    """A part that this needs is down or overloaded; the same request may succeed later."""

    code = "unavailable"
