"""The writes that a client was told are done, so that it can be said afterwards whether they are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

State = tuple[str, bool] | None
"""A todo's title and whether it is done; None: it is deleted."""


def state_of(todo: Mapping[str, Any]) -> State:
    """As the API shows it."""
    return todo["title"], todo["completed"]


@dataclass
class Ledger:
    """One client's todos and reminders."""

    certain: dict[str, State] = field(default_factory=dict)
    """By id: what was acknowledged last."""
    doubtful: dict[str, tuple[State, State]] = field(default_factory=dict)
    """A write to it was not answered: the state before, or the one after. Nobody writes to it any more."""
    titles: set[str] = field(default_factory=set)
    """Of every todo that was asked for, each used once."""
    reminders: dict[str, float] = field(default_factory=dict)
    """Acknowledged todos that are due within the run, by id: when (`time.time()`)."""

    def doubt(self, todo_id: str, after: State) -> None:
        """A write was not answered."""
        self.doubtful[todo_id] = (self.certain.pop(todo_id), after)

    def faults(self, todos: Sequence[Mapping[str, Any]]) -> list[str]:
        """What is wrong with the whole list, as the API shows it now."""
        shown = {todo["id"]: state_of(todo) for todo in todos}
        found = [
            f"todo {todo_id}: {state} was acknowledged, {shown.get(todo_id)} is there"
            for todo_id, state in self.certain.items()
            if shown.get(todo_id) != state
        ]
        found += [
            f"todo {todo_id}: {states[0]} or {states[1]} was written, {shown.get(todo_id)} is there"
            for todo_id, states in self.doubtful.items()
            if shown.get(todo_id) not in states
        ]
        twice = Counter(todo["created_title"] for todo in _with_created_title(todos))
        found += [f"{title!r} was asked for once and is there {n} times" for title, n in twice.items() if n > 1]
        found += [f"{title!r} was never asked for" for title in twice.keys() - self.titles]
        return found

    def reminder_faults(self, told: Sequence[str], where: str) -> list[str]:
        """What is wrong with the todos that the owner was reminded of, each named as often as it was told."""
        times = Counter(told)
        found = [f"{where}: no reminder of {todo_id}" for todo_id in self.reminders if not times[todo_id]]
        found += [f"{where}: {n} reminders of {todo_id}" for todo_id, n in times.items() if n > 1]
        return found


def _with_created_title(todos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # A renamed todo keeps its first title as its first word.
    return [{**todo, "created_title": todo["title"].split(" ")[0]} for todo in todos]
