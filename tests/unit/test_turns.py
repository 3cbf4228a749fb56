"""Turns at the threads that hash passwords: whose comes next, who waits no longer, who has none."""

from __future__ import annotations

import asyncio

import pytest

from todo_core.accounts import turns as module
from todo_core.accounts.turns import Asker, Turns
from todo_core.errors import Unavailable
from todo_core.settings import PasswordSettings


def make(**settings: float) -> Turns:
    """One thread's turns."""
    return Turns(PasswordSettings.model_validate({"threads": 1, **settings}))


class Crowd:
    """Requests that wait for their turn; `order` is whose came."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, name: str, asker: Asker) -> asyncio.Task[None]:
        """One more waits."""

        async def wait() -> None:
            await self.turns.take(asker)
            self.order.append(name)

        task = asyncio.create_task(wait())
        self.tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def serve(self, count: int) -> list[str]:
        """End so many turns; whose came."""
        for _ in range(count):
            self.turns.give_back()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return self.order[-count:]

    async def leave(self) -> None:
        """Nobody waits any more."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_one_account_that_asks_all_the_time_delays_another_by_one_turn() -> None:
    crowd = Crowd(make())
    for number in range(12):
        await crowd.come("thief", Asker(f"10.0.0.{number}", "account-1"))
    await crowd.come("honest", Asker("10.1.1.1", "account-2"))
    assert crowd.order == ["thief"]
    assert await crowd.serve(2) == ["honest", "thief"]
    await crowd.leave()


async def test_one_network_that_asks_for_many_names_delays_another_by_one_turn() -> None:
    crowd = Crowd(make())
    for number in range(12):
        await crowd.come("storm", Asker("10.0.0.1", f"account-{number}"))
    await crowd.come("honest", Asker("10.1.1.1", "account-99"))
    assert await crowd.serve(1) == ["honest"]
    await crowd.leave()


async def test_turns_go_to_whoever_asks_least_and_among_equals_to_the_oldest() -> None:
    crowd = Crowd(make())
    for name in "aaabbcd":
        await crowd.come(name, Asker(f"10.0.0.{ord(name)}", name))
    await crowd.serve(6)
    assert "".join(crowd.order) == "acdbbaa"
    await crowd.leave()


async def test_guesses_at_an_account_from_elsewhere_delay_it_by_one_turn_where_it_is_known() -> None:
    crowd = Crowd(make(queue_share=20))
    for number in range(21):
        await crowd.come("storm", Asker(f"10.0.0.{number}", "account-1"))
    await crowd.come("honest", Asker("10.1.1.1", "account-1", known=True))
    assert await crowd.serve(1) == ["honest"]
    await crowd.leave()


async def test_a_network_that_the_account_has_signed_in_from_goes_before_64_that_come_all_at_once() -> None:
    crowd = Crowd(make())
    for number in range(65):
        await crowd.come("storm", Asker(f"10.0.0.{number}", f"name-{number}"))
    await crowd.come("honest", Asker("10.1.1.1", "account-1", known=True))
    assert await crowd.serve(1) == ["honest"]
    await crowd.leave()


async def test_a_newcomer_goes_before_those_who_ask_again_and_takes_a_place_of_theirs_where_all_are_taken() -> None:
    crowd = Crowd(make(queue=4))
    storm = [Asker(f"10.0.0.{number}", f"name-{number}") for number in range(4)]
    for asker in storm:
        await crowd.come("storm", asker)
    await crowd.serve(3)
    again = [await crowd.come("again", asker) for asker in storm]
    await crowd.come("honest", Asker("10.1.1.1", "account-1"))
    assert sum(task.done() for task in again) == 1
    with pytest.raises(Unavailable):
        await next(task for task in again if task.done())
    assert await crowd.serve(1) == ["honest"]
    await crowd.leave()


@pytest.mark.parametrize("same", ["network", "account"])
async def test_nobody_has_more_places_than_a_share(same: str) -> None:
    crowd = Crowd(make(queue=64, queue_share=2))

    def asker(number: int) -> Asker:
        return Asker("10.0.0.1", f"{number}") if same == "network" else Asker(f"10.0.0.{number}", "account-1")

    for number in range(3):
        await crowd.come("many", asker(number))
    with pytest.raises(Unavailable) as refusal:
        await crowd.turns.take(asker(4))
    assert refusal.value.retry_after
    await crowd.come("other", Asker("10.1.1.1", "account-2"))
    assert await crowd.serve(1) == ["other"]
    await crowd.leave()


async def test_a_request_waits_no_longer_than_its_deadline() -> None:
    turns = make(wait_seconds=0.01)
    await turns.take(Asker("10.0.0.1", "account-1"))
    with pytest.raises(Unavailable):
        await turns.take(Asker("10.0.0.2", "account-2"))
    turns.give_back()
    async with asyncio.timeout(1):
        await turns.take(Asker("10.0.0.2", "account-2"))  # and its place is free again


async def test_what_was_given_up_gets_no_turn() -> None:
    gone = asyncio.Event()
    crowd = Crowd(make())
    await crowd.come("running", Asker("10.0.0.1", "account-1"))
    given_up = await crowd.come("given up", Asker("10.0.0.2", "account-2", left=gone.wait))
    cancelled = await crowd.come("cancelled", Asker("10.0.0.3", "account-3"))
    await crowd.come("waiting", Asker("10.0.0.4", "account-4"))
    gone.set()
    cancelled.cancel()
    with pytest.raises(Unavailable):
        await given_up
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await crowd.serve(1) == ["waiting"]
    await crowd.leave()


@pytest.mark.parametrize("first", ["the turn", "the end", "the client leaves"])
async def test_a_turn_that_comes_as_its_request_ends_goes_to_the_next(first: str) -> None:
    crowd, gone = Crowd(make()), asyncio.Event()
    await crowd.come("running", Asker("10.0.0.1", "account-1"))
    ending = await crowd.come("ending", Asker("10.0.0.2", "account-2", left=gone.wait))
    await crowd.come("waiting", Asker("10.0.0.3", "account-3"))
    if first == "the client leaves":
        gone.set()
        for _ in range(2):  # the watch ends, and then tells; the request itself has not run yet
            await asyncio.sleep(0)
        assert [ticket.turn.done() for ticket in crowd.turns._waiting] == [True, False]
    elif first == "the end":
        ending.cancel()
    crowd.turns.give_back()
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    await asyncio.sleep(0)
    assert crowd.order == ["running", "waiting"]
    await crowd.leave()


async def test_who_asked_is_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED_KEYS", 10)
    turns = make()
    for number in range(50):
        await turns.take(Asker(f"10.0.0.{number}", f"account-{number}"))
        turns.give_back()
    assert len(turns._asked) == 10
