"""nginx: the requests that it passes on, those that it refuses, and its own answers."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import httpx
import pytest

from tests.factories import Person
from tests.stack.stack import Stack
from tests.stack.waiting import until

pytestmark = pytest.mark.timeout(60)
LIMIT = 1_048_576
HEADERS = {
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the members that every problem document has, and return the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:todo:problem:{code}"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


# ---- The way in


async def test_plain_http_is_sent_to_tls_with_its_path_and_query(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=f"http://localhost:{stack.http_port}", trust_env=False) as plain:
        answer = await plain.post("/todos/?limit=3&sort=title&x=%2F%20a")
    assert answer.status_code == 308, "the method stays"
    assert answer.headers["location"] == f"{stack.base_url}/todos/?limit=3&sort=title&x=%2F%20a"
    assert "strict-transport-security" not in answer.headers, "RFC 6797: over TLS alone"


async def test_plain_http_on_the_tls_port_is_sent_to_tls_too(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=f"http://localhost:{stack.https_port}", trust_env=False) as plain:
        answer = await plain.get("/todos/?limit=3")
    assert (answer.status_code, answer.headers["location"]) == (308, f"{stack.base_url}/todos/?limit=3")


@pytest.mark.parametrize("port", ["http_port", "https_port"])
async def test_the_way_to_tls_names_our_host_whatever_host_a_request_names(stack: Stack, port: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://localhost:{getattr(stack, port)}", trust_env=False) as plain:
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1"):
            answer = await plain.get("/todos/", headers={"Host": host})
            assert (answer.status_code, answer.headers["location"]) == (308, f"{stack.base_url}/todos/")
        answer = await plain.get("/", extensions={"target": b"http://evil.example/todos/"})
        assert (answer.status_code, answer.headers["location"]) == (308, f"{stack.base_url}/todos/")


async def test_a_stranger_to_the_development_authority_is_refused(stack: Stack) -> None:
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(f"{stack.base_url}/livez")


async def test_it_speaks_http_2(stack: Stack) -> None:
    async with stack.client(http2=True) as client:
        answer = await client.get("/livez")
        assert (answer.http_version, answer.json()) == ("HTTP/2", {"status": "ok"})


async def test_it_speaks_http_3_and_says_so(stack: Stack, http: httpx.AsyncClient) -> None:
    advertised = (await http.get("/livez")).headers["alt-svc"]
    assert f'h3=":{stack.https_port}"' in advertised
    ask = ("curl", "--silent", "--http3-only", "--cacert", "/etc/nginx/tls/ca.pem", "--write-out", "\n%{http_version}")
    body, version = (await stack.inside("nginx", *ask, "https://localhost:8443/livez")).splitlines()
    assert (version, json.loads(body)) == ("3", {"status": "ok"})


# ---- Headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/livez", 200, id="the API's success"),
        pytest.param("/docs", 200, id="a page"),
        pytest.param("/todos/", 401, id="the API's refusal"),
        pytest.param("/nowhere", 404, id="the API's 404"),
        pytest.param("/readyz", 404, id="nginx's own 404"),
        pytest.param("/verify-email?token=x", 400, id="a page of the API's that says no"),
    ],
)
async def test_every_answer_has_the_security_headers_once(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    assert len(answer.headers.get_list("content-security-policy")) == 1, "the API's own, or nginx's"
    assert answer.headers["server"] == "nginx", "no version"


async def test_how_long_browsers_remember_tls_is_a_setting(stack: Stack) -> None:
    async with stack.another_nginx(NGINX_HSTS_SECONDS="123") as (address, _), stack.client(base_url=address) as http:
        assert (await http.get("/livez")).headers["strict-transport-security"] == "max-age=123"


# ---- What is not for the world


@pytest.mark.parametrize("path", ["readyz", "metrics"])
@pytest.mark.parametrize(
    "form", ["/{}", "//{}", "/{}/", "/{}?x", "/./{}", "/x/../{}", "/{}/x", "/{}%2f", "/{}%0a", "/{}%2F.."]
)
async def test_probes_and_metrics_are_not_reachable(stack: Stack, form: str, path: str) -> None:
    # By hand: a client tidies up paths before it sends them.
    for spelled in {path, f"%{ord(path[0]):02x}{path[1:]}"}:
        status = await _raw_status(stack, form.format(spelled))
        assert status == 404, spelled


async def _raw_status(stack: Stack, target: str) -> int:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", stack.https_port, ssl=stack.tls(), server_hostname="localhost"
    )
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert b'"checks"' not in answer
    assert b"# HELP" not in answer
    return int(answer.split(b" ", 2)[1])


# ---- What nginx says itself, in the API's shape


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("line", "more", "status"),
    [
        pytest.param("GET /% HTTP/1.1", "", 400, id="percent"),
        pytest.param("GET /%zz HTTP/1.1", "", 400, id="no hexadecimal"),
        pytest.param("GET /%00 HTTP/1.1", "", 400, id="NUL"),
        pytest.param("GET /../x HTTP/1.1", "", 400, id="above the root"),
        pytest.param("GET /a b HTTP/1.1", "", 400, id="space"),
        pytest.param(f"GET /{'a' * 9000} HTTP/1.1", "", 414, id="long address"),
        pytest.param("g@t / HTTP/1.1", "", 400, id="no method"),
        pytest.param("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n", 400, id="two hosts"),
        pytest.param("GET / HTTP/1.1", f"X: {'x' * 9000}\r\n", 400, id="long header"),
        pytest.param("TRACE / HTTP/1.1", "", 405, id="TRACE"),
        pytest.param("POST / HTTP/1.1", "Transfer-Encoding: x\r\n", 501, id="unknown coding"),
        pytest.param("GET / HTTP/3.7", "", 505, id="unknown version"),
    ],
)
async def test_what_is_no_request_is_the_clients_mistake(
    stack: Stack, tls: bool, line: str, more: str, status: int
) -> None:
    port = stack.https_port if tls else stack.http_port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=stack.tls() if tls else None)
    writer.write(f"{line}\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, "http_error")


@pytest.mark.parametrize("target", ["/%", "/%zz", "/%00", "/../x", "/a b"])
async def test_by_http_2_it_is_as_well(stack: Stack, target: str) -> None:
    async with stack.client(http2=True) as http:
        answer = await http.get("/", extensions={"target": target.encode()})
    assert answer.http_version == "HTTP/2"
    problem(answer, 400, "http_error")


@pytest.mark.parametrize(
    ("language", "title"), [("en", "The body is too large"), ("zh-CN,zh;q=0.9,en;q=0.5", "请求体过大")]
)
async def test_a_body_over_the_limit_gets_an_answer_that_is_read(lin: Person, language: str, title: str) -> None:
    for size in (LIMIT + 1, 5 * LIMIT):
        answer = await lin.post("/todos/", content=b"x" * size, headers={"Accept-Language": language})
        document = problem(answer, 413, "body_too_large")
        assert document["title"] == title
        assert str(LIMIT) in document["detail"]


async def test_one_address_has_its_share_and_others_have_theirs(stack: Stack) -> None:
    network = (await stack.container("nginx"))["NetworkSettings"]["Networks"][f"{stack.project}_front"]
    few = {"NGINX_REQUESTS_PER_SECOND": "2", "NGINX_BURST": "5", "NGINX_TRUSTED_PROXIES": network["Gateway"]}
    async with stack.another_nginx(**few) as (address, _), stack.client(base_url=address) as http:
        answers = [await http.get("/livez", headers={"X-Forwarded-For": "203.0.113.1"}) for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 4 <= len(refused) <= 7
        for answer in refused:
            assert problem(answer, 429, "too_many_requests")["title"] == "Too many tries"
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/livez", headers={"X-Forwarded-For": "203.0.113.2"})).status_code == 200


async def test_signing_in_is_limited_more_tightly(stack: Stack) -> None:
    few = {"NGINX_SIGN_INS_PER_SECOND": "1", "NGINX_SIGN_IN_BURST": "3"}
    async with stack.another_nginx(**few) as (address, _), stack.client(base_url=address) as http:
        form = {"username": "nobody", "password": "wrong"}
        for path in ("/token", "/users/", "/token/", "/users"):
            answers = [await http.post(path, data=form) for _ in range(8)]
            assert 429 in {answer.status_code for answer in answers}, path
            assert (await http.get("/livez")).status_code == 200


async def test_an_api_that_is_gone_is_said_to_be_and_comes_back(stack: Stack, http: httpx.AsyncClient) -> None:
    secret = f"secret{secrets.token_hex(8)}"
    await stack.compose("stop", "api")
    try:
        problem(await http.get(f"/verify-email?token={secret}"), 503, "unavailable")
        for method in ("GET", "POST"):
            answer = await http.request(
                method, "/todos/", headers={"X-Request-Id": "my-own-1", "Accept-Language": "zh"}
            )
            document = problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["access-control-allow-origin"] == "*"
            assert document["title"] == "服务繁忙或正在重启"
            assert document["request_id"] == "my-own-1"
            for name, value in HEADERS.items():
                assert answer.headers.get_list(name) == [value]
    finally:
        await stack.compose("start", "api")
        await stack.healthy(40)
    assert secret not in await stack.log_of((await stack.container("nginx"))["Id"])


async def test_an_api_that_is_too_slow_is_a_504(stack: Stack) -> None:
    api = (await stack.container("api"))["Id"]
    async with (
        stack.another_nginx(NGINX_ANSWER_SECONDS="1") as (address, _),
        stack.client(base_url=address) as http,
    ):
        await stack.docker("pause", api)
        try:
            started = time.monotonic()
            answer = await http.get("/livez")
            assert time.monotonic() - started < 5
        finally:
            await stack.docker("unpause", api)
        assert problem(answer, 504, "timeout")["title"] == "The service did not answer in time"
        assert int(answer.headers["retry-after"]) >= 1
    await stack.healthy(30)


# ---- Who asks


async def test_only_a_trusted_balancer_says_who_asks(stack: Stack) -> None:
    """What a client writes into X-Forwarded-For itself is not believed, by nginx or by the API behind it."""
    network = (await stack.container("nginx"))["NetworkSettings"]["Networks"][f"{stack.project}_front"]
    async with (
        stack.another_nginx() as (open_address, open_name),
        stack.another_nginx(NGINX_TRUSTED_PROXIES=f"{network['Gateway']}/32,192.0.2.0/24") as (address, name),
    ):
        async with stack.client(base_url=open_address) as http:
            assert await _refused_after(http, "203.0.113.{}") == 20, "all of them are one address's"
        async with stack.client(base_url=address) as http:
            assert await _refused_after(http, "203.0.113.{}, 192.0.2.7") is None, "each is another's"
            assert await _refused_after(http, "198.51.100.{}, 203.0.113.200") == 20, "the last one not trusted counts"
        believed = {line["address"] for line in await stack.lines_of(name) if line.get("path") == "/token"}
        assert believed == {*(f"203.0.113.{number}" for number in range(25)), "203.0.113.200"}
        seen = {line["address"] for line in await stack.lines_of(open_name) if line.get("path") == "/token"}
        assert seen == {network["Gateway"]}


async def _refused_after(http: httpx.AsyncClient, addresses: str) -> int | None:
    """Return after how many wrong passwords, of at most 25, the API refuses that address."""
    form = {"username": f"nobody-{secrets.token_hex(4)}", "password": "wrong password"}
    for number in range(25):
        answer = await http.post("/token", data=form, headers={"X-Forwarded-For": addresses.format(number)})
        if answer.status_code == 429:
            return number
        assert answer.status_code == 400, answer.text
    return None


# ---- What goes through


async def test_an_event_stream_arrives_as_it_happens_and_is_not_compressed(stack: Stack, lin: Person) -> None:
    headers = lin.headers | {"Accept-Encoding": "gzip"}
    started = time.monotonic()
    async with lin.http.stream("GET", "/notifications/stream", headers=headers) as answer:
        assert "content-encoding" not in answer.headers
        first = await anext(answer.aiter_raw())
        assert time.monotonic() - started < 2, "the next byte would come with the heartbeat, after 15 seconds"
        assert first.startswith(b"retry: ")
        # On the same connection it would come back to an old worker of nginx's, which ends streams without a word.
        assert answer.http_version == "HTTP/1.1"
        assert answer.headers["connection"] == "close"


async def test_long_json_is_compressed_and_short_is_not(http: httpx.AsyncClient) -> None:
    long = await http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert long.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in long.headers["vary"].lower()
    short = await http.get("/livez", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in short.headers


async def test_both_logs_tell_of_a_request_by_the_same_id_and_neither_of_its_query(
    stack: Stack, http: httpx.AsyncClient
) -> None:
    secret = f"secret{secrets.token_hex(8)}"
    ids = []
    for headers in ({"X-Request-Id": f"mine-{secret[6:]}"}, {}, {"X-Request-Id": 'not"fit for a log'}):
        answer = await http.get(f"/verify-email?token={secret}", headers=headers)
        ids.append(answer.headers["x-request-id"])
    assert ids[0] == f"mine-{secret[6:]}"
    assert len(set(ids)) == 3
    async with httpx.AsyncClient(trust_env=False) as plain:
        await plain.get(f"http://localhost:{stack.http_port}/verify-email?token={secret}")

    async def told() -> bool:
        access = {line["request_id"]: line for line in await stack.lines("nginx") if line.get("event") == "access"}
        requests = {line.get("request_id"): line for line in await stack.lines("api")}
        return all(
            request_id in access
            and (access[request_id]["path"], access[request_id]["status"]) == ("/verify-email", 400)
            and requests.get(request_id, {}).get("route") == "/verify-email"
            for request_id in ids
        )

    await until(told, 10, "a line in each log for each request")
    for service in ("nginx", "api"):
        assert secret not in await stack.log_of((await stack.container(service))["Id"])
