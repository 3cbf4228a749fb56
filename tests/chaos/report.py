"""Prints the results of a run as a table."""

from __future__ import annotations

from collections import Counter

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Saboteur
from tests.chaos.ledger import Ledger
from tests.chaos.options import Options
from tests.chaos.people import Town
from tests.chaos.verdict import Verdict

_SHOWN = 20


def lines(  # noqa: PLR0917 - all that there is
    options: Options, town: Town, ledger: Ledger, evidence: Evidence, saboteur: Saboteur, verdict: Verdict
) -> list[str]:
    """Return the lines of the table, then the violations."""
    changes = Counter(str(todo.change) for todo in town.todos if todo.change)
    kinds = Counter(window.kind for window in saboteur.windows)
    answers = Counter(f"{receipt.channel} {receipt.answer}" for receipt in ledger.receipts)
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
