"""The load of the stack's tests can tell what is lost, doubled, refused without a word, or cut off."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.stack.events import EventReader
from tests.stack.ledger import Ledger
from tests.stack.tally import Failure, Tally


def todo(todo_id: str, title: str, *, completed: bool = False) -> dict[str, Any]:
    """As the API lists it."""
    return {"id": todo_id, "title": title, "completed": completed}


def ledger() -> Ledger:
    """Three todos: one is certain, one deleted, one in doubt."""
    book = Ledger(
        certain={"a": ("todo-1 renamed", True), "b": None, "c": ("todo-3", False)},
        titles={"todo-1", "todo-2", "todo-3"},
        reminders={"a": 0.0},
    )
    book.doubt("c", ("todo-3", True))
    return book


@pytest.mark.parametrize("completed", [False, True])
def test_what_was_acknowledged_or_is_in_doubt_is_no_fault(completed: bool) -> None:
    listed = [todo("a", "todo-1 renamed", completed=True), todo("c", "todo-3", completed=completed)]
    assert ledger().faults(listed) == []


@pytest.mark.parametrize(
    ("listed", "fault"),
    [
        ([], "todo a: ('todo-1 renamed', True) was acknowledged, None is there"),
        ([todo("a", "todo-1", completed=True)], "todo a: "),
        ([todo("a", "todo-1 renamed")], "todo a: "),
        ([todo("b", "todo-2")], "todo b: None was acknowledged"),
        ([todo("c", "todo-3 renamed")], "todo c: "),
        ([todo("x", "todo-3")], "'todo-3' was asked for once and is there 2 times"),
        ([todo("x", "todo-9")], "'todo-9' was never asked for"),
    ],
)
def test_what_is_lost_changed_or_doubled_is_a_fault(listed: list[dict[str, Any]], fault: str) -> None:
    well = {each["id"]: each for each in [todo("a", "todo-1 renamed", completed=True), todo("c", "todo-3")]}
    shown = list((well | {each["id"]: each for each in listed}).values()) if listed else []
    assert any(found.startswith(fault) for found in ledger().faults(shown))


def test_a_reminder_is_told_once() -> None:
    assert ledger().reminder_faults(["a"], "inbox") == []
    assert ledger().reminder_faults([], "inbox") == ["inbox: no reminder of a"]
    assert ledger().reminder_faults(["a", "a"], "inbox") == ["inbox: 2 reminders of a"]


@pytest.mark.parametrize(
    ("status", "headers", "polite"),
    [
        (503, {}, True),
        (429, {}, True),
        (504, {}, True),
        (502, {}, False),
        (500, {}, False),
        (503, {"retry-after": "soon"}, False),
        (503, {"content-type": "application/json"}, False),
        (503, {"x-request-id": ""}, False),
    ],
)
def test_a_refusal_is_polite_if_it_says_what_and_when(status: int, headers: dict[str, str], polite: bool) -> None:
    proper = {"retry-after": "2", "content-type": "application/problem+json", "x-request-id": "an-id"}
    answer = httpx.Response(status, headers=proper | headers, json={"code": "unavailable"})
    assert Failure.of_answer("list", answer).is_polite is polite


def test_a_broken_connection_is_not_polite() -> None:
    assert not Failure(0.0, "list", error="ReadError").is_polite


END = b""
"""The chunk that ends a body; without it the connection breaks off."""


class _Server:
    """Hands out bodies, one a connection, in chunks, and notes from where each resumed."""

    def __init__(self, *bodies: list[bytes]) -> None:
        self.bodies = list(bodies)
        self.resumed: list[str | None] = []
        self.enough = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        found = re.search(r"last-event-id: (\d+)", head)
        self.resumed.append(found[1] if found else None)
        if self.bodies:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
            for chunk in self.bodies.pop(0):
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        else:
            self.enough.set()
        writer.close()


def _event(seq: int) -> bytes:
    return f'id: {seq}\nevent: notification\ndata: {{"seq":{seq},"todo_id":"t{seq}"}}\n\n'.encode()


async def test_a_stream_may_end_only_with_a_word_and_resumes_after_the_last_whole_event() -> None:
    server = _Server(
        [b"retry: 2000\nid: 6\n\n", _event(7), b": still here\n\n", b": shutting_down\n\n", END],
        [b"retry: 2000\nid: 7\n\n", _event(8), b"id: 9\nevent: noti"],
        [_event(9), END],
    )
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client, listener:
        reader = EventReader(client, dict, tally := Tally(), asyncio.Event())
        listening = asyncio.create_task(reader.run())
        await asyncio.wait_for(server.enough.wait(), 10)
        reader.stop()
        await listening
    assert server.resumed == [None, "7", "8", "9"]
    assert reader.todos() == ["t7", "t8", "t9"]
    assert dict(tally.endings) == {"shutting_down": 1}
    cut_off, silent = (failure.error for failure in tally.failures[:2])
    assert cut_off is not None
    assert cut_off.startswith("RemoteProtocolError: peer closed connection")
    assert silent == "ended without a word"
