"""Primary keys: what the rest may rely on."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

from todo_core.ids import new_id


def test_an_id_is_a_uuid_of_version_7_as_python_and_pydantic_know_them() -> None:
    made = new_id()
    assert type(made) is UUID
    assert (made.version, made.variant) == (7, RFC_4122)


def test_an_id_begins_with_the_millisecond_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert before <= made.int >> 80 <= after


def test_each_id_of_a_process_is_greater_than_the_one_before() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_ids_of_one_millisecond_cannot_be_guessed_from_each_other() -> None:
    assert len({new_id().int & 0xFFFF_FFFF for _ in range(1_000)}) > 990
