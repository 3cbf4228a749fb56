"""Compares the plan, the ledger and the database after a run; violations name the ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from tests.chaos.attribution import Attribution
from tests.chaos.options import SEND_SECONDS
from tests.chaos.people import Endpoint, PlannedTodo
from tests.chaos.receivers import Ledger, Receipt

_CLOCKS = 0.05
_SHOWN = 20


async def unfinished(sql: asyncpg.Connection) -> int:
    """Return the number of reminders and deliveries without a final state."""
    count: int = await sql.fetchval(
        "SELECT (SELECT count(*) FROM reminders WHERE state = 'scheduled')"
        " + (SELECT count(*) FROM deliveries WHERE state = 'pending')"
    )
    return count


@dataclass
class Verdict:
    """The violations by rule, and the counts that show how much was checked."""

    todos: list[PlannedTodo]
    ledger: Ledger
    deliveries: list[asyncpg.Record]
    inbox: list[asyncpg.Record]
    """Delivery and todo of each notification."""
    attribution: Attribution
    violations: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    causes: Counter[str] = field(default_factory=Counter)
    """The repeats by cause."""
    wanted: int = 0
    """The number of arrivals that were required and checked."""
    unwanted: int = 0
    """The number of endpoints that had to get no delivery."""

    @classmethod
    async def reach(
        cls, sql: asyncpg.Connection, todos: list[PlannedTodo], ledger: Ledger, attribution: Attribution
    ) -> Verdict:
        """Read the database and check everything."""
        deliveries = await sql.fetch(
            "SELECT id::text, reminder_id, channel, endpoint_id, occurrence, state, attempts, last_error,"
            " extract(epoch FROM due_at)::float8 AS due_at FROM deliveries"
        )
        inbox = await sql.fetch("SELECT delivery_id::text, todo_id FROM notifications WHERE kind = 'reminder'")
        verdict = cls(todos, ledger, deliveries, inbox, attribution)
        verdict._check()
        return verdict

    def _check(self) -> None:
        self._rows: dict[tuple[UUID, str, UUID], list[asyncpg.Record]] = defaultdict(list)
        for row in self.deliveries:
            self._rows[row["reminder_id"], row["channel"], row["endpoint_id"]].append(row)
            if row["state"] in ("pending", "dead"):
                self._broken("not settled, or given up", f"{row['id']} {row['channel']} {row['last_error']}")
        self._heard: dict[tuple[int, str], list[Receipt]] = defaultdict(list)
        self._by_id: dict[str, list[Receipt]] = defaultdict(list)
        for receipt in self.ledger.receipts:
            self._heard[receipt.todo, receipt.endpoint].append(receipt)
            self._by_id[receipt.id].append(receipt)
        self._told = Counter(row["delivery_id"] for row in self.inbox)
        self._told_of = Counter(row["todo_id"] for row in self.inbox)
        for todo in self.todos:
            for endpoint in todo.endpoints:
                self._check_endpoint(todo, endpoint)
            if self._told_of[todo.todo_id] > (2 if todo.change == "move" else 1):
                self._broken("twice in the inbox", f"todo {todo.number}")
        self._check_ids()
        self._check_repeats()

    def _broken(self, rule: str, what: str) -> None:
        self.violations[rule].append(what)

    def _check_endpoint(self, todo: PlannedTodo, endpoint: Endpoint) -> None:
        """Check the deliveries of one todo to one endpoint."""
        if todo.change is None:
            self._must_arrive(todo, endpoint, todo.due, occurrences=1)
        elif todo.change != "move":
            self._must_be_silent(todo, endpoint)
        elif todo.done < todo.due:  # moved before it could be sent: only the new time counts
            self._must_arrive(todo, endpoint, todo.moved_to, occurrences=1)
        elif todo.done < todo.moved_to:
            self._must_arrive(todo, endpoint, todo.moved_to, occurrences=2)

    def _must_arrive(self, todo: PlannedTodo, endpoint: Endpoint, due: float, *, occurrences: int) -> None:
        self.wanted += 1
        name = f"todo {todo.number}, reminder {todo.reminder_id}, {endpoint.channel} {endpoint.name}"
        rows = self._rows[todo.reminder_id, endpoint.channel, endpoint.id]
        heard = self._heard[todo.number, endpoint.name]
        current = [row for row in rows if abs(row["due_at"] - due) < 0.001]
        if [row["state"] for row in current] != ["sent"]:
            self._broken("lost: not sent, as the database says", f"{name}: {current or 'no delivery'}")
        elif not self._arrived(current[0]["id"], endpoint):
            self._broken("lost: sent, as the database says, and never accepted", f"{name}: {current[0]['id']}")
        ids = {receipt.id for receipt in heard} | {row["id"] for row in rows}
        if len(ids) > occurrences:
            self._broken("more than one delivery id", f"{name}: {', '.join(sorted(ids))}")
        earliest = due if occurrences == 1 else todo.due
        if any(receipt.at < earliest - _CLOCKS for receipt in heard):
            self._broken("announced before its time", name)

    def _must_be_silent(self, todo: PlannedTodo, endpoint: Endpoint) -> None:
        """Check a todo that was completed or deleted: attempts under way may end, none may begin after that."""
        heard = self._heard[todo.number, endpoint.name]
        name = f"todo {todo.number}, {endpoint.channel} {endpoint.name}"
        if len({receipt.id for receipt in heard}) > 1:
            self._broken("more than one delivery id", name)
        if todo.done < todo.due:
            self.unwanted += 1
            if heard or (endpoint.channel == "inbox" and self._told_of[todo.todo_id]):
                self._broken("announced although it was done or gone before its time", name)
        for receipt in heard:
            late = receipt.at > todo.done + SEND_SECONDS + 1
            if late and not self.attribution.was_stopped(receipt, since=todo.done):
                self._broken("announced long after it was done or gone", f"{name}: {receipt.id}")

    def _arrived(self, delivery_id: str, endpoint: Endpoint) -> bool:
        if endpoint.channel == "inbox":
            return self._told[delivery_id] == 1
        return any(
            (receipt.endpoint, receipt.answer) == (endpoint.name, "accepted") for receipt in self._by_id[delivery_id]
        )

    def _check_ids(self) -> None:
        """Check that each received id is that of its todo and occurrence, unless both were deleted."""
        todos = {todo.number: todo for todo in self.todos}
        rows = {row["id"]: row for row in self.deliveries}
        for receipt in self.ledger.receipts:
            todo, row = todos.get(receipt.todo), rows.get(receipt.id)
            if row is None or todo is None:
                if todo is None or todo.change != "delete":
                    self._broken("an id that the database does not know", receipt.id)
            elif (
                (row["reminder_id"], row["channel"]) != (todo.reminder_id, receipt.channel)
                or receipt.occurrence not in (None, row["occurrence"])
                or row["endpoint_id"] not in {e.id for e in todo.endpoints if e.name == receipt.endpoint}
            ):
                self._broken("an id of something else", receipt.id)

    def _check_repeats(self) -> None:
        """Check that a fault explains every repeat in the ledger."""
        for receipts in self._by_id.values():
            for first, second, cause in self.attribution.repeats(receipts):
                self.causes[cause or "NO CAUSE"] += 1
                if cause is None:
                    sent = f"{first.id} {first.channel}: {first.answer} for pid {first.pid} at {first.at:.3f}"
                    again = f"again {second.at - first.at:.3f} s later for pid {second.pid}"
                    self._broken("a repeat that no fault explains", f"{sent}, {again}")

    def lines(self, faults: Counter[str]) -> list[str]:
        """Return the counts as a table, then the violations."""
        states = Counter(row["state"] for row in self.deliveries)
        changes = Counter(str(todo.change) for todo in self.todos if todo.change)
        answers = Counter(f"{receipt.channel} {receipt.answer}" for receipt in self.ledger.receipts)
        groups: list[tuple[str, int, Counter[str]]] = [
            ("todos with a reminder", len(self.todos), changes),
            ("deliveries", len(self.deliveries), states),
            ("attempts", sum(row["attempts"] for row in self.deliveries), Counter()),
            ("arrivals that were required", self.wanted, Counter()),
            ("endpoints without a delivery", self.unwanted, Counter()),
            ("faults", faults.total(), faults),
            ("receivers misbehaved", self.ledger.misbehaviour.total(), self.ledger.misbehaviour),
            ("receipts in the ledger", len(self.ledger.receipts), answers),
            ("inbox notifications", len(self.inbox), Counter()),
            ("repeats in the ledger", self.causes.total(), self.causes),
        ]
        text = []
        for name, count, parts in groups:
            text += [f"{name:<34} {count}", *(f"  {part:<32} {number}" for part, number in sorted(parts.items()))]
        for rule, cases in sorted(self.violations.items()):
            more = [f"  ... and {len(cases) - _SHOWN} more"] if len(cases) > _SHOWN else []
            text += ["", f"VIOLATED: {rule}: {len(cases)}", *(f"  {case}" for case in cases[:_SHOWN]), *more]
        return text
