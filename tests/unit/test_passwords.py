"""Passwords: which are the same, which are not, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import threading
import time
import unicodedata
from collections.abc import AsyncIterator

import bcrypt
import pytest

from todo_core.accounts.passwords import PasswordHasher
from todo_core.accounts.turns import Asker
from todo_core.errors import Unavailable
from todo_core.settings import PasswordSettings

ANYBODY = Asker("127.0.0.1", "account-1")


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    """As cheap as bcrypt gets."""
    made = PasswordHasher(PasswordSettings(bcrypt_cost=4, threads=2))
    yield made
    made.close()


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "x" * 128, "🔑" * 128, "密码密码密码密码密码", " leading and trailing ", "\t\n" * 5],
)
async def test_a_password_belongs_to_its_hash(hasher: PasswordHasher, password: str) -> None:
    stored = await hasher.hash(password, ANYBODY)
    assert await hasher.verify(password, stored, ANYBODY)
    assert password not in stored


@pytest.mark.parametrize(
    ("password", "other"),
    [
        ("x" * 73, "x" * 72),
        ("x" * 127 + "a", "x" * 127 + "b"),
        ("密" * 127 + "a", "密" * 127 + "b"),
        ("correct horse battery", "Correct horse battery"),
        ("correct horse battery", "correct horse battery "),
        ("1234567890", "１２３４５６７８９０"),
        ("ten letters\x00a", "ten letters\x00b"),
        ("correct horse battery", ""),
    ],
)
async def test_every_character_counts_also_beyond_the_72_bytes_of_bcrypt(
    hasher: PasswordHasher, password: str, other: str
) -> None:
    stored = await hasher.hash(password, ANYBODY)
    assert not await hasher.verify(other, stored, ANYBODY)
    assert not await hasher.verify(password, await hasher.hash(other, ANYBODY), ANYBODY)


async def test_the_same_letters_composed_otherwise_are_the_same_password(hasher: PasswordHasher) -> None:
    typed_on_a_phone = unicodedata.normalize("NFC", "Crème brûlée ở Huế")
    typed_on_a_mac = unicodedata.normalize("NFD", typed_on_a_phone)
    assert typed_on_a_phone != typed_on_a_mac
    assert await hasher.verify(typed_on_a_mac, await hasher.hash(typed_on_a_phone, ANYBODY), ANYBODY)
    assert await hasher.verify(typed_on_a_phone, await hasher.hash(typed_on_a_mac, ANYBODY), ANYBODY)


async def test_two_hashes_of_one_password_differ(hasher: PasswordHasher) -> None:
    assert await hasher.hash("correct horse battery", ANYBODY) != await hasher.hash("correct horse battery", ANYBODY)


async def test_hashes_leaked_elsewhere_are_worth_nothing_here(hasher: PasswordHasher) -> None:
    leaked = bcrypt.hashpw(b"correct horse battery", bcrypt.gensalt(4)).decode("ascii")
    assert not await hasher.verify("correct horse battery", leaked, ANYBODY)


async def test_an_unknown_name_costs_a_check_like_any_other_and_is_never_let_in(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []

    def note(password: bytes, stored: bytes) -> bool:
        checked.append(stored)
        return True  # even if the decoy's password were guessed

    stored = await hasher.hash("correct horse battery", ANYBODY)
    monkeypatch.setattr(bcrypt, "checkpw", note)
    assert await hasher.verify("correct horse battery", None, ANYBODY) is False
    assert await hasher.verify("correct horse battery", stored, ANYBODY) is True
    decoy, real = checked
    assert decoy[:7] == real[:7] == b"$2b$04$"  # the same algorithm at the same cost
    assert len(decoy) == len(real)


@pytest.mark.parametrize(("made_at", "now_at", "outdated"), [(4, 4, False), (4, 5, True), (5, 4, True)])
async def test_a_hash_of_another_cost_is_outdated_and_still_good(made_at: int, now_at: int, outdated: bool) -> None:
    before, now = (PasswordHasher(PasswordSettings(bcrypt_cost=cost, threads=1)) for cost in (made_at, now_at))
    stored = await before.hash("correct horse battery", ANYBODY)
    assert now.is_outdated(stored) is outdated
    assert await now.verify("correct horse battery", stored, ANYBODY)
    before.close()
    now.close()


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    hasher = PasswordHasher(PasswordSettings(bcrypt_cost=11, threads=2))  # about a tenth of a second each
    hashing = [asyncio.create_task(hasher.hash("correct horse battery", ANYBODY)) for _ in range(4)]
    ticks = 0
    while not all(task.done() for task in hashing):
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks > 20
    hasher.close()


async def test_no_more_threads_hash_than_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(PasswordSettings(bcrypt_cost=4, threads=2))
    together = threading.Barrier(2)
    running: list[int] = []
    most: list[int] = []
    real = bcrypt.hashpw

    def note(password: bytes, salt: bytes) -> bytes:
        running.append(1)
        together.wait(10)  # both threads are in here at once
        most.append(len(running))
        time.sleep(0.002)
        running.pop()
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", note)
    await asyncio.gather(*(hasher.hash("correct horse battery", ANYBODY) for _ in range(8)))
    assert max(most) == 2
    hasher.close()


async def test_beyond_the_queue_nobody_waits_and_afterwards_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(PasswordSettings(bcrypt_cost=4, threads=1, queue=2))
    gate = threading.Event()
    real = bcrypt.hashpw

    def wait(password: bytes, salt: bytes) -> bytes:
        gate.wait(10)
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", wait)
    waiting = [asyncio.create_task(hasher.hash("correct horse battery", ANYBODY)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refusal:
        await hasher.hash("correct horse battery", ANYBODY)
    assert refusal.value.retry_after
    with pytest.raises(Unavailable):
        await hasher.verify("correct horse battery", None, ANYBODY)
    gate.set()
    assert len(await asyncio.gather(*waiting)) == 3
    assert await hasher.hash("correct horse battery", ANYBODY)
    hasher.close()


async def test_a_caller_that_gives_up_leaves_its_place_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(PasswordSettings(bcrypt_cost=4, threads=1, queue=1))
    gate = threading.Event()
    real = bcrypt.checkpw

    def wait(password: bytes, stored: bytes) -> bool:
        gate.wait(10)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", wait)
    running, waiting = (asyncio.create_task(hasher.verify("correct horse battery", None, ANYBODY)) for _ in range(2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    another = asyncio.create_task(hasher.verify("correct horse battery", None, ANYBODY))
    gate.set()
    assert [await running, await another] == [False, False]
    hasher.close()
