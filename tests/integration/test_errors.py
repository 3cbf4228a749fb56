"""What a client is told when something is wrong: one shape, two languages, and never a stack trace or a false yes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from tests.conftest import RunApi, in_thread, make_settings
from tests.factories import PASSWORD, Api, Person
from todo_core.migrations import runner
from todo_core.settings import ApiSettings, DatabaseSettings

MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}
LIMIT = 1_048_576
JSON = {"Content-Type": "application/json"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NOWHERE = "postgresql://todo:todo@127.0.0.1:1/todo"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The document of a refused request, after a look at its shape."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document.get("code")) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Accept-Language"
    assert document.keys() - {"errors", "error", "error_description"} == MEMBERS
    assert document["type"] == f"urn:todo:problem:{code}"
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    errors = document.get("errors", [])
    assert all(error.keys() == {"in", "field", "rule", "detail"} for error in errors)
    chinese = answer.headers["content-language"] == "zh-CN"
    for text in [document["title"], document["detail"], *(error["detail"] for error in errors)]:
        assert bool(CHINESE.search(text)) == chinese
        assert "{" not in text
    return document


@pytest.fixture(scope="module")
async def reader(api: Api) -> Person:
    """Somebody whose every request is refused."""
    return await api.person()


@pytest.fixture
async def own_database(empty_database: str) -> str:
    """The URL of a migrated database of this test's own, to be broken."""
    await in_thread(runner.upgrade, make_settings(empty_database))
    return empty_database


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


# ---- the shape and the language --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize(
    ("request_line", "options", "expected"),
    [
        ("GET /nothing/here", {}, "404 not_found"),
        ("GET /assets/none.js", {}, "404 not_found"),
        (f"GET /todos/{uuid4()}", {}, "404 todo_not_found"),
        ("PUT /todos/", {}, "405 method_not_allowed"),
        ("POST /todos/", {"content": b"<todo/>"}, "415 unsupported_media_type"),
        ("POST /todos/", {"json": {"title": "", "due_at": "x", "x": 1}}, "422 validation_failed"),
        ("GET /todos/?limit=0&sort=colour&completed=x&colour=red", {}, "422 validation_failed"),
        ("GET /todos/?cursor=x", {}, "422 validation_failed"),
        ("GET /todos/not-an-id", {}, "422 validation_failed"),
        ("POST /todos/", {"content": b"{", "headers": JSON}, "400 malformed_body"),
        ("POST /todos/", {"content": b" " * (LIMIT + 1), "headers": JSON}, "413 body_too_large"),
        ("GET /users/me/", {"headers": {"Authorization": "Bearer x"}}, "401 unauthenticated"),
        ("PATCH /users/me/", {"json": {"email": "x@example.com"}}, "403 wrong_password"),
        ("POST /token", {"data": {"username": "nobody", "password": "x"}}, "400 invalid_grant"),
        ("POST /token", {"data": {"username": "nobody"}}, "400 invalid_request"),
        ("POST /token", {"data": {"grant_type": "x"}}, "400 unsupported_grant_type"),
    ],
    ids=lambda value: value[4:] if isinstance(value, str) and value[0].isdigit() else "",
)
async def test_every_error_is_a_problem_document_in_the_readers_language(
    reader: Person, request_line: str, options: dict[str, Any], expected: str, language: str
) -> None:
    method, path = request_line.split()
    status, code = expected.split()
    headers = {"Accept-Language": language, **options.get("headers", {})}
    answer = await reader.request(method, path, **{**options, "headers": headers})
    problem(answer, int(status), code)
    assert answer.headers["content-language"] == language


async def test_a_name_that_is_taken_is_a_problem_document_too(reader: Person) -> None:
    body = {"username": reader.username, "email": reader.email, "password": PASSWORD}
    answer = await reader.post("/users/", json=body, headers={"Accept-Language": "zh"})
    assert [error["rule"] for error in problem(answer, 409, "conflict")["errors"]] == ["taken", "taken"]


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        (None, "en"),
        ("fr-FR,fr;q=0.9,zh;q=0.2", "zh-CN"),
        ("zh," * 1_000, "zh-CN"),
        ("\u00ff\u00fe", "en"),
    ],
)
async def test_an_answer_is_in_the_language_that_its_header_asks_for(
    api: Api, accept_language: str | None, language: str
) -> None:
    # httpx adds none of its own; bytes, because a header may hold anything.
    headers = [] if accept_language is None else [(b"Accept-Language", accept_language.encode("latin-1"))]
    answer = await api.http.get("/nothing", headers=headers)
    problem(answer, 404, "not_found")
    assert answer.headers["content-language"] == language


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/todos/", "GET, POST"),
        ("/todos", "GET, POST"),
        ("/todos/01890000-0000-7000-8000-000000000000", "DELETE, GET, PATCH, PUT"),
        ("/todos/01890000-0000-7000-8000-000000000000/complete", "POST"),
        ("/users/", "POST"),
        ("/users/me/", "DELETE, GET, PATCH"),
        ("/users/me", "DELETE, GET, PATCH"),
        ("/token", "POST"),
        ("/livez", "GET"),
        ("/readyz", "GET"),
        ("/docs", "GET"),
        ("/openapi.json", "GET"),
    ],
)
async def test_a_method_that_does_not_exist_learns_of_all_that_do(api: Api, path: str, allowed: str) -> None:
    for method in {"PUT", "OPTIONS", "TRACE"} - set(allowed.split(", ")):
        answer = await api.http.request(method, path)
        problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == set(allowed.split(", "))


# ---- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
async def test_json_is_taken_however_its_type_is_spelled(lin: Person, content_type: str) -> None:
    answer = await lin.post("/todos/", content=b'{"title": "x"}', headers={"Content-Type": content_type})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "x", None]
)
@pytest.mark.parametrize(("method", "accepts"), [("POST", "accept-post"), ("PATCH", "accept-patch"), ("PUT", "accept")])
async def test_a_body_of_another_type_is_not_read(
    reader: Person, method: str, accepts: str, content_type: str | None
) -> None:
    path = "/todos/" if method == "POST" else f"/todos/{uuid4()}"
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await reader.request(method, path, content=b'{"title": "x"}', headers=headers)
    assert "application/json" in problem(answer, 415, "unsupported_media_type")["detail"]
    assert answer.headers[accepts] == "application/json"
    chunked = await reader.request(method, path, content=_chunks(b'{"title": "x"}'), headers=headers)
    problem(chunked, 415, "unsupported_media_type")


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"title"', 422),
        (b"5", 422),
        (b"NaN", 422),
        (b'{"title": NaN}', 422),
        (b'{"title": -Infinity}', 422),
        (b'{"title": "a", "completed": 1e999}', 422),
        (b'{"title": ' + b"9" * 4_000 + b"}", 422),
        (b'{"title": ' + b"9" * 400_000 + b"}", 400),
        (b'{"title": ' + b"[" * 500 + b"]" * 500 + b"}", 422),
        (b"[" * 500_000, 400),
        (b'{"a":' * 100_000, 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"title": "\xff\xfe"}', 400),
        (b'{"title": "\xed\xa0\x80"}', 422),
        (b'{"title": "\xc0\x80"}', 400),
        (b'{"title": "a"', 400),
        (b"{'title': 'a'}", 400),
        (b'{"title": "a",}', 400),
        (b'{"title": "a"} and more', 400),
        (b'{"title": "line\nbreak"}', 400),
        (b'{"title": "\\x41"}', 400),
        (b"\x00", 400),
        (b"title=a", 400),
    ],
    ids=lambda value: ascii(value)[2:34],
)
@pytest.mark.parametrize("path", ["/todos/", "/users/"])
async def test_a_body_that_makes_no_sense_is_the_senders_mistake(
    reader: Person, path: str, body: bytes, status: int
) -> None:
    answer = await reader.post(path, content=body, headers=JSON)
    problem(answer, status, "malformed_body" if status == 400 else "validation_failed")
    assert (await reader.list())["items"] == []


async def test_a_body_just_at_the_limit_passes_and_one_byte_more_does_not(lin: Person) -> None:
    fits = b'{"title": "x"}'.ljust(LIMIT)
    answers = [
        await lin.post("/todos/", content=fits, headers=JSON),
        await lin.post("/todos/", content=_chunks(fits[:7], fits[7:]), headers=JSON),
        await lin.post("/todos/", content=fits + b" ", headers=JSON),
        await lin.post("/todos/", content=_chunks(fits, b" "), headers=JSON),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 413, 413]
    assert str(LIMIT) in problem(answers[2], 413, "body_too_large")["detail"]
    assert len((await lin.list())["items"]) == 2


async def test_the_limit_is_a_setting_of_every_operation(run_api: RunApi) -> None:
    small = await run_api(ApiSettings(max_body_bytes=2_000))
    for method, path in (("POST", "/users/"), ("POST", "/token"), ("GET", "/livez")):
        assert (await small.http.request(method, path, content=b"x" * 2_000)).status_code != 413
        answer = await small.http.request(method, path, content=b"x" * 2_001)
        assert "2000" in problem(answer, 413, "body_too_large")["detail"]


HEAD = b"POST /users/ HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    return int(head.split()[1]), json.loads(await reader.readexactly(int(length[1])))


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_client_that_writes_all_before_it_reads_gets_to_read_that_it_was_too_much(
    api: Api, chunked: bool
) -> None:
    """A server that answers and hangs up while the client still writes resets the connection, answer and all."""
    piece = b"x" * 65_536
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 3145728\r\n\r\n"))
        for _ in range(48):
            writer.write(b"10000\r\n%s\r\n" % piece if chunked else piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n" if chunked else b"")
        await writer.drain()
        status, document = await _read_answer(reader)
        assert (status, document["code"]) == (413, "body_too_large")
        # The connection is as good as before.
        writer.write(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert await _read_answer(reader) == (200, {"status": "ok"})
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_means_to_send_without_end_is_told_after_a_while_and_then_left(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(HEAD + b"Content-Length: 1099511627776\r\n\r\n")
    for _ in range(256):  # 16 MiB
        writer.write(b"x" * 65_536)
        await writer.drain()
    status, document = await _read_answer(reader)
    assert (status, document["code"]) == (413, "body_too_large")
    assert await reader.read() == b""
    writer.close()


async def test_a_client_that_hangs_up_half_way_leaves_no_error_behind(api: Api, lin: Person) -> None:
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(HEAD + b"Authorization: %s\r\n" % lin.headers["Authorization"].encode())
        writer.write(b'Content-Length: 100\r\n\r\n{"title": "half a')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            while not any(line["event"] == "request" and line["method"] == "POST" for line in lines):
                assert (await lin.list())["items"] == []
    assert {line["log_level"] for line in lines} == {"info"}


# ---- the request id --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["a", "0f8c1d6f-9d3b-4f0f-9a7b-e0ad1c0a9f55", "trace_1.span-2", "x" * 128])
async def test_a_well_formed_request_id_is_kept_on_every_answer(reader: Person, request_id: str) -> None:
    for method, path in (
        ("GET", "/todos/"),
        ("GET", "/nothing"),
        ("PUT", "/todos/"),
        ("GET", "/livez"),
        ("GET", "/docs"),
    ):
        answer = await reader.request(method, path, headers={"X-Request-Id": request_id})
        assert answer.headers.get_list("x-request-id") == [request_id]
        if answer.status_code >= 400:
            assert answer.json()["request_id"] == request_id


@pytest.mark.parametrize(
    "request_id", [None, b"", b"a b", b"x" * 129, b"a\tb", b'"a"', b"{}", b"\xe4", b"../a", b"a;b", b"a,b"]
)
async def test_any_other_is_replaced_by_one_that_is_new_each_time(api: Api, request_id: bytes | None) -> None:
    headers = [] if request_id is None else [(b"X-Request-Id", request_id)]
    answers = [await api.http.get("/nothing", headers=headers) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", given) for given in ids)
    assert {answer.json()["request_id"] for answer in answers} == ids


# ---- 500 -------------------------------------------------------------------------------------------------------------


async def test_a_bug_is_a_500_that_tells_its_id_to_the_client_and_the_rest_to_the_log(
    run_api: RunApi, own_database: str
) -> None:
    broken = await run_api(database_url=own_database)
    person = await broken.person()
    async with connected(own_database) as database:
        await database.execute("DROP TABLE todos CASCADE")
    for method, options in (("GET", {}), ("POST", {"json": {"title": "my secret plan"}})):
        with capture_logs() as lines:
            answer = await person.request(method, "/todos/", headers={"X-Request-Id": f"bug-{method}"}, **options)
        problem(answer, 500, "internal_error")
        assert answer.headers["x-request-id"] == f"bug-{method}"
        for internal in ("todos", "relation", "select", "insert", "asyncpg", "sqlalchemy", "Traceback", "line "):
            assert internal.lower() not in answer.text.lower().replace("urn:todo:problem", "")
        (line,) = (line for line in lines if line["event"] == "request")
        assert (line["request_id"], line["status"], line["log_level"]) == (f"bug-{method}", 500, "error")
        assert 'relation "todos" does not exist' in str(line["exc_info"])
        assert "my secret plan" not in str(line["exc_info"])
    chinese = await person.get("/todos/", headers={"Accept-Language": "zh"})
    problem(chinese, 500, "internal_error")
    assert (await person.get("/users/me/")).status_code == 200


# ---- 503 -------------------------------------------------------------------------------------------------------------

OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/users/", {"json": {"username": "late", "email": "late@example.com", "password": PASSWORD}}),
    ("POST", "/token", {"data": {"username": "lin", "password": PASSWORD}}),
    ("POST", "/token", {"data": {"grant_type": "refresh_token", "refresh_token": "x"}}),
    ("GET", "/users/me/", {}),
    ("PATCH", "/users/me/", {"json": {"timezone": "Asia/Tokyo"}}),
    ("PATCH", "/users/me/", {"json": {"password": "another password", "current_password": PASSWORD}}),
    ("DELETE", "/users/me/", {"json": {"password": PASSWORD}}),
    ("GET", "/todos/", {}),
    ("POST", "/todos/", {"json": {"title": "x"}}),
    ("GET", f"/todos/{uuid4()}", {}),
    ("PATCH", f"/todos/{uuid4()}", {"json": {"title": "x"}}),
    ("PUT", f"/todos/{uuid4()}", {"json": {"title": "x"}}),
    ("DELETE", f"/todos/{uuid4()}", {}),
    ("POST", f"/todos/{uuid4()}/complete", {}),
    ("POST", f"/todos/{uuid4()}/reopen", {}),
]


def unavailable(answer: httpx.Response) -> None:
    """Assert that this is a well-made 503."""
    problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    for internal in ("Traceback", "asyncpg", "Connect", "127.0.0.1", "postgres"):
        assert internal not in answer.text


def _elsewhere(url: str, which: str) -> str:
    """The server's URL, but for one thing that is wrong."""
    parts = urlsplit(url)
    if which == "no server":
        return NOWHERE
    if which == "no database":
        return urlunsplit(parts._replace(path="/no_such_database"))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"no_such_role:x@{host}"))


@pytest.mark.parametrize("what_is_wrong", ["no server", "no database", "no role"])
async def test_without_its_database_every_operation_asks_for_patience(
    run_api: RunApi, reader: Person, database_url: str, what_is_wrong: str
) -> None:
    lost = await run_api(database_url=_elsewhere(database_url, what_is_wrong))
    person = lost.as_seen_here(reader)
    with capture_logs() as lines:
        for method, path, options in OPERATIONS:
            unavailable(await person.request(method, path, **options))
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == len(OPERATIONS)
    assert {(line["status"], line["log_level"]) for line in requests} == {(503, "warning")}
    assert (await lost.http.get("/nothing")).status_code == 404


async def test_a_database_that_comes_back_is_used_again(run_api: RunApi, own_database: str) -> None:
    running = await run_api(database_url=own_database)
    person = await running.person()
    todo = await person.add_todo()
    async with connected(own_database) as database:
        for _ in range(2):
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            answers = await asyncio.gather(
                *(person.get("/todos/") for _ in range(8)),
                *(person.patch(f"/todos/{todo['id']}", json={"title": f"t{n}"}) for n in range(8)),
            )
            assert {answer.status_code for answer in answers} <= {200, 503}
            assert [item["id"] for item in (await person.list())["items"]] == [todo["id"]]
            assert (await person.patch(f"/todos/{todo['id']}", json={"title": "later"})).status_code == 200


async def test_a_lock_that_is_not_given_in_time_is_a_503_and_changes_nothing(
    run_api: RunApi, own_database: str
) -> None:
    hasty = await run_api(DatabaseSettings(url=own_database, lock_timeout_ms=100))
    person = await hasty.person()
    todo = await person.add_todo("kept")
    async with connected(own_database) as database, database.transaction():
        await database.execute("SELECT 1 FROM accounts FOR UPDATE")
        unavailable(await person.post("/todos/", json={"title": "late"}))
        unavailable(await person.patch(f"/todos/{todo['id']}", json={"title": "late"}))
        assert (await person.list())["items"] == [todo]  # readers wait for no lock
    assert (await person.list())["items"] == [todo]
    await person.add_todo()


async def test_a_statement_that_takes_too_long_is_a_503(run_api: RunApi, own_database: str) -> None:
    hasty = await run_api(DatabaseSettings(url=own_database, statement_timeout_ms=200))
    person = await hasty.person()
    async with connected(own_database) as database, database.transaction():
        await database.execute("LOCK TABLE todos")
        unavailable(await person.get("/todos/"))
        unavailable(await person.post("/todos/", json={"title": "late"}))
    assert (await person.list())["items"] == []


async def test_when_every_connection_is_busy_a_request_waits_only_so_long(run_api: RunApi, own_database: str) -> None:
    pools = DatabaseSettings(url=own_database, pool_size=1, statement_pool_size=1, pool_timeout_seconds=0.1)
    small = await run_api(pools)
    person = await small.person()
    async with connected(own_database) as database:
        async with database.transaction():
            await database.execute("LOCK TABLE todos")
            requests = [person.get("/todos/"), person.post("/todos/", json={"title": "first"})]
            first = [asyncio.create_task(request) for request in requests]
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(2):
                while await database.fetchval(waiting) < 2:  # noqa: ASYNC110 - PostgreSQL has no event for it
                    await asyncio.sleep(0.005)
            unavailable(await person.get("/todos/"))
            unavailable(await person.post("/todos/", json={"title": "second"}))
        assert [(await task).status_code for task in first] == [200, 201]
    assert [item["title"] for item in (await person.list())["items"]] == ["first"]


# ---- the commit comes before the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqlstate", "status", "code"),
    [("P0001", 500, "internal_error"), ("40001", 503, "unavailable")],
    ids=["refused", "serialisation failure"],
)
async def test_what_fails_as_it_is_committed_is_never_answered_as_done(
    run_api: RunApi, own_database: str, sqlstate: str, status: int, code: str
) -> None:
    running = await run_api(database_url=own_database)
    person = await running.person()
    todo = await person.add_todo("kept")
    before = await person.list()
    me = (await person.get("/users/me/")).json()
    async with connected(own_database) as database:
        await database.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '{sqlstate}'; END $$"
        )
        for table in ("accounts", "todos", "refresh_tokens"):
            await database.execute(
                f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
    path = f"/todos/{todo['id']}"
    sign_in = {"username": person.username, "password": person.password}
    for answer in (
        await person.post("/todos/", json={"title": "lost"}),
        await person.patch(path, json={"title": "lost"}),
        await person.post(f"{path}/complete"),
        await person.delete(path),
        await running.http.post("/users/", json={"username": "lost", "email": "l@example.com", "password": PASSWORD}),
        await running.http.post("/token", data=sign_in),
        await person.patch("/users/me/", json={"locale": "zh"}),
        await person.delete("/users/me/", json={"password": person.password}),
    ):
        document = problem(answer, status, code)
        assert "not today" not in str(document)
        assert not {"location", "etag"} & answer.headers.keys()
    assert await person.list() == before
    assert (await person.get("/users/me/")).json() == me
    async with connected(own_database) as database:
        assert await database.fetchval("SELECT array_agg(title) FROM todos") == ["kept"]
        assert await database.fetchval("SELECT array_agg(username) FROM accounts") == [person.username]
