"""The answers of a PostgreSQL that was just killed count as an outage, and must not stop its clients."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from todo_core import logs
from todo_core.database import is_outage


def _starting_up() -> asyncpg.PostgresError:
    """As a server in recovery answers: with a DETAIL, which logs leave out, as it may hold a row."""
    error = asyncpg.exceptions.CannotConnectNowError("the database system is not yet accepting connections")
    error.detail = "Consistent recovery state has not been yet reached."
    return error


@pytest.mark.parametrize("exc_info", [{}, {"exc_info": None}, {"exc_info": False}])
def test_a_line_about_an_error_without_its_traceback_is_written(exc_info: dict[str, Any]) -> None:
    try:
        raise _starting_up()
    except asyncpg.PostgresError:
        line = logs._format_exception(None, "warning", {"event": "lease_failed", **exc_info})
    assert line["event"] == "lease_failed"
    assert "exception" not in line


@pytest.mark.parametrize("given", ["the error", "true"])
def test_a_traceback_is_written_without_the_detail(given: str) -> None:
    try:
        raise _starting_up()
    except asyncpg.PostgresError as error:
        exc_info = error if given == "the error" else True
        line = logs._format_exception(None, "warning", {"event": "lease_failed", "exc_info": exc_info})
    assert "CannotConnectNowError" in line["exception"]
    assert "recovery state" not in line["exception"]


def test_a_connection_that_ends_just_now_is_an_outage() -> None:
    # What asyncpg raises for a statement on a connection whose server has said FATAL, before its socket has ended.
    assert is_outage(asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"))
