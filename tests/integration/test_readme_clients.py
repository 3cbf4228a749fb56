"""The README's tour and its script for Python, run as they stand. `make browser` runs the script for browsers."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.factories import Api

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "README.zh-CN.md"]


def script(page: str, language: str, first: str) -> str:
    """The one block of this language whose first line begins so, without comments, which are translated."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks: list[str] = re.findall(rf"^```{language}\n({re.escape(first)}.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return re.sub(r" +//.*", "", blocks[0])


@pytest.mark.parametrize(("language", "first"), [("python", "import httpx"), ("ts", "const api")])
def test_both_languages_of_the_readme_have_the_same_scripts(language: str, first: str) -> None:
    assert script(PAGES[0], language, first) == script(PAGES[1], language, first)


async def test_the_readmes_python_script_signs_in_creates_and_completes(api: Api) -> None:
    lin = await api.person(password="correct horse battery staple")
    text = script("README.md", "python", "import httpx")
    for old, new in (("http://127.0.0.1:8000", f"http://127.0.0.1:{api.port}"), ('"lin"', f'"{lin.username}"')):
        assert text.count(old) == 1
        text = text.replace(old, new)
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await run.communicate()
    assert (run.returncode, output, errors) == (0, b"True\n", b"")
    listed = (await lin.get("/todos/")).json()["items"]
    assert [(todo["title"], todo["completed"]) for todo in listed] == [("Buy milk", True)]


@pytest.mark.parametrize("page", PAGES)
async def test_the_readmes_tour_does_what_it_says_and_a_second_time_too(api: Api, page: str) -> None:
    name = f"tour-{PAGES.index(page)}"
    (text,) = re.findall(r"<!-- tour -->\n```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    text = re.sub(r"\blin\b", name, text.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{api.port}"))
    for time, registered in enumerate([name, "conflict"]):
        run = await asyncio.create_subprocess_exec(
            "sh", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await run.communicate()
        assert errors == b""
        account, milk, listed, completed, left, deleted, gone = map(json.loads, output.splitlines())
        assert registered in (account.get("username"), account.get("code"))
        assert (milk["title"], milk["due_at"]) == ("Buy milk", "2026-12-01T01:00:00Z")
        assert [todo["id"] for todo in listed["items"]] == [completed["id"]]
        assert (listed["next_cursor"] is None, completed["completed"]) == (False, True)
        assert [todo["title"] for todo in left["items"]] == ["Buy milk"] * (time + 1)
        assert (deleted, gone["code"]) == (204, "todo_not_found")
