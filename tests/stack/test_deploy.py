"""`make deploy` under load: no request fails. The same load sees a plain recreate fail, so it can tell."""

from __future__ import annotations

import asyncio

import pytest

from tests.stack.load import Options, loading
from tests.stack.stack import Stack, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(420)]


def options(stack: Stack) -> Options:
    """A load on this stack, by HTTP/1.1.

    By HTTP/2 httpx cannot be the judge: it gives up a request that is under way as soon as the server says that it
    takes no new ones on the connection (GOAWAY), although this one is answered (RFC 9113, section 6.8).
    """
    return Options(stack.base_url, stack.ca)


async def containers(stack: Stack, *services: str) -> set[str]:
    """The ids of what runs."""
    return set((await stack.compose("ps", "--quiet", *services)).split())


async def test_a_deploy_fails_no_request_loses_no_write_and_doubles_no_reminder(stack: Stack) -> None:
    ours, others = ("api", "worker", "beat"), ("db", "redis", "nginx")
    before, beside = await containers(stack, *ours), await containers(stack, *others)
    async with loading(options(stack)) as load:
        await run("make", "deploy", env=stack.env, seconds=300)
        await asyncio.sleep(3)  # under load for a little longer
        await load.stop()
        print(f"\n{load.tally}")
        assert load.tally.failures == []
        assert await load.faults() == []
    after = await containers(stack, *ours)
    assert len(after) == len(before) == len(ours)
    assert after.isdisjoint(before)
    assert await containers(stack, *others) == beside


async def test_a_rollback_fails_no_request_either(stack: Stack) -> None:
    async with loading(options(stack)) as load:
        await run("make", "deploy", "ARGS=--no-build", env=stack.env, seconds=300)
        await run("make", "rollback", env=stack.env, seconds=300)
        await load.stop()
        assert load.tally.failures == []
        assert await load.faults() == []


async def test_the_same_load_sees_a_plain_recreate_fail_requests(stack: Stack) -> None:
    async with loading(options(stack)) as load:
        await stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", "api", seconds=120)
        await asyncio.sleep(3)
        await load.stop()
        print(f"\n{load.tally}")
        assert load.tally.failures
        # And yet: each was told so in the API's own words, and nothing that was acknowledged is gone.
        assert [failure for failure in load.tally.failures if not failure.is_polite and failure.kind != "stream"] == []
        assert await load.faults() == []
