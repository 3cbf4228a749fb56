"""The TypeScript package in Chromium, on a page of another origin, through nginx."""

from __future__ import annotations

import pytest

from tests.stack.stack import Stack, run


@pytest.mark.timeout(300)  # the first time, npm installs and tsc compiles
async def test_the_typescript_package_works_in_chromium_through_nginx(stack: Stack) -> None:
    visit = (".venv-clients/bin/python", "-m", "dev.clients", "--unverified", "--base-url")
    said = await run(*visit, stack.base_url, seconds=280)
    assert f"TypeScript in Chromium at {stack.base_url}" in said
