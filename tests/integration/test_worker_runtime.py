"""The parts of a worker process, run in this one: the thread with its event loop, beat's scheduler, probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dev.valkey import EmbeddedValkey
from tests.receivers import SmtpReceiver
from tests.worker_kit import Office, eventually
from todo_core.ids import new_id
from todo_core.settings import ConfigurationError, DatabaseSettings, RedisSettings, Settings, WorkerSettings
from todo_worker import probe, runtime
from todo_worker.app.beat import Scheduler
from todo_worker.app.celery import create_app
from todo_worker.app.peer_notifier import CeleryPeerNotifier
from todo_worker.runtime import Runtime

StartRuntime = Callable[..., Runtime]


@pytest.fixture
async def start_runtime(office: Office) -> AsyncIterator[StartRuntime]:
    """Starts runtimes that end with the test."""
    started: list[Runtime] = []

    def start(settings: Settings, registry: CollectorRegistry | None = None) -> Runtime:
        made = Runtime(settings, CeleryPeerNotifier(create_app(settings)), registry or CollectorRegistry())
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        await asyncio.to_thread(made.stop)


def settings_of(office: Office, directory: Path, **worker: Any) -> Settings:
    """Of a process that looks for work only when it is told to."""
    return office.but(WorkerSettings(state_dir=directory, poll_seconds=600, **worker))


def heartbeats(directory: Path) -> list[Path]:
    """The signs of life in a directory."""
    return list(directory.glob("heartbeat-*"))


async def test_a_tick_has_what_is_due_sent_and_links_with_it(
    office: Office, smtp: SmtpReceiver, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    lin = await office.account()
    started = start_runtime(settings_of(office, tmp_path))
    await office.remind(lin)
    await office.sql.execute(
        "INSERT INTO email_verifications (id, account_id, email, email_key)"
        " SELECT $1, id, email, email_key FROM accounts",
        str(new_id()),
    )
    started.dispatch_due()
    await office.settled()
    async with asyncio.timeout(20):
        await smtp.wait_for(1)
    assert await office.states() == {"sent": 1}


async def test_a_process_sends_what_another_has_claimed(
    office: Office, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    lin = await office.account()
    started = start_runtime(settings_of(office, tmp_path))
    other = await office.start(poll_seconds=600, slots=1)
    await office.remind(lin)
    await other.parts.dispatch.claim(1)
    started.deliver([str((await office.delivery())["id"])])
    await office.settled()
    assert await office.states() == {"sent": 1}


async def test_a_purge_removes_what_has_had_its_time(
    office: Office, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    lin = await office.account()
    started = start_runtime(settings_of(office, tmp_path))
    await office.sql.execute(
        "INSERT INTO refresh_tokens (id, account_id, family_id, token_hash, expires_at)"
        " VALUES (gen_random_uuid(), $1, gen_random_uuid(), 'x', now() - interval '1 hour')",
        lin,
    )
    started.purge()
    started.purge()  # one is enough

    async def gone() -> bool:
        return bool(await office.sql.fetchval("SELECT count(*) = 0 FROM refresh_tokens"))

    await eventually(gone)


async def test_a_process_starts_and_stops_while_everything_else_is_down(
    office: Office, tmp_path: Path, start_runtime: StartRuntime
) -> None:
    down = office.but(
        DatabaseSettings(url="postgresql://todo:todo@127.0.0.1:1/todo"),
        RedisSettings(url="redis://127.0.0.1:1/0"),
        WorkerSettings(state_dir=tmp_path, heartbeat_seconds=0.01),
    )
    with capture_logs() as lines:
        started = start_runtime(down)
        started.dispatch_due()
        started.purge()
        await eventually(lambda: {"dispatch_failed", "purge_failed"} <= {line["event"] for line in lines})
        await eventually(lambda: bool(heartbeats(tmp_path)))
        await asyncio.to_thread(started.stop)
    assert heartbeats(tmp_path) == []
    started.dispatch_due()  # too late, and no harm
    started.deliver(["x"])


async def test_a_process_says_how_it_goes(
    office: Office, tmp_path: Path, start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_BACKLOG_SECONDS", 0.02)
    monkeypatch.setattr(runtime, "_LINE_SECONDS", 0.02)
    await office.remind(await office.account())
    registry, before = CollectorRegistry(), time.time()
    with capture_logs() as lines:
        start_runtime(settings_of(office, tmp_path), registry).dispatch_due()
        await office.settled()
        await eventually(lambda: any(line.get("sent.inbox") == 1 for line in lines))
    states = [line for line in lines if line["event"] == "worker_state"]
    assert all("oldest_delivery_seconds" in line for line in states)
    assert registry.get_sample_value("todo_ticks_total") == 1
    assert before <= (registry.get_sample_value("todo_backlog_timestamp_seconds") or 0) <= time.time()


async def test_a_process_whose_parent_is_gone_stops(
    office: Office, tmp_path: Path, start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = iter([100])
    monkeypatch.setattr("todo_worker.runtime.os.getppid", lambda: next(parents, 1))
    with capture_logs() as lines:
        start_runtime(settings_of(office, tmp_path))
        await eventually(lambda: {"parent_gone", "pump_stopped"} <= {line["event"] for line in lines})


# ---- beat


@pytest.fixture
def scheduler(fragile_redis: EmbeddedValkey, tmp_path: Path) -> Scheduler:
    """Beat's, on a Redis of the test's own."""
    settings = Settings(RedisSettings(url=fragile_redis.url), WorkerSettings(state_dir=tmp_path))
    return Scheduler(app=create_app(settings))


async def test_beat_ticks_while_redis_is_away_and_is_heard_when_it_is_back(
    scheduler: Scheduler, fragile_redis: EmbeddedValkey, tmp_path: Path
) -> None:
    tick = scheduler.schedule["dispatch_due"]
    with capture_logs() as lines:
        await asyncio.to_thread(scheduler.apply_entry, tick, scheduler.producer)
        assert lines == []
        await asyncio.to_thread(fragile_redis.kill)
        await asyncio.to_thread(scheduler.apply_entry, tick, scheduler.producer)
        assert [line["event"] for line in lines] == ["tick_lost"]
        await asyncio.to_thread(fragile_redis.start)
        for _ in range(101):
            await asyncio.to_thread(scheduler.apply_entry, tick, scheduler.producer)
        assert len(lines) == 1
        await asyncio.to_thread(scheduler.apply_entry, tick, scheduler.producer)
    assert [line["event"] for line in lines] == ["tick_lost", "tick_skipped"]
    scheduler.tick()
    assert len(heartbeats(tmp_path)) == 1
    scheduler.close()
    assert heartbeats(tmp_path) == []


# ---- probes


def test_a_probe_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER_STATE_DIR", str(tmp_path))
    assert probe.main() == 1
    assert "No worker process" in capsys.readouterr().err
    monkeypatch.setattr(probe, "dead_processes", lambda _: [7, 8])
    assert probe.main() == 1
    assert "No sign of life for too long: 7, 8" in capsys.readouterr().err
    monkeypatch.setattr(probe, "dead_processes", lambda _: [])
    assert probe.main() == 0

    def refuse() -> Settings:
        raise ConfigurationError("WORKER_SLOTS: no")

    monkeypatch.setattr(Settings, "load", refuse)
    assert probe.main() == 1
    assert capsys.readouterr().err == "WORKER_SLOTS: no\n"
