"""`make bench-containers`: it leaves out no container and no image, and docs/operation.md has the figures of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import containers

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
LASTING = {name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"}
PYTHON_LAYERS = ["debian", "python"]
IMAGES = {containers.PYTHON: (280, PYTHON_LAYERS), "todo-api": (380, [*PYTHON_LAYERS, "a"]), "redis": (200, ["x"])}
"""Mebibytes and layers."""


def docker(*command: str) -> str:
    """Answer in place of `docker`."""
    if "config" in command:
        return json.dumps({"services": SERVICES}) if "--format" in command else "todo-api\nredis\ntodo-api\n"
    size, layers = IMAGES[command[-1]]
    return json.dumps(layers) if "RootFS" in str(command) else str(size * containers.MEBIBYTE)


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "run", docker)


def test_every_container_is_measured_but_the_one_that_needs_a_domain() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    measured = always | {*containers.beside(["docker", "compose"])}
    assert LASTING - measured == {containers.NEEDS_A_DOMAIN}


def test_the_images_together_count_what_they_are_built_on_once(capsys: pytest.CaptureFixture[str]) -> None:
    containers.print_images(["docker", "compose"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[2:5] == [
        "| redis | 200 MiB |  |",
        "| todo-api | 380 MiB | 100 MiB |",
        f"| all, and {containers.PYTHON} once | 580 MiB | |",
    ]


@pytest.mark.parametrize("page", ["operation.md", "operation.zh-CN.md"])
def test_the_page_has_the_figures_of_every_container(page: str) -> None:
    part = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("<!-- containers -->")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| ([a-z-]+)\b", part, re.MULTILINE))
    assert rows >= LASTING - {containers.NEEDS_A_DOMAIN}
    assert f"`{containers.NEEDS_A_DOMAIN}`" in part, "why it is not measured"
