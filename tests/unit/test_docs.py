"""The pages: their links lead somewhere, the targets that they name exist, both languages give the same commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TARGET = re.compile(r"(?:^|[`;&|(]|\bsudo )\s*make ([a-z][a-z0-9-]*)", re.MULTILINE)


def _pages() -> dict[str, Path]:
    """By their path in the repository. Folders with a dot and node_modules hold what was installed or made."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    own = (path for path in found if not any(part[0] == "." or part == "node_modules" for part in path.parts))
    return {str(path): ROOT / path for path in sorted(own)}


PAGES = _pages()
PAIRS = sorted(name for name in PAGES if name.removesuffix(".md") + ".zh-CN.md" in PAGES)
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _read(name: str) -> str:
    return PAGES[name].read_text(encoding="utf-8")


def _anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _commands(page: str) -> list[str]:
    """Each line of each block of shell, without its comment and without the words for what a reader fills in."""
    blocks = [body for language, body in _FENCE.findall(page) if language in ("sh", "bash", "console")]
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    lines = [re.sub(r"<[^<>]*>", "<>", line) for line in lines]
    return [line for line in lines if line]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", _read(name))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = PAGES[name].parent / path if path else PAGES[name]
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_make_target_that_a_page_names_exists(name: str) -> None:
    page = _read(name)
    code = [body for _, body in _FENCE.findall(page)] + _CODE.findall(_FENCE.sub("", page))
    named = {target for text in code for target in _TARGET.findall(text)}
    assert named - TARGETS == set()


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_give_the_same_commands(name: str) -> None:
    english, chinese = _read(name), _read(name.removesuffix(".md") + ".zh-CN.md")
    assert _commands(english) == _commands(chinese)


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_have_the_same_sections_and_tables(name: str) -> None:
    english, chinese = (
        [
            re.sub(r"[^#|].*", "", line)
            for line in _FENCE.sub("", page).splitlines()
            if line.startswith(("#", "|")) and not line.startswith("|-")
        ]
        for page in (_read(name), _read(name.removesuffix(".md") + ".zh-CN.md"))
    )
    assert english == chinese


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short_enough_to_be_read(name: str) -> None:
    assert len(_read(name).splitlines()) <= 250


def test_the_pages_that_a_newcomer_needs_are_there_in_both_languages() -> None:
    assert {"README.md", "docs/deploy.md", "docs/production.md", "k8s/README.md", "deploy/ecs/README.md"} <= set(PAIRS)
