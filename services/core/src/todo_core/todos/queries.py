"""What a list of todos can be asked for, and the static statements that answer it.

Each index has `completed` before the sort key. A list that is filtered by it reads one range; one that is not reads
both halves, which PostgreSQL merges as it goes and leaves as soon as the page is full. A page thus costs the rows that
it shows, at any depth.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, get_args

from todo_core.paging import Place
from todo_core.todos.models import COLUMNS

SortName = Literal["created_at", "-created_at", "due_at", "-due_at", "updated_at", "-updated_at", "title", "-title"]
SORT_NAMES: tuple[str, ...] = get_args(SortName)


@dataclass(frozen=True, slots=True)
class Sort:
    """An order: a column, then the id in the same direction, so that no two rows stand in one place."""

    column: str
    descending: bool

    @classmethod
    def of(cls, name: str) -> "Sort":
        """By its public name, such as `-due_at`."""
        public = name.removeprefix("-")
        return cls("title_key" if public == "title" else public, name.startswith("-"))

    @property
    def key_is_instant(self) -> bool:
        """Whether the key is a time (else text)."""
        return self.column != "title_key"

    @property
    def nullable(self) -> bool:
        """Whether rows may have no key; those come last in both directions."""
        return self.column == "due_at"


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One question. `due_after <= due_at < due_before`; a todo without a due date is in no such range."""

    sort: str = "-created_at"
    limit: int = 20
    completed: bool | None = None
    due_before: datetime | None = None
    due_after: datetime | None = None

    @property
    def canonical(self) -> str:
        """Sort and filters, in one spelling: what a cursor belongs to."""
        return f"{self.sort}|{self.completed}|{self.due_before}|{self.due_after}"


@lru_cache(maxsize=512)
def page_statement(
    sort: Sort,
    limit: int,
    *,
    completed: bool | None,
    due_before: bool,
    due_after: bool,
    continues: bool,
    without_key: bool,
) -> str:
    """The statement for one page, or for the part of it whose rows have no sort key.

    Its parameters, in order: account id, token version; then the key and id continued from (only the id where there is
    no key), `due_after`, `due_before`: those that apply. The limit is part of the text, for PostgreSQL to plan with. It
    gives one row even for an empty page (with a null id), and none if the account is gone. Each row has the account's
    `change_seq` and `changed_at` too: the list's version.
    """
    column = f"t.{sort.column}"
    direction, beyond = ("DESC", "<") if sort.descending else ("ASC", ">")
    conditions = ["t.owner_id = $1"]
    next_parameter = 3
    if sort.nullable:
        conditions.append(f"{column} IS {'' if without_key else 'NOT '}NULL")
    if continues and without_key:
        conditions.append(f"t.id {beyond} $3::uuid")
        next_parameter = 4
    elif continues:
        key_type = "timestamptz" if sort.key_is_instant else "text"
        conditions.append(f"({column}, t.id) {beyond} ($3::{key_type}, $4::uuid)")
        next_parameter = 5
    for applies, comparison in ((due_after, ">="), (due_before, "<")):
        if applies:
            conditions.append(f"t.due_at {comparison} ${next_parameter}::timestamptz")
            next_parameter += 1
    halves = [f"{'' if half else 'NOT '}t.completed" for half in (True, False) if completed in (None, half)]
    order = f"{column} {direction}, t.id {direction}"
    # Each half is ordered and cut off by itself: PostgreSQL cannot push either into a branch of a UNION ALL.
    # S608, here and below: nothing but the constants above goes into the text.
    selects = " UNION ALL ".join(
        f"(SELECT {qualified('t')}, {column} AS sort_key FROM todos t"  # noqa: S608
        f" WHERE {' AND '.join([*conditions, half])} ORDER BY {order} LIMIT {limit})"
        for half in halves
    )
    return (
        f"SELECT {qualified('p')}, p.sort_key, a.change_seq, a.changed_at"  # noqa: S608
        f" FROM accounts a LEFT JOIN ({selects}) p ON true"
        f" WHERE a.id = $1 AND a.auth_version = $2"
        f" ORDER BY p.sort_key {direction}, p.id {direction} LIMIT {limit}"
    )


def page_parameters(query: ListQuery, place: Place | None, *, without_key: bool) -> list[object]:
    """What follows the account in the statement's parameters."""
    parameters: list[object] = []
    if place is not None:
        parameters += [place.id] if without_key else [place.key, place.id]
    parameters += [bound for bound in (query.due_after, query.due_before) if bound is not None]
    return parameters


def qualified(alias: str) -> str:
    """A todo's columns as people see them, of a table by this name."""
    return ", ".join(f"{alias}.{column}" for column in COLUMNS)
