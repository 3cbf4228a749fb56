"""README's worked example: applied to a copy of the tree as it is written there, it works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = "services/core/src/todo_core/migrations/versions"
MOST_LINES = 25
_BLOCK = re.compile(r"^```(diff|python)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_RUN = [
    "tests/integration/test_todos.py::test_a_todo_has_a_priority_that_a_patch_changes",
    "tests/integration/test_todos.py::test_a_new_todo_is_open_and_answers_with_its_address_and_etag",
    "tests/integration/test_migrations.py::test_models_and_migrations_agree",
    "tests/integration/test_openapi.py",
]


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The example's blocks: language, file, body."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def patch(text: str, diff: str) -> str:
    """Apply hunks, parted by `@@`, each of which has to be found exactly once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"{text.count(before)} times there:\n{before}"
        text = text.replace(before, after)
    return text


def migration(body: str) -> tuple[str, str]:
    """The whole file that `make migration` would have begun, and its name."""
    last = max(path.name[:4] for path in (ROOT / VERSIONS).glob("[0-9]*.py"))
    number = f"{int(last) + 1:04d}"
    head = f'''"""A priority of todos."""

import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{last}"
branch_labels = None
depends_on = None


'''
    return number, head + body


@pytest.mark.timeout(240)
def test_the_worked_example_is_short_the_same_in_both_languages_and_works(tmp_path: Path) -> None:
    example = blocks("README.md")
    assert example == blocks("README.zh-CN.md")
    written = [
        line
        for kind, _, body in example
        for line in body.splitlines()
        if (line.startswith("+") and line.strip("+ ")) or (kind == "python" and line)
    ]
    assert len(written) <= MOST_LINES
    for folder in ("services", "tests", "dev"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    for kind, file, body in example:
        if kind == "diff":
            target = tmp_path / file
            target.write_text(patch(target.read_text(encoding="utf-8"), body), encoding="utf-8")
        else:
            number, text = migration(body)
            (tmp_path / file.replace("NNNN", number)).write_text(text, encoding="utf-8")
    (tmp_path / "docs").mkdir()
    sources = [str(tmp_path), *(str(tmp_path / "services" / name / "src") for name in ("core", "api", "worker"))]
    for command in (["dev.openapi"], ["pytest", "-q", "-p", "no:cacheprovider", *_RUN]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sources)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6_000:]
