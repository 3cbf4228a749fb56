"""The outcomes of a load's requests: counted by kind and outcome, with details of each failure."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import httpx

POLITE_STATUSES = {429, 503, 504}
MOST_FAILURES_SHOWN = 12


@dataclass(frozen=True)
class Failure:
    """A request without the expected answer."""

    at: float
    """`time.time()`."""
    kind: str
    error: str | None = None
    """The error of the connection, if the answer is missing or incomplete."""
    status: int | None = None
    code: str | None = None
    retry_after: str | None = None
    request_id: str | None = None
    content_type: str | None = None
    body: str = ""

    @classmethod
    def of_answer(cls, kind: str, answer: httpx.Response) -> Failure:
        """Make a failure from an unexpected answer."""
        try:
            document = answer.json()
        except ValueError:
            document = {}
        code = document.get("code") if isinstance(document, dict) else None
        return cls(
            at=time.time(),
            kind=kind,
            status=answer.status_code,
            code=code,
            retry_after=answer.headers.get("retry-after"),
            request_id=answer.headers.get("x-request-id"),
            content_type=answer.headers.get("content-type"),
            body=answer.text[:200],
        )

    @property
    def is_polite(self) -> bool:
        """Tell whether the answer says what is wrong, and when to try again."""
        return (
            self.status in POLITE_STATUSES
            and self.code is not None
            and self.content_type == "application/problem+json"
            and bool(self.request_id)
            and (self.retry_after or "").isdigit()
        )

    def __str__(self) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(self.at)) + f"{self.at % 1:.3f}"[1:]
        if self.error is not None:
            return f"{moment}  {self.kind:<10} {self.error}"
        return (
            f"{moment}  {self.kind:<10} {self.status} {self.code or self.body!r}"
            f" (Retry-After: {self.retry_after}, {self.content_type}, request {self.request_id})"
        )


@dataclass
class Tally:
    """Counts the outcomes."""

    answered: Counter[str] = field(default_factory=Counter)
    """The number of requests with the expected answer, by kind."""
    failures: list[Failure] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    """The reasons, from the server, why event streams ended."""
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def total(self) -> int:
        """Return the number of all requests."""
        return self.answered.total() + len(self.failures)

    def good(self, kind: str, seconds: float) -> None:
        """Count a success."""
        self.answered[kind] += 1
        self.seconds[kind].append(seconds)

    def bad(self, failure: Failure) -> None:
        """Record a failure."""
        self.failures.append(failure)

    def impolite(self) -> list[Failure]:
        """Return failures without a problem document and Retry-After, broken connections included."""
        return [failure for failure in self.failures if not failure.is_polite]

    def outcomes(self) -> Counter[str]:
        """Return the number of failures by outcome."""
        return Counter(failure.error or f"{failure.status} {failure.code}" for failure in self.failures)

    def __str__(self) -> str:
        lines = [f"{self.total} requests, {len(self.failures)} failed"]
        for kind, seconds in sorted(self.seconds.items()):
            ordered = sorted(seconds)
            median, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
            lines.append(
                f"  {kind:<10} {self.answered[kind]:>6} well; median {median * 1e3:.0f} ms,"
                f" p99 {late * 1e3:.0f} ms, longest {ordered[-1] * 1e3:.0f} ms"
            )
        if self.endings:
            lines.append("  streams ended: " + ", ".join(f"{why} {n}" for why, n in self.endings.items()))
        lines += [f"  FAILED {number} times: {what}" for what, number in self.outcomes().most_common()]
        lines += [f"    {failure}" for failure in self.failures[:MOST_FAILURES_SHOWN]]
        return "\n".join(lines)
