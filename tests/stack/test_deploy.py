"""`make deploy` and `make rollback` under load, and the same load during Compose's own recreation."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.stack.load import Load, Options, loading
from tests.stack.stack import ROOT, Stack, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


@asynccontextmanager
async def under_load(stack: Stack) -> AsyncIterator[Load]:
    """Run reads, writes, reminders and a stream around the block, and check that none is lost."""
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
    """With two replicas, as in production."""
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


@asynccontextmanager
async def begun(stack: Stack, reached: Callable[[], Awaitable[bool]]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a deploy in its own process group, and wait until it has reached a point."""
    process = await asyncio.create_subprocess_exec(
        "ops/deploy.sh", "--no-build", cwd=ROOT, env=stack.env, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(120):
            while not await reached():
                assert process.returncode is None, "the deploy ended before it had come so far"
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _phase(stack: Stack, phase: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that the deploy has recorded this phase for the API, and that two API containers exist."""

    async def reached() -> bool:
        path = ROOT / ".local" / f"deploy-{stack.project}.journal"
        noted = path.read_text(encoding="utf-8") if path.exists() else ""
        return noted.startswith(f"{phase} api ") and len(await stack.containers("api")) == 2

    return reached


@pytest.mark.parametrize("phase", ["beside", "instead"])
async def test_a_deploy_that_was_killed_half_way_is_put_right_by_the_next(stack: Stack, phase: str) -> None:
    before = await _containers(stack)
    async with under_load(stack) as load:
        async with begun(stack, _phase(stack, phase)) as deploy:
            os.killpg(deploy.pid, signal.SIGKILL)
            await deploy.wait()
        await run("make", "deploy", "ARGS=--no-build", env=stack.env, seconds=200)
    assert [len(await stack.containers(service)) for service in ("api", "worker", "beat")] == [1, 1, 1]
    assert not before & await _containers(stack)
    assert load.tally.failures == []


async def test_a_deploy_that_is_interrupted_leaves_the_old_ones_serving(stack: Stack) -> None:
    before = await _containers(stack)
    async with under_load(stack) as load, begun(stack, _phase(stack, "beside")) as deploy:
        os.killpg(deploy.pid, signal.SIGINT)
        async with asyncio.timeout(100):
            assert await deploy.wait() == 130
    assert await _containers(stack) == before
    assert len(await stack.containers("api")) == 1
    assert load.tally.failures == []


async def test_a_rollback_brings_back_an_api_that_no_longer_runs(stack: Stack) -> None:
    images = await _images(stack)
    await run("make", "deploy", env=stack.env | {"REVISION": "aaaabbbbccccdddd"}, seconds=200)
    assert await _images(stack) != images
    # A deploy that changes no image, and one that fails, keep the image of before.
    await run("make", "deploy", "ARGS=--no-build", env=stack.env, seconds=200)
    with pytest.raises(AssertionError, match="TOKEN_ACCESS_SECONDS"):
        await run("make", "deploy", "ARGS=--no-build", env=stack.env | {"TOKEN_ACCESS_SECONDS": "soon"}, seconds=200)
    await stack.compose("stop", "api")
    await run("make", "rollback", env=stack.env, seconds=200)
    await stack.healthy(60)
    assert await _images(stack) == images


async def test_the_same_load_sees_a_plain_recreation(stack: Stack) -> None:
    """This shows that the tests above can fail."""
    async with under_load(stack) as load:
        await stack.compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", "api")
    assert len(load.tally.failures) > 10
