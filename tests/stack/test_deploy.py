"""`make deploy` and `make rollback` under load, and the same load while Compose does it its own way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.stack.load import Load, Options, loading
from tests.stack.stack import Stack, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


@asynccontextmanager
async def under_load(stack: Stack) -> AsyncIterator[Load]:
    """Reads, writes, reminders and a stream, from before the block until after it; nothing of it is lost."""
    await stack.healthy(60)
    async with loading(Options(stack.base_url, stack.ca, reminder_seconds=1.0)) as load:
        await asyncio.sleep(5)
        began = time.monotonic()
        yield load
        took = time.monotonic() - began
        await stack.healthy(60)
        await asyncio.sleep(5)
        await load.stop(60)
        print(f"\nin {took:.1f} s: {load.tally}\nlatest reminder {load.lateness()[-1]:.1f} s")
        assert await load.faults() == []


async def _images(stack: Stack) -> dict[str, str]:
    return {service: (await stack.container(service))["Image"] for service in ("api", "worker", "beat")}


async def _containers(stack: Stack) -> set[str]:
    return {str((await stack.container(service))["Id"]) for service in ("api", "worker", "beat")}


async def test_a_deploy_and_its_rollback_fail_no_request(stack: Stack) -> None:
    before, images = await _containers(stack), await _images(stack)
    async with under_load(stack) as load:
        # Another label is another image: what a release with a new revision is.
        said = await run("make", "deploy", env=stack.env | {"REVISION": "fedcba9876543210"}, seconds=200)
    assert "Deployed in" in said
    deployed = await _containers(stack)
    assert not before & deployed, "all three are new containers"
    assert all(image != images[service] for service, image in (await _images(stack)).items())
    assert load.tally.failures == []
    assert load.tally.endings["shutting_down"] == 1, "the stream was told, once"

    async with under_load(stack) as load:
        await run("make", "rollback", env=stack.env, seconds=200)
    assert await _images(stack) == images
    assert not deployed & await _containers(stack)
    assert load.tally.failures == []


async def test_new_settings_reach_more_than_one_api_without_a_failed_request(stack: Stack) -> None:
    """Two replicas, as production has them."""
    await stack.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", "--scale", "api=2", "api")
    try:
        before = {container["Id"] for container in await stack.containers("api")}
        async with under_load(stack) as load:
            await run("make", "deploy", "ARGS=--no-build", env=stack.env | {"LOG_LEVEL": "WARNING"}, seconds=200)
        after = await stack.containers("api")
        assert len(after) == 2
        assert not before & {container["Id"] for container in after}
        assert all("LOG_LEVEL=WARNING" in container["Config"]["Env"] for container in after)
        assert load.tally.failures == []
    finally:
        await stack.compose("up", "--detach", "--wait", "--no-deps", "--scale", "api=1", "api")


async def test_a_release_that_does_not_start_replaces_nothing(stack: Stack) -> None:
    before = await _containers(stack)
    broken = stack.env | {"TOKEN_ACCESS_SECONDS": "soon", "DEPLOY_HEALTHY_SECONDS": "30"}
    async with under_load(stack) as load:
        with pytest.raises(AssertionError, match="TOKEN_ACCESS_SECONDS"):
            await run("make", "deploy", "ARGS=--no-build", env=broken, seconds=200)
    assert await _containers(stack) == before
    assert load.tally.failures == []


async def test_the_same_load_sees_a_plain_recreation(stack: Stack) -> None:
    """So the tests above can fail."""
    async with under_load(stack) as load:
        await stack.compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "api")
    assert len(load.tally.failures) > 10
