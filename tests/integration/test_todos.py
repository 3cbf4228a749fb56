"""Todos over HTTP: what is promised for each verb, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.factories import Person

TODO_FIELDS = {
    "id",
    "title",
    "description",
    "due_at",
    *("completed", "completed_at", "created_at", "updated_at", "version"),
}


async def test_a_new_todo_is_open_and_answers_with_its_address_and_etag(lin: Person) -> None:
    answer = await lin.post("/todos/", json={"title": "Buy milk"})
    todo = answer.json()
    assert answer.status_code == 201
    assert todo.keys() == TODO_FIELDS
    assert (todo["title"], todo["description"], todo["due_at"]) == ("Buy milk", None, None)
    assert (todo["completed"], todo["completed_at"], todo["version"]) == (False, None, 1)
    assert UUID(todo["id"]).version == 7
    assert todo["created_at"] == todo["updated_at"]
    assert abs((datetime.fromisoformat(todo["created_at"]) - datetime.now(UTC)).total_seconds()) < 60
    read = await lin.get(answer.headers["location"])
    assert read.json() == todo
    assert read.headers["etag"] == answer.headers["etag"] == '"1"'


async def test_a_todo_keeps_all_that_it_is_given(lin: Person) -> None:
    todo = await lin.add_todo(
        "  买牛奶 🥛 ", description="Two litres\n\tthe blue one", due_at="2026-12-01T09:00:00+08:00", completed=True
    )
    assert todo["title"] == "买牛奶 🥛"
    assert todo["description"] == "Two litres\n\tthe blue one"
    assert todo["due_at"] == "2026-12-01T01:00:00Z"
    assert todo["completed"] is True
    assert todo["completed_at"] == todo["created_at"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_path_works_with_and_without_its_trailing_slash(lin: Person, slash: str) -> None:
    created = await lin.post(f"/todos{slash}", json={"title": "x"})
    assert created.status_code == 201
    path = f"/todos/{created.json()['id']}"
    assert (await lin.get(f"/todos{slash}")).status_code == 200
    assert (await lin.get(path + slash)).status_code == 200
    assert (await lin.patch(path + slash, json={"title": "y"})).status_code == 200
    assert (await lin.post(f"{path}/complete{slash}")).status_code == 200
    assert (await lin.post(f"{path}/reopen{slash}")).status_code == 200
    assert (await lin.delete(path + slash)).status_code == 204
    assert (await lin.get(f"/users/me{slash}")).status_code == 200


async def test_patch_changes_only_what_is_sent(lin: Person) -> None:
    todo = await lin.add_todo("a", description="d", due_at="2026-12-01T00:00:00Z")
    answer = await lin.patch(f"/todos/{todo['id']}", json={"title": "b"})
    changed = answer.json()
    assert answer.status_code == 200
    assert changed == {**todo, "title": "b", "version": 2, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > todo["updated_at"]
    assert answer.headers["etag"] == '"2"'


async def test_put_replaces_a_todo_and_what_is_left_out_takes_its_default(lin: Person) -> None:
    todo = await lin.add_todo("old", description="d", due_at="2030-01-01T00:00:00Z", completed=True, reminders=[])
    path = f"/todos/{todo['id']}"
    replaced = await lin.put(path, json={"title": "new", "description": "e"})
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    given = {"title": "new", "description": "e", "due_at": None, "completed": False, "completed_at": None, "version": 2}
    assert replaced.json() == {**todo, **given, "updated_at": replaced.json()["updated_at"]}
    assert (await lin.get(path)).json() == replaced.json()
    again = await lin.put(path, json={"title": "new", "description": "e"})
    assert again.json() == replaced.json(), "the same once more changes nothing"
    await lin.put(path, json={"title": "new", "due_at": "2100-01-01T00:00:00Z"})
    (reminder,) = (await lin.get(f"{path}/reminders")).json()["items"]
    assert (reminder["before"], reminder["state"]) == ("PT0S", "scheduled"), "the account's default one again"


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({}, "title", "required"),
        ({"title": None}, "title", "null"),
        ({"title": "a", "completed": None}, "completed", "null"),
        ({"title": "a", "version": 1}, "version", "unknown_field"),
    ],
)
async def test_a_put_that_breaks_a_rule_is_refused_whole(
    lin: Person, body: dict[str, Any], field: str, rule: str
) -> None:
    todo = await lin.add_todo("a")
    answer = await lin.put(f"/todos/{todo['id']}", json=body)
    assert answer.status_code == 422
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("body", field, rule)]
    assert (await lin.get(f"/todos/{todo['id']}")).json() == todo


async def test_patch_with_null_clears_description_and_due_date(lin: Person) -> None:
    todo = await lin.add_todo("a", description="d", due_at="2026-12-01T00:00:00Z")
    changed = (await lin.patch(f"/todos/{todo['id']}", json={"description": None, "due_at": None})).json()
    assert (changed["description"], changed["due_at"], changed["title"]) == (None, None, "a")


@pytest.mark.parametrize("body", [{}, {"title": "a"}, {"title": " a "}, {"completed": False}, {"description": None}])
async def test_a_patch_that_says_nothing_new_changes_nothing(lin: Person, body: dict[str, Any]) -> None:
    todo = await lin.add_todo("a")
    answer = await lin.patch(f"/todos/{todo['id']}", json=body)
    assert (answer.status_code, answer.json()) == (200, todo)
    assert (await lin.get(f"/todos/{todo['id']}")).json() == todo


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"title": None}, "title", "null"),
        ({"completed": None}, "completed", "null"),
        ({"title": " "}, "title", "blank"),
        ({"owner_id": str(uuid4())}, "owner_id", "unknown_field"),
        ({"version": 7}, "version", "unknown_field"),
        ({"completed": "yes"}, "completed", "boolean"),
        ({"due_at": "2026-12-01"}, "due_at", "timestamp"),
    ],
)
async def test_a_patch_that_breaks_a_rule_is_refused_whole(
    lin: Person, body: dict[str, Any], field: str, rule: str
) -> None:
    todo = await lin.add_todo("a")
    answer = await lin.patch(f"/todos/{todo['id']}", json={"description": "changed", **body})
    assert answer.status_code == 422
    assert [(error["in"], error["field"], error["rule"]) for error in answer.json()["errors"]] == [
        ("body", field, rule)
    ]
    assert (await lin.get(f"/todos/{todo['id']}")).json() == todo


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({}, "title", "required"),
        ({"title": ""}, "title", "blank"),
        ({"title": " \t\n\u3000"}, "title", "blank"),
        ({"title": "x" * 201}, "title", "max_length"),
        ({"title": "a\x00b"}, "title", "nul"),
        ({"title": 5}, "title", "string"),
        ({"title": ["a"]}, "title", "string"),
        ({"title": "a", "description": "x" * 10_001}, "description", "max_length"),
        ({"title": "a", "description": "\x00"}, "description", "nul"),
        ({"title": "a", "due_at": "2026-12-01T09:00:00"}, "due_at", "timestamp_offset"),
        ({"title": "a", "due_at": "tomorrow"}, "due_at", "timestamp"),
        ({"title": "a", "due_at": 1_796_000_000}, "due_at", "timestamp"),
        ({"title": "a", "due_at": "2026-02-30T09:00:00Z"}, "due_at", "timestamp"),
        ({"title": "a", "due_at": "2026-12-01T09:00:00+24:00"}, "due_at", "timestamp"),
        ({"title": "a", "due_at": "0001-01-01T00:00:00+01:00"}, "due_at", "timestamp_range"),
        ({"title": "a", "due_at": "9999-12-31T23:59:59-01:00"}, "due_at", "timestamp_range"),
        ({"title": "a", "completed": 1}, "completed", "boolean"),
        ({"title": "a", "colour": "red"}, "colour", "unknown_field"),
        ({"title": "a", "id": str(uuid4())}, "id", "unknown_field"),
    ],
)
async def test_a_new_todo_that_breaks_a_rule_is_refused_and_names_field_and_rule(
    lin: Person, fields: dict[str, Any], field: str, rule: str
) -> None:
    answer = await lin.post("/todos/", json=fields)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "validation_failed"
    assert [(error["field"], error["rule"]) for error in problem["errors"]] == [(field, rule)]
    assert problem["errors"][0]["detail"]
    assert (await lin.list())["items"] == []


@pytest.mark.parametrize("name", ["title", "description"])
async def test_half_a_surrogate_pair_is_refused(lin: Person, name: str) -> None:
    body = b'{"title": "a", "%s": "\\ud800"}' % name.encode()
    answer = await lin.post("/todos/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [(error["field"], error["rule"]) for error in answer.json()["errors"]] == [(name, "unicode")]


async def test_a_field_whose_name_is_half_a_surrogate_pair_gets_an_answer_all_the_same(lin: Person) -> None:
    body = b'{"title": "a", "\\ud800": 1}'
    answer = await lin.post("/todos/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["rule"] in {"unknown_field", "unicode"}


async def test_titles_and_descriptions_of_the_greatest_length_are_kept_whole(lin: Person) -> None:
    todo = await lin.add_todo("  " + "🥛" * 200 + " ", description="字" * 10_000)
    assert len(todo["title"]) == 200
    assert len(todo["description"]) == 10_000


async def test_completing_and_reopening_are_idempotent_and_keep_the_first_time(lin: Person) -> None:
    todo = await lin.add_todo()
    path = f"/todos/{todo['id']}"
    done = await lin.post(f"{path}/complete")
    assert done.status_code == 200
    assert done.headers["etag"] == '"2"'
    assert done.json()["completed"] is True
    assert done.json()["completed_at"] == done.json()["updated_at"]
    assert (await lin.post(f"{path}/complete")).json() == done.json()
    assert (await lin.patch(path, json={"completed": True})).json() == done.json()
    reopened = await lin.post(f"{path}/reopen")
    assert (reopened.json()["completed"], reopened.json()["completed_at"]) == (False, None)
    assert reopened.json()["version"] == 3
    assert (await lin.post(f"{path}/reopen")).json() == reopened.json()


async def test_a_deleted_todo_is_gone(lin: Person) -> None:
    todo = await lin.add_todo()
    kept = await lin.add_todo("kept")
    deleted = await lin.delete(f"/todos/{todo['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await lin.get(f"/todos/{todo['id']}")).status_code == 404
    assert (await lin.delete(f"/todos/{todo['id']}")).status_code == 404
    assert [item["id"] for item in (await lin.list())["items"]] == [kept["id"]]


VERBS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("PATCH", "", {"json": {"title": "mine"}}),
    ("PATCH", "", {"json": {}}),
    ("PUT", "", {"json": {"title": "mine"}}),
    ("DELETE", "", {}),
    ("POST", "/complete", {}),
    ("POST", "/reopen", {}),
]


@pytest.mark.parametrize(("method", "suffix", "options"), VERBS)
async def test_somebody_elses_todo_does_not_exist(
    lin: Person, wang: Person, method: str, suffix: str, options: dict[str, Any]
) -> None:
    todo = await wang.add_todo("secret")
    theirs = await lin.request(method, f"/todos/{todo['id']}{suffix}", **options)
    nobodys = await lin.request(method, f"/todos/{uuid4()}{suffix}", **options)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
    assert theirs.json()["code"] == "todo_not_found"
    assert (await lin.list())["items"] == []
    assert (await wang.get(f"/todos/{todo['id']}")).json() == todo


async def test_an_id_that_is_no_uuid_names_the_field(lin: Person) -> None:
    answer = await lin.get("/todos/7")
    assert answer.status_code == 422
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("path", "todo_id", "uuid")]


async def test_a_change_with_an_outdated_etag_overwrites_nothing(lin: Person) -> None:
    todo = await lin.add_todo("a")
    path = f"/todos/{todo['id']}"
    first = await lin.patch(path, json={"title": "from my phone"}, headers={"If-Match": '"1"'})
    late = await lin.patch(path, json={"title": "from my laptop"}, headers={"If-Match": '"1"'})
    gone = await lin.delete(path, headers={"If-Match": '"1"'})
    replaced = await lin.put(path, json={"title": "all of it"}, headers={"If-Match": '"1"'})
    assert (first.status_code, late.status_code, gone.status_code, replaced.status_code) == (200, 412, 412, 412)
    assert late.json()["code"] == "precondition_failed"
    assert (await lin.get(path)).json()["title"] == "from my phone"
    assert (await lin.patch(path, json={"title": "b"}, headers={"If-Match": 'W/"2", "9"'})).status_code == 200
    assert (await lin.patch(path, json={"title": "c"}, headers={"If-Match": "*"})).status_code == 200
    assert (await lin.delete(path, headers={"If-Match": '"not ours"'})).status_code == 412
    assert (await lin.delete(path, headers={"If-Match": '"4"'})).status_code == 204


async def test_a_client_with_the_current_etag_is_not_sent_the_todo_again(lin: Person) -> None:
    todo = await lin.add_todo("a")
    path = f"/todos/{todo['id']}"
    same = await lin.get(path, headers={"If-None-Match": '"1"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    await lin.patch(path, json={"title": "b"})
    assert (await lin.get(path, headers={"If-None-Match": '"1"'})).json()["title"] == "b"


async def test_changes_of_one_account_at_once_all_arrive_and_are_ordered(lin: Person) -> None:
    todo = await lin.add_todo("a")
    answers = await asyncio.gather(
        *(lin.patch(f"/todos/{todo['id']}", json={"title": f"t{i}"}) for i in range(10)),
        *(lin.post("/todos/", json={"title": f"new {i}"}) for i in range(10)),
    )
    assert [answer.status_code for answer in answers] == [200] * 10 + [201] * 10
    assert sorted(answer.json()["version"] for answer in answers[:10]) == list(range(2, 12))
    assert len({answer.json()["updated_at"] for answer in answers}) == 20
