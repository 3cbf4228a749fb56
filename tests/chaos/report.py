"""What a run showed, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Saboteur, Window
from tests.chaos.ledger import Ledger
from tests.chaos.options import Options
from tests.chaos.people import Town
from tests.chaos.verdict import Verdict

RECOVERY_SECONDS = 10.0
_SHOWN = 20


def lateness(evidence: Evidence, windows: Sequence[Window]) -> list[float]:
    """Seconds from due to settled at the first attempt, of those that no fault was near: sorted."""
    late = []
    for row in evidence.deliveries:
        if row.state != "sent" or row.attempts != 1 or row.settled_at is None:
            continue
        since, until = row.due_at, row.settled_at
        if not any(window.began < until and since < window.ended + RECOVERY_SECONDS for window in windows):
            late.append(until - since)
    return sorted(late)


def share(ordered: Sequence[float], part: float) -> float:
    """A quantile."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def lines(  # noqa: PLR0917 - all that there is
    options: Options, town: Town, ledger: Ledger, evidence: Evidence, saboteur: Saboteur, verdict: Verdict
) -> list[str]:
    """The table, and then what is wrong."""
    changes = Counter(str(todo.change) for todo in town.todos if todo.change)
    kinds = Counter(window.kind for window in saboteur.windows)
    answers = Counter(f"{receipt.channel} {receipt.answer}" for receipt in ledger.receipts)
    late = lateness(evidence, saboteur.windows)
    table: list[tuple[str, object]] = [
        ("seed, seconds", f"{options.seed}, {options.seconds}"),
        ("todos with a reminder", f"{len(town.todos)} ({_counted(changes)} meanwhile)"),
        ("deliveries", f"{len(evidence.deliveries)} ({_counted(evidence.states())})"),
        ("attempts", sum(row.attempts for row in evidence.deliveries)),
        ("arrivals that had to be", verdict.wanted),
        ("silences that had to be", verdict.unwanted),
        ("faults", len(saboteur.windows)),
        *((f"  {kind}", count) for kind, count in sorted(kinds.items())),
        ("receivers misbehaved", sum(ledger.misbehaviour.values())),
        *((f"  {kind}", count) for kind, count in sorted(ledger.misbehaviour.items())),
        ("receipts in the ledger", len(ledger.receipts)),
        *((f"  {kind}", count) for kind, count in sorted(answers.items())),
        ("inbox notifications", len(evidence.told)),
        ("repeats in the ledger", len(verdict.repeats)),
        *((f"  after: {cause}", count) for cause, count in sorted(verdict.causes().items())),
        (
            "lateness, no fault near",
            f"p50 {share(late, 0.5):.2f} s, p99 {share(late, 0.99):.2f} s, max {share(late, 1):.2f} s"
            f" (of {len(late)} deliveries)",
        ),
    ]
    text = [f"{name:<34} {value}" for name, value in table]
    text += [f"note: {note}" for note in saboteur.notes]
    for rule, cases in sorted(verdict.violations.items()):
        text += ["", f"VIOLATED: {rule}: {len(cases)}"]
        text += [f"  {case}" for case in cases[:_SHOWN]]
        text += [f"  ... and {len(cases) - _SHOWN} more"] if len(cases) > _SHOWN else []
    return text


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))
