"""The worker's small parts, without any server."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from celery import Celery
from prometheus_client import CollectorRegistry

from tests.worker_kit import eventually
from todo_core.errors import Unavailable
from todo_core.redis_client import connect
from todo_core.reminders.dispatch import Delivery, Dispatch, Outcome
from todo_core.settings import RedisSettings, Settings, WorkerSettings
from todo_worker.app import process, tasks
from todo_worker.app.broker import broker_options, broker_url
from todo_worker.app.celery import create_app
from todo_worker.app.peer_notifier import CeleryPeerNotifier
from todo_worker.backoff import Backoff
from todo_worker.channel import Failed, Undeliverable
from todo_worker.concurrency_limits import ConcurrencyLimits
from todo_worker.crash_points import CrashPoints
from todo_worker.mail_texts import texts_for, written
from todo_worker.metrics import Metrics
from todo_worker.outcome_writer import OutcomeWriter
from todo_worker.sender import Sender

# ---- the way to Redis


@pytest.mark.parametrize(
    ("url", "password", "expected"),
    [
        ("redis://h:6380/0", None, "redis://h:6380/0"),
        ("redis://h:6380/0", "p@ss/word", "redis://:p%40ss%2Fword@h:6380/0"),
        ("rediss://u:old@h:6380/0", "new", "rediss://u:new@h:6380/0"),
        ("unix:///run/redis.sock", None, "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=1", None, "redis+socket:///run/redis.sock?virtual_host=1"),
    ],
)
def test_the_broker_is_the_same_redis_as_everybody_elses(url: str, password: str | None, expected: str) -> None:
    assert broker_url(RedisSettings(url=url, password=password)) == expected


def test_a_broker_over_tls_has_to_prove_who_it_is() -> None:
    options = broker_options(RedisSettings(url="rediss://h"))
    assert options["broker_use_ssl"] == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert "broker_use_ssl" not in broker_options(RedisSettings(url="redis://h"))


async def test_a_client_neither_waits_long_nor_connects_before_it_has_to() -> None:
    client = connect(RedisSettings(url="redis://127.0.0.1:1/0", password="x", timeout_ms=100))
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.1
    await client.aclose()


# ---- the Celery app


def test_nothing_is_kept_waited_for_or_run_later() -> None:
    app = create_app(Settings(RedisSettings(key_prefix="mine")))
    assert app.conf.task_ignore_result is True
    assert app.conf.result_backend is None
    assert app.conf.accept_content == ["json"]
    assert app.conf.broker_transport_options["global_keyprefix"] == "mine:"
    for entry in app.conf.beat_schedule.values():
        assert entry["options"]["expires"] <= 2 * entry["schedule"]
        assert not {"countdown", "eta"} & entry["options"].keys()


def test_a_task_outside_of_a_worker_says_so() -> None:
    with pytest.raises(RuntimeError, match="no runtime"):
        tasks.dispatch_due()
    with pytest.raises(RuntimeError, match="no runtime"):
        tasks.deliver([])
    with pytest.raises(RuntimeError, match="no runtime"):
        tasks.purge()
    process.stop()  # harmless


class _Broker:
    """Celery, as far as publishing goes; it hangs until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[list[str]] = []
        self.go = threading.Event()
        self._error = error

    def send_task(self, name: str, arguments: tuple[list[str]], **options: object) -> None:
        self.go.wait(10)
        if self._error:
            raise self._error
        self.sent.append(arguments[0])


async def test_a_broker_that_hangs_holds_nobody_up_and_gets_no_more_than_a_few() -> None:
    broker = _Broker()
    notifier = CeleryPeerNotifier(cast(Celery, broker))
    for number in range(100):
        notifier.notify([str(number)])
    broker.go.set()
    await eventually(lambda: len(broker.sent) == 20)
    notifier.close()
    assert broker.sent == [[str(number)] for number in range(20)]


async def test_a_broker_that_fails_raises_no_error() -> None:
    broker = _Broker(ConnectionError())
    broker.go.set()
    notifier = CeleryPeerNotifier(cast(Celery, broker))
    for _ in range(3):
        notifier.notify(["x"])
    notifier.close()


# ---- the sender


class _Channel:
    """A channel whose attempts end with the given error, or succeed."""

    name = "inbox"
    slots = 1
    separate_receivers = False

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def send(self, delivery: Delivery) -> None:
        if self._error:
            raise self._error


class _Outcomes:
    """Collects outcomes instead of writing them."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        self.all.append(outcome)


async def outcome_of(error: Exception | None, *, attempts: int = 1, age: timedelta = timedelta()) -> Outcome:
    """Return the outcome of an attempt; the random wait is always the longest."""
    channel, outcomes, settings = _Channel(error), _Outcomes(), WorkerSettings()
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "")
    values |= {"channel": "inbox", "attempts": attempts, "age": age, "wanted": True, "fence": 7}
    chosen = Sender(
        [channel],
        settings,
        ConcurrencyLimits(1, [channel], 1),
        cast(OutcomeWriter, outcomes),
        crash_points=CrashPoints(),
        draw=lambda _, most: most,
    )
    async with asyncio.TaskGroup() as group:
        chosen.begin(group, Delivery(**values), lambda: None, leased_at=asyncio.get_running_loop().time())
    (outcome,) = outcomes.all
    assert outcome.fence == 7
    return outcome


async def test_attempts_are_further_and_further_apart_but_never_more_than_an_hour() -> None:
    delays = [(await outcome_of(Failed("no"), attempts=number)).delay for number in (1, 2, 3, 5, 10, 11, 1_000)]
    seconds = [delay.total_seconds() for delay in delays if delay is not None]
    assert seconds == [5, 10, 20, 80, 2_560, 3_600, 3_600]


async def test_the_last_attempt_is_made_at_the_last_moment_and_then_it_is_dead() -> None:
    day = timedelta(days=1)
    outcome = await outcome_of(Failed("no"), attempts=20, age=day - timedelta(seconds=60))
    assert (outcome.state, outcome.delay) == ("pending", timedelta(seconds=60))
    outcome = await outcome_of(Failed("no"), attempts=21, age=day)
    assert (outcome.state, outcome.error) == ("dead", "no")


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "sent", None),
        (Failed("x" * 1_000), "pending", "x" * 200),
        (Undeliverable("never"), "dead", "never"),
        (TimeoutError(), "pending", "timed out"),
        (KeyError("hunter2"), "pending", "KeyError"),
    ],
)
async def test_an_attempt_ends_as_its_channel_does(error: Exception | None, state: str, reason: str | None) -> None:
    outcome = await outcome_of(error)
    assert (outcome.state, outcome.error) == (state, reason)


# ---- backoff


def test_a_backoff_grows_and_starts_again_after_a_reset() -> None:
    backoff = Backoff()
    waited = [backoff.next_seconds() for _ in range(12)]
    assert all(0.025 <= seconds <= 5 for seconds in waited)
    assert waited[0] <= 0.05
    assert waited[-1] >= 2.5
    backoff.reset()
    assert backoff.next_seconds() <= 0.05


@pytest.mark.parametrize(
    ("error", "is_defect"),
    [(ConnectionRefusedError(), False), (Unavailable(), False), (asyncpg.UndefinedTableError("x"), True)],
)
def test_an_outage_is_a_word_and_a_defect_shows_where(error: Exception, is_defect: bool) -> None:
    assert ("exc_info" in Backoff.describe(error)) is is_defect


class _FailsTwice(Dispatch):
    """Settles at the third try."""

    def __init__(self) -> None:
        self.tries = 0

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        self.tries += 1
        if self.tries < 3:
            raise ConnectionRefusedError
        return {outcome.id for outcome in outcomes}


async def test_what_was_sent_is_written_down_however_often_it_has_to_be_tried() -> None:
    dispatch = _FailsTwice()
    writer = OutcomeWriter(dispatch, Metrics(CollectorRegistry()), CrashPoints(), 1)
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "")
    values |= {"channel": "inbox", "due_at": datetime.now(UTC)}
    running = asyncio.create_task(writer.run())
    writer.add(Delivery(**values), Outcome("x", 1, "sent"))
    async with asyncio.timeout(10):
        await writer.finished()
    running.cancel()
    assert dispatch.tries == 3


# ---- times in mails


@pytest.mark.parametrize(
    ("locale", "zone", "text"),
    [
        ("en", "UTC", "Sunday, 25 October 2026, 00:30 (UTC)"),
        ("en", "Europe/Berlin", "Sunday, 25 October 2026, 02:30 (Europe/Berlin)"),
        ("zh-CN", "Asia/Shanghai", "2026年10月25日 星期日 08:30（Asia/Shanghai）"),
        ("zh", "America/New_York", "2026年10月24日 星期六 20:30（America/New_York）"),
        ("fr", "UTC", "Sunday, 25 October 2026, 00:30 (UTC)"),
    ],
)
def test_a_time_is_written_as_its_reader_would(locale: str, zone: str, text: str) -> None:
    assert written(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), ZoneInfo(zone), texts_for(locale)) == text
