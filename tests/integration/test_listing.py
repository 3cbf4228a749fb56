"""Lists: order, filters, and pages that neither skip nor repeat."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.factories import Person
from todo_core.todos.queries import SORT_NAMES

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


async def add_various(person: Person, database_url: str, count: int = 30) -> list[dict[str, Any]]:
    """Todos whose sort keys collide and are missing now and then, as their owner sees them."""
    rng = random.Random(person.id)
    connection = await asyncpg.connect(database_url)
    rows = [
        (
            UUID(int=rng.getrandbits(128)),
            UUID(person.id),
            rng.choice(["apple", "Apple", "banana", "Zebra", "zebra", "äpfel", "买牛奶", "作业", "_", "1"]),
            rng.choice([None, None, *(NOON + timedelta(hours=hour) for hour in range(6))]),
            rng.choice([None, NOON]),
            NOON + timedelta(seconds=rng.randrange(12)),
            NOON + timedelta(seconds=rng.randrange(12)),
        )
        for _ in range(count)
    ]
    await connection.executemany(
        "INSERT INTO todos (id, owner_id, title, due_at, completed_at, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        rows,
    )
    await connection.close()
    return await person.walk(limit=100)


def expected_order(todos: list[dict[str, Any]], sort: str) -> list[str]:
    """Compute the order that PostgreSQL should return: missing keys last in both directions, ties by id."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")

    def key(todo: dict[str, Any]) -> Any:
        if name == "title":
            # ASCII letters regardless of case, then bytes.
            return bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in todo["title"].encode())
        return todo[name]

    present = sorted((t for t in todos if t[name] is not None), key=lambda t: (key(t), t["id"]), reverse=descending)
    missing = sorted((t for t in todos if t[name] is None), key=lambda t: str(t["id"]), reverse=descending)
    return [todo["id"] for todo in present + missing]


@pytest.mark.parametrize("sort", SORT_NAMES)
@pytest.mark.parametrize("completed", [None, True, False])
async def test_pages_of_any_size_give_every_todo_once_and_in_order(
    lin: Person, wang: Person, database_url: str, sort: str, completed: bool | None
) -> None:
    await wang.add_todo("not Lin's")
    todos = await add_various(lin, database_url)
    wanted = expected_order([t for t in todos if completed in (None, t["completed"])], sort)
    filters = {} if completed is None else {"completed": completed}
    for limit in (1, 4, 100):
        walked = await lin.walk(limit=limit, sort=sort, **filters)
        assert [todo["id"] for todo in walked] == wanted


@pytest.mark.parametrize("sort", SORT_NAMES)
async def test_due_filters_take_the_first_instant_and_leave_the_last(lin: Person, database_url: str, sort: str) -> None:
    todos = await add_various(lin, database_url)
    after, before = NOON + timedelta(hours=1), NOON + timedelta(hours=4)
    for due_after, due_before in ((after, before), (after, None), (None, before), (before, after)):
        bounds = {"due_after": due_after, "due_before": due_before}
        params = {name: bound.isoformat() for name, bound in bounds.items() if bound}
        wanted = [
            todo
            for todo in todos
            if todo["due_at"] is not None
            and (due_after is None or datetime.fromisoformat(todo["due_at"]) >= due_after)
            and (due_before is None or datetime.fromisoformat(todo["due_at"]) < due_before)
        ]
        walked = await lin.walk(limit=7, sort=sort, **params)
        assert [todo["id"] for todo in walked] == expected_order(wanted, sort)
        not_done = await lin.walk(limit=100, sort=sort, completed=False, **params)
        assert {todo["id"] for todo in not_done} == {todo["id"] for todo in wanted if not todo["completed"]}


async def test_the_newest_come_first_twenty_at_a_time_unless_asked_otherwise(lin: Person) -> None:
    added = [await lin.add_todo(f"t{number}") for number in range(23)]
    page = await lin.list()
    assert page.keys() == {"items", "next_cursor"}
    assert page["items"] == added[:2:-1]
    last = await lin.list(cursor=page["next_cursor"])
    assert last == {"items": added[2::-1], "next_cursor": None}


async def test_an_empty_account_has_one_empty_page(lin: Person) -> None:
    assert await lin.list() == {"items": [], "next_cursor": None}


async def test_a_full_last_page_promises_no_other(lin: Person) -> None:
    for number in range(4):
        await lin.add_todo(f"t{number}")
    page = await lin.list(limit=2)
    assert (await lin.list(limit=2, cursor=page["next_cursor"]))["next_cursor"] is None


@pytest.mark.parametrize("sort", SORT_NAMES)
async def test_todos_whose_key_stays_are_neither_skipped_nor_repeated_while_others_change(
    lin: Person, database_url: str, sort: str
) -> None:
    todos = await add_various(lin, database_url, 40)
    rng = random.Random(sort)
    steady = {todo["id"] for todo in rng.sample(todos, 20)}
    restless = itertools.cycle([todo["id"] for todo in todos if todo["id"] not in steady])
    seen: list[str] = []
    page = await lin.list(limit=3, sort=sort)
    while True:
        seen += [todo["id"] for todo in page["items"]]
        if page["next_cursor"] is None:
            break
        victim = next(restless)
        await lin.patch(
            f"/todos/{victim}",
            json={"title": rng.choice("amz"), "due_at": rng.choice([None, (NOON + timedelta(days=9)).isoformat()])},
        )
        await lin.add_todo(rng.choice("amz"), due_at=rng.choice([None, NOON.isoformat()]))
        await lin.post(f"/todos/{victim}/{rng.choice(['complete', 'reopen'])}")
        if rng.random() < 0.3:
            await lin.delete(f"/todos/{next(restless)}")
        page = await lin.list(limit=3, sort=sort, cursor=page["next_cursor"])
        if len(seen) > 500:
            pytest.fail("the list does not end")
    assert sorted(todo_id for todo_id in seen if todo_id in steady) == sorted(steady)


@pytest.mark.parametrize(
    ("params", "field", "rule"),
    [
        ({"limit": 0}, "limit", "minimum"),
        ({"limit": 101}, "limit", "maximum"),
        ({"limit": "many"}, "limit", "integer"),
        ({"limit": ""}, "limit", "integer"),
        ({"completed": "perhaps"}, "completed", "boolean"),
        ({"sort": "colour"}, "sort", "one_of"),
        ({"sort": "+title"}, "sort", "one_of"),
        ({"due_before": "2026-12-01T00:00:00"}, "due_before", "timestamp_offset"),
        ({"due_after": "yesterday"}, "due_after", "timestamp"),
        ({"due_after": "1796000000"}, "due_after", "timestamp"),
        ({"cursor": "nonsense"}, "cursor", "cursor"),
        ({"cursor": ""}, "cursor", "cursor"),
        ({"cursor": "错"}, "cursor", "cursor"),
        ({"due_befor": "2026-12-01T00:00:00Z"}, "due_befor", "unknown_field"),
        ({"skip": 20}, "skip", "use_cursor"),
        ({"offset": 20}, "offset", "use_cursor"),
        ({"page": 2}, "page", "use_cursor"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_by_name(
    lin: Person, params: dict[str, Any], field: str, rule: str
) -> None:
    answer = await lin.get("/todos/", params=params)
    assert answer.status_code == 422
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("query", field, rule)]


@pytest.mark.parametrize("path", ["/todos/", "/notifications/"])
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_who_asks_for_pages_by_offset_is_told_of_the_cursor(lin: Person, path: str, language: str) -> None:
    answer = await lin.get(path, params={"skip": 20}, headers={"Accept-Language": language})
    (fault,) = answer.json()["errors"]
    assert (answer.status_code, "`cursor`" in fault["detail"], "next_cursor" in fault["detail"]) == (422, True, True)


async def test_a_cursor_is_refused_under_another_sort_or_filter_and_taken_under_another_limit(lin: Person) -> None:
    for number in range(5):
        await lin.add_todo(f"t{number}", due_at=NOON.isoformat())
    asked = {"sort": "due_at", "completed": "false", "due_before": "2026-12-02T00:00:00Z"}
    cursor = (await lin.list(limit=2, **asked))["next_cursor"]
    assert len((await lin.list(limit=3, **asked, cursor=cursor))["items"]) == 3
    # The same instant, spelled otherwise, is the same filter.
    same = {**asked, "due_before": "2026-12-02T08:00:00+08:00"}
    assert len((await lin.list(limit=3, **same, cursor=cursor))["items"]) == 3
    for change in (
        {"sort": "-due_at"},
        {"sort": "created_at"},
        {"completed": "true"},
        {"due_before": "2026-12-03T00:00:00Z"},
        {"due_after": "2026-11-01T00:00:00Z"},
    ):
        answer = await lin.get("/todos/", params={**asked, **change, "cursor": cursor})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor"), change


async def test_somebody_elses_cursor_shows_nothing_of_theirs(lin: Person, wang: Person) -> None:
    for number in range(3):
        await wang.add_todo(f"secret {number}")
        await lin.add_todo(f"mine {number}")
    cursor = (await wang.list(limit=1, sort="title"))["next_cursor"]
    page = await lin.list(sort="title", cursor=cursor)
    assert {todo["title"] for todo in page["items"]} <= {"mine 0", "mine 1", "mine 2"}


async def test_the_plus_of_an_offset_may_come_unescaped(lin: Person) -> None:
    todo = await lin.add_todo(due_at="2026-12-01T00:30:00Z")
    answer = await lin.get("/todos/?due_before=2026-12-01T09:00:00+08:00")
    assert [item["id"] for item in answer.json()["items"]] == [todo["id"]]
