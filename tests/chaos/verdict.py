"""The rules that must hold after a run; violations name the ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from tests.chaos.attribution import Attribution, Repeat
from tests.chaos.evidence import Evidence, Row
from tests.chaos.ledger import Ledger, Receipt
from tests.chaos.options import SEND_SECONDS
from tests.chaos.people import Endpoint, Planned, Town

Key = tuple[UUID, int, str, UUID]
"""Reminder, occurrence, channel, endpoint."""
_CLOCKS = 0.05


@dataclass
class Verdict:
    """The violations by rule, and the counts."""

    violations: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    repeats: list[Repeat] = field(default_factory=list)
    wanted: int = 0
    """The number of arrivals that were required and checked."""
    unwanted: int = 0
    """The number of endpoints that had to get no delivery."""

    def causes(self) -> Counter[str]:
        """Return the number of repeats by cause."""
        return Counter(repeat.cause or "NOT ATTRIBUTED" for repeat in self.repeats)


class Judge:
    """Compares the plan, the ledger and the database."""

    def __init__(self, town: Town, ledger: Ledger, evidence: Evidence, attribution: Attribution) -> None:
        self._town = town
        self._ledger = ledger
        self._evidence = evidence
        self._attribution = attribution
        self._verdict = Verdict()
        self._rows = {row.id: row for row in evidence.deliveries}
        self._by_reminder: dict[UUID, list[Row]] = defaultdict(list)
        for row in evidence.deliveries:
            self._by_reminder[row.reminder_id].append(row)
        self._receipts: dict[tuple[int, str], list[Receipt]] = defaultdict(list)
        for receipt in ledger.receipts:
            self._receipts[receipt.todo, receipt.endpoint].append(receipt)
        self._told: Counter[str] = Counter(told.delivery_id for told in evidence.told)
        self._told_of_todo: dict[UUID, list[str]] = defaultdict(list)
        for told in evidence.told:
            self._told_of_todo[told.todo_id].append(told.delivery_id)

    def judge(self) -> Verdict:
        """Check everything."""
        for todo in self._town.todos:
            for endpoint in todo.owner.endpoints:
                self._check(todo, endpoint)
        self._check_keys()
        self._check_ids()
        self._check_inbox()
        for receipts in self._ledger.by_id().values():
            for repeat in self._attribution.repeats(receipts):
                self._verdict.repeats.append(repeat)
                if repeat.cause is None:
                    gap = repeat.second.at - repeat.first.at
                    self._broken(
                        "a repeat that no fault explains",
                        f"{repeat.first.id} {repeat.first.channel}: {repeat.first.answer} for pid {repeat.first.pid}"
                        f" at {repeat.first.at:.3f}, again {gap:.3f} s later for pid {repeat.second.pid}",
                    )
        return self._verdict

    def _broken(self, rule: str, what: str) -> None:
        self._verdict.violations[rule].append(what)

    def _check(self, todo: Planned, endpoint: Endpoint) -> None:
        """Check the deliveries of one todo to one endpoint."""
        match todo.change:
            case None:
                self._must_arrive(todo, endpoint, todo.due, occurrences=1)
            case "move":
                assert todo.began is not None
                assert todo.done is not None
                if todo.done < todo.due:  # moved before it could be sent: only the new time counts
                    self._must_arrive(todo, endpoint, todo.moved_to, occurrences=1)
                elif todo.done < todo.moved_to:
                    self._must_arrive(todo, endpoint, todo.moved_to, occurrences=2)
            case _:
                assert todo.done is not None
                self._must_be_silent(todo, endpoint, todo.done)

    def _must_arrive(self, todo: Planned, endpoint: Endpoint, due: float, *, occurrences: int) -> None:
        self._verdict.wanted += 1
        name = f"todo {todo.number}, reminder {todo.reminder_id}, {endpoint.channel} {endpoint.name}"
        rows = [
            row
            for row in self._by_reminder[todo.reminder_id]
            if (row.channel, row.endpoint_id) == (endpoint.channel, endpoint.id)
        ]
        current = [row for row in rows if abs(row.due_at - due) < 0.001]
        if len(current) != 1 or current[0].state != "sent":
            states = ", ".join(f"{row.id} {row.state}: {row.last_error}" for row in current)
            self._broken("lost: not sent, as the database says", f"{name}: {states or 'no delivery'}")
        elif not self._arrived(current[0].id, todo, endpoint):
            self._broken("lost: sent, as the database says, and never accepted", f"{name}: {current[0].id}")
        ids = {receipt.id for receipt in self._heard(todo, endpoint)} | {row.id for row in rows}
        if len(ids) > occurrences:
            self._broken("more than one delivery id", f"{name}: {', '.join(sorted(ids))}")
        early = [receipt for receipt in self._heard(todo, endpoint) if receipt.at < todo.due - _CLOCKS]
        if occurrences == 1:
            early = [receipt for receipt in self._heard(todo, endpoint) if receipt.at < due - _CLOCKS]
        if early:
            self._broken("announced before its time", f"{name}: {early[0].id}")

    def _must_be_silent(self, todo: Planned, endpoint: Endpoint, done: float) -> None:
        """Check a todo that was completed or deleted: attempts under way may end, none may begin after that."""
        heard = self._heard(todo, endpoint)
        name = f"todo {todo.number}, {endpoint.channel} {endpoint.name}"
        if len({receipt.id for receipt in heard}) > 1:
            self._broken("more than one delivery id", name)
        if done < todo.due:
            self._verdict.unwanted += 1
            if heard or (endpoint.channel == "inbox" and self._told_of_todo[todo.todo_id]):
                self._broken("announced although it was done or gone before its time", name)
        for receipt in heard:
            if receipt.at > done + SEND_SECONDS + 1 and not self._attribution.was_stopped(receipt, since=done):
                self._broken("announced long after it was done or gone", f"{name}: {receipt.id}")

    def _heard(self, todo: Planned, endpoint: Endpoint) -> list[Receipt]:
        return self._receipts.get((todo.number, endpoint.name), [])

    def _arrived(self, delivery_id: str, todo: Planned, endpoint: Endpoint) -> bool:
        if endpoint.channel == "inbox":
            return self._told[delivery_id] == 1
        return any(r.id == delivery_id and r.known_to_sender for r in self._heard(todo, endpoint))

    def _check_keys(self) -> None:
        """Check for one id for each (reminder, occurrence, channel, endpoint): in the database, and in the ledger."""
        in_database: dict[Key, set[str]] = defaultdict(set)
        for row in self._evidence.deliveries:
            in_database[row.reminder_id, row.occurrence, row.channel, row.endpoint_id].add(row.id)
        in_ledger: dict[tuple[str | int, int, str], set[str]] = defaultdict(set)
        for receipt in self._ledger.receipts:
            row_of_mail = self._rows.get(receipt.id)
            occurrence = receipt.occurrence or (row_of_mail.occurrence if row_of_mail else 1)
            in_ledger[receipt.reminder or receipt.todo, occurrence, receipt.endpoint].add(receipt.id)
        for key, ids in [*in_database.items(), *in_ledger.items()]:
            if len(ids) > 1:
                self._broken("more than one delivery id for one key", f"{key}: {', '.join(sorted(ids))}")

    def _check_ids(self) -> None:
        """Check that the database has each received id for the same endpoint, unless it was deleted with its todo."""
        deleted = {todo.number for todo in self._town.todos if todo.change == "delete"}
        reminders = {todo.number: todo.reminder_id for todo in self._town.todos}
        for receipt in self._ledger.receipts:
            row = self._rows.get(receipt.id)
            if row is None:
                if receipt.todo not in deleted:
                    self._broken("an id that the database does not know", receipt.id)
            elif row.reminder_id != reminders.get(receipt.todo) or row.channel != receipt.channel:
                self._broken("an id of something else", receipt.id)
        for row in self._stuck():
            self._broken("not settled, or given up", f"{row.id} {row.channel} {row.state}: {row.last_error}")

    def _stuck(self) -> Iterator[Row]:
        return (row for row in self._evidence.deliveries if row.state in ("pending", "dead"))

    def _check_inbox(self) -> None:
        """Check that inboxes hold no repeats."""
        for delivery_id, count in self._told.items():
            if count > 1:
                self._broken("twice in the inbox", delivery_id)
        for todo in self._town.todos:
            most = 2 if todo.change == "move" else 1
            if len(self._told_of_todo[todo.todo_id]) > most:
                self._broken("twice in the inbox", f"todo {todo.number}")
