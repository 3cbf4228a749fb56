"""However the API is started, its server bounds what comes and does not name itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dev.run import programs

ROOT = Path(__file__).parents[2]
FLAGS = ["--http", "todo_api.protocol:BoundedHttp", "--no-server-header"]


def quoted(path: str) -> list[str]:
    """The words of the command that a file starts uvicorn with."""
    (command,) = re.findall(r'\[("uvicorn".*?)\]', (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r'"([^"]*)"', command)


@pytest.mark.parametrize("path", ["services/Dockerfile", "compose.watch.yaml"])
def test_a_container_starts_the_bounded_server(path: str) -> None:
    assert set(FLAGS) <= set(quoted(path))


def test_make_run_starts_the_bounded_server() -> None:
    (api,) = (program for program in programs("127.0.0.1", 8000, Path("mail"), 1025) if program.name == "api")
    assert set(FLAGS) <= set(api.command)


def test_gunicorn_starts_the_bounded_server() -> None:
    tree = ast.parse((ROOT / "deploy" / "ecs" / "gunicorn_conf.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "CONFIG_KWARGS"
    )
    assert value is not None
    assert ast.literal_eval(value) == {
        "loop": "auto", "http": "todo_api.protocol:BoundedHttp", "server_header": False,
    }  # fmt: skip
