"""The concurrency limits: which receivers may get a delivery at this moment, and which have to wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from todo_core.reminders.dispatch import Delivery
from todo_worker.concurrency_limits import ConcurrencyLimits


@dataclass
class Some:
    """A channel that nothing is sent by."""

    name: str
    slots: int
    separate_receivers: bool = False

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def send(self, delivery: Delivery) -> None:
        """Nothing to do."""


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def delivery(channel: str = "webhook", endpoint: str = "a") -> Delivery:
    """Make a leased delivery."""
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "")
    values |= {"channel": channel, "endpoint_id": endpoint, "age": timedelta(), "due_at": datetime.now(UTC)}
    return Delivery(**values)


def limits(clock: Clock | None = None, per_endpoint: int = 4) -> ConcurrencyLimits:
    """Ten in all; inboxes may have four of them, webhooks eight."""
    channels = [Some("inbox", 4), Some("webhook", 8, separate_receivers=True)]
    return ConcurrencyLimits(10, channels, per_endpoint, clock or Clock())


def test_a_channel_that_is_full_has_no_room_and_others_have() -> None:
    full = limits()
    for _ in range(4):
        full.take(delivery("inbox"))
    assert full.rooms() == {"webhook": 5}
    assert not full.roomy()
    full.give_back(delivery("inbox"))
    assert full.rooms() == {"inbox": 1, "webhook": 5}


def test_all_channels_together_have_no_more_than_there_is() -> None:
    full = limits()
    for number in range(8):
        full.take(delivery(endpoint=str(number)))
    assert full.rooms() == {"inbox": 2}
    full.take(delivery("inbox"))
    full.take(delivery("inbox"))
    assert (full.rooms(), full.free) == ({}, 0)


def test_a_receiver_has_one_slot_until_it_has_answered_and_again_once_it_is_silent() -> None:
    clock = Clock()
    some = limits(clock)
    some.take(delivery(endpoint="a"))
    assert (some.busy_endpoints(), some.trusted()) == (["a"], [])
    some.answered(delivery(endpoint="a"))
    assert (some.busy_endpoints(), some.trusted()) == ([], ["a"])
    some.timed_out(delivery(endpoint="a"))
    clock.now += 1
    assert (some.busy_endpoints(), some.trusted()) == (["a"], [])


def test_while_a_channel_is_half_full_no_receiver_is_trusted() -> None:
    """Receivers that answered the last time may all hang by now."""
    some = limits()
    for number in range(5):
        some.answered(delivery(endpoint=str(number)))
    for number in range(4):
        some.take(delivery(endpoint=str(number)))
    assert (some.busy_endpoints(), some.trusted()) == ([], list("01234"))
    some.take(delivery(endpoint="4"))
    assert (some.busy_endpoints(), some.trusted()) == (list("01234"), [])


def test_what_is_remembered_of_receivers_is_bounded() -> None:
    some = limits()
    for number in range(20_000):
        some.answered(delivery(endpoint=str(number)))
        some.answered(delivery("inbox", endpoint=f"account {number}"))
    assert len(some.trusted()) == 1_000
    assert "19999" in some.trusted()


def test_a_receiver_is_busy_once_more_than_half_of_its_slots_are_taken() -> None:
    some = limits()
    some.answered(delivery(endpoint="a"))
    some.take(delivery(endpoint="a"))
    some.take(delivery(endpoint="a"))
    assert (some.busy_endpoints(), some.endpoint_room()) == ([], 2)
    some.take(delivery(endpoint="a"))
    assert (some.busy_endpoints(), some.endpoint_room()) == (["a"], 4)


def test_accounts_are_no_receivers_of_their_own() -> None:
    some = limits()
    for _ in range(4):
        some.take(delivery("inbox"))
    some.timed_out(delivery("inbox"))
    assert some.busy_endpoints() == []


def test_a_receiver_that_is_silent_rests_longer_each_time_and_is_forgiven_at_once() -> None:
    clock = Clock()
    some = limits(clock)
    rests = []
    for _ in range(8):
        some.timed_out(delivery())
        some.timed_out(delivery())  # was under way at the same time
        begun = clock.now
        while some.busy_endpoints():
            clock.now += 1
        rests.append(clock.now - begun)
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    some.timed_out(delivery())
    some.answered(delivery())
    assert some.busy_endpoints() == []
    some.timed_out(delivery())
    clock.now += 1
    assert some.busy_endpoints() == []


def test_a_few_free_slots_are_not_worth_a_statement() -> None:
    some = limits()
    assert some.worthwhile()
    for number in range(7):
        some.take(delivery(endpoint=str(number)))
    assert not some.worthwhile()
    some.give_back(delivery(endpoint="0"))
    assert some.worthwhile()


@given(
    st.lists(st.tuples(st.sampled_from(["take", "give", "answer"]), st.sampled_from("abc")), max_size=60),
    st.integers(1, 8),
)
def test_nobody_ever_gets_more_than_is_theirs(steps: list[tuple[str, str]], per_endpoint: int) -> None:
    some = limits(per_endpoint=per_endpoint)
    under_way: dict[str, int] = dict.fromkeys("abc", 0)
    for step, endpoint in steps:
        if step == "answer":
            some.answered(delivery(endpoint=endpoint))
        elif step == "give" and under_way[endpoint]:
            some.give_back(delivery(endpoint=endpoint))
            under_way[endpoint] -= 1
        elif step == "take" and endpoint not in some.busy_endpoints():
            # As many as a lease may bring.
            room = some.endpoint_room() if endpoint in some.trusted() else 1
            for _ in range(min(room, some.rooms().get("webhook", 0))):
                some.take(delivery(endpoint=endpoint))
                under_way[endpoint] += 1
        assert max(under_way.values()) <= per_endpoint
        assert some.used == sum(under_way.values()) <= 8
