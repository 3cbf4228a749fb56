"""The acknowledged writes of a client, to check afterwards that none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

State = tuple[str, bool] | None
"""A todo's title and whether it is done; None: it is deleted."""


def state_of(todo: Mapping[str, Any]) -> State:
    """Return a todo's state from the API's answer."""
    return todo["title"], todo["completed"]


@dataclass
class Ledger:
    """One client's todos and reminders."""

    certain: dict[str, State] = field(default_factory=dict)
    """The last acknowledged state, by id."""
    doubtful: dict[str, tuple[State, State]] = field(default_factory=dict)
    """The states before and after a write without an answer, by id. Such a todo is not written again."""
    titles: set[str] = field(default_factory=set)
    """The titles of all requested todos, each used once."""
    reminders: dict[str, float] = field(default_factory=dict)
    """The due times (`time.time()`) of acknowledged todos that are due within the run, by id."""

    def doubt(self, todo_id: str, after: State) -> None:
        """Record a write without an answer."""
        self.doubtful[todo_id] = (self.certain.pop(todo_id), after)

    def faults(self, todos: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the errors in the whole list of the API."""
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
        """Return the reminders that are lost or doubled, given the notified todos with repeats."""
        times = Counter(told)
        found = [f"{where}: no reminder of {todo_id}" for todo_id in self.reminders if not times[todo_id]]
        found += [f"{where}: {n} reminders of {todo_id}" for todo_id, n in times.items() if n > 1]
        return found


def _with_created_title(todos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # A renamed todo keeps its first title as its first word.
    return [{**todo, "created_title": todo["title"].split(" ")[0]} for todo in todos]
