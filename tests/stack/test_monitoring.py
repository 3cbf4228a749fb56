"""Monitoring on the running stack: every metric of an alert exists, and an alert arrives."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.factories import Person
from tests.stack.stack import Stack, free_port, run
from tests.stack.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(420)]

SERVICES = ("prometheus", "alertmanager", "exporter", "postgres-exporter", "redis-exporter")
JOBS = {"api", "worker", "exporter", "postgres", "redis", "alertmanager", "prometheus"}
SCRAPED = 60
"""Seconds for Prometheus to find and scrape a target: DNS every 10, a scrape every 15, and a busy machine."""


@dataclass
class Monitoring:
    """Prometheus and Alertmanager of the stack."""

    stack: Stack
    prometheus: httpx.AsyncClient
    alertmanager: httpx.AsyncClient

    async def ask(self, path: str, **params: str) -> Any:
        """Return Prometheus's answer."""
        answer = await self.prometheus.get(f"/api/v1/{path}", params=params)
        answer.raise_for_status()
        return answer.json()["data"]

    async def value(self, query: str) -> float | None:
        """Return the only value of a query; None if there is no series."""
        result = (await self.ask("query", query=query))["result"]
        return float(result[0]["value"][1]) if result else None

    async def state(self, alert: str) -> str:
        """Return the state of an alert in Prometheus: inactive, pending or firing."""
        rules = [rule for group in (await self.ask("rules"))["groups"] for rule in group["rules"]]
        (state,) = [rule["state"] for rule in rules if rule["name"] == alert]
        return str(state)

    async def held(self, alert: str) -> list[dict[str, Any]]:
        """Return the alerts of this name in Alertmanager."""
        alerts = (await self.alertmanager.get("/api/v2/alerts")).json()
        return [found for found in alerts if found["labels"]["alertname"] == alert]

    async def told(self, alert: str) -> list[dict[str, Any]]:
        """Return the alerts of this name that the receiver got."""
        lines = await self.stack.lines("exporter")
        return [line for line in lines if line["event"] == "alert" and line["alert"] == alert]


@pytest.fixture(scope="module")
async def monitoring(stack: Stack) -> AsyncIterator[Monitoring]:
    """Start the profile `monitoring` beside the running stack."""
    before = dict(stack.overrides)
    ports = {"PROMETHEUS_PORT": str(free_port()), "ALERTMANAGER_PORT": str(free_port())}
    stack.overrides |= ports | {"COMPOSE_PROFILES": "mail,monitoring"}
    try:
        await stack.compose("up", "--detach", "--wait", "--wait-timeout", "120", *SERVICES, seconds=150)
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}", trust_env=False) as prometheus,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{ports['ALERTMANAGER_PORT']}", trust_env=False
            ) as alertmanager,
        ):
            yield Monitoring(stack, prometheus, alertmanager)
    finally:
        await stack.compose("rm", "--stop", "--force", "--volumes", *SERVICES)
        volumes = [f"{stack.project}_{name}" for name in ("backups", "prometheus", "alertmanager")]
        await run("docker", "volume", "rm", "--force", *volumes)
        stack.overrides.clear()
        stack.overrides |= before


async def test_everything_that_an_alert_rests_on_is_measured(stack: Stack, monitoring: Monitoring, lin: Person) -> None:
    await stack.compose("run", "--rm", "--no-deps", "--no-TTY", "backup-folder")
    await stack.compose("run", "--rm", "--no-deps", "--no-TTY", "backup", "once")
    await lin.add_todo("Renew the passport", due_at=(datetime.now(UTC) + timedelta(seconds=2)).isoformat())

    async def all_up() -> bool:
        up = (await monitoring.ask("query", query="up == 1"))["result"]
        return {series["metric"]["job"] for series in up} == JOBS

    await until(all_up, SCRAPED, "every job is up")
    rules = [rule for group in (await monitoring.ask("rules"))["groups"] for rule in group["rules"]]
    names = {name for rule in rules for name in re.findall(r"\b(?:todo|pg|redis|alertmanager)_\w+", rule["query"])}
    assert len(names) > 15

    async def missing() -> list[str]:
        return [name for name in sorted(names) if await monitoring.value(f"count({name})") is None]

    async def none_is_missing() -> bool:
        return not await missing()

    try:
        await until(none_is_missing, SCRAPED, "every metric that a rule names")
    except AssertionError:
        raise AssertionError(await missing()) from None
    backup_age = await monitoring.value("time() - todo_backup_last_success_timestamp_seconds")
    assert backup_age is not None
    assert 0 < backup_age < 300
    left = await monitoring.value("todo_certificate_expiry_timestamp_seconds - time()")
    assert left is not None
    assert left > 14 * 86_400
    created = 'todo_http_requests_total{route="/todos/", method="POST", code="201"}'
    await until(lambda: monitoring.value(created), SCRAPED, "the todo is counted")


async def test_a_worker_that_is_gone_is_told_of(stack: Stack, monitoring: Monitoring) -> None:
    async def state_is(*states: str) -> bool:
        return await monitoring.state("WorkerMissing") in states

    await until(lambda: state_is("inactive"), SCRAPED, "Prometheus sees the worker")
    await stack.compose("stop", "worker")
    try:
        await until(lambda: state_is("pending", "firing"), 90, "WorkerMissing is pending")
        assert await monitoring.held("WorkerMissing") == [], "it has been so for a moment only"
        await until(lambda: state_is("firing"), 120, "WorkerMissing fires")
        (held,) = await until(lambda: monitoring.held("WorkerMissing"), 30, "Alertmanager has it")
        assert held["labels"]["severity"] == "critical"
        assert held["annotations"]["runbook"] == "docs/alerts.md#workermissing"
        (line,) = await until(lambda: monitoring.told("WorkerMissing"), 60, "it arrives at the receiver")
        assert (line["state"], line["summary"]) == ("firing", "No worker runs")
    finally:
        await stack.compose("start", "worker")
    await until(lambda: state_is("inactive"), SCRAPED, "Prometheus sees the worker again")

    async def resolved() -> bool:
        return not await monitoring.held("WorkerMissing")

    await until(resolved, 60, "Alertmanager knows that it is over")
    await stack.healthy(60)
