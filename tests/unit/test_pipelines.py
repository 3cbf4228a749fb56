"""The pipelines call make targets that exist, and run nobody's action by a name that can be moved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = (".github/workflows/ci.yml", ".gitlab-ci.yml")
WANTED = {"build", "sbom", "scan", "push", "k8s-deploy", "ecs-deploy"}


def text(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def targets() -> set[str]:
    """What the Makefile can do."""
    return set(re.findall(r"^([a-z0-9-]+):.*## ", text("Makefile"), re.MULTILINE))


def called(path: str) -> set[str]:
    """The make targets that a pipeline calls in what it runs."""

    def commands(node: Any) -> list[str]:
        if isinstance(node, dict):
            scripts = [node[key] for key in ("run", "script", "before_script") if key in node]
            nested = [value for key, value in node.items() if key not in {"run", "script", "before_script"}]
            return [line for part in scripts for line in ([part] if isinstance(part, str) else part)] + [
                line for value in nested for line in commands(value)
            ]
        return [line for value in node for line in commands(value)] if isinstance(node, list) else []

    lines = [line for command in commands(yaml.safe_load(text(path))) for line in command.splitlines()]
    return {match[1] for line in lines if (match := re.match(r"make ([a-z0-9-]+)", line.strip()))}


@pytest.mark.parametrize("path", PIPELINES)
def test_a_pipeline_calls_make_targets_that_exist_and_goes_all_the_way(path: str) -> None:
    assert called(path) - targets() == set()
    assert called(path) >= WANTED


def test_every_action_is_pinned_to_what_it_was_when_it_was_read() -> None:
    uses = re.findall(r"uses: (\S+)", text(PIPELINES[0]))
    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


def test_a_deployment_waits_for_somebody_to_approve_it() -> None:
    github = yaml.safe_load(text(PIPELINES[0]))["jobs"]
    gitlab = yaml.safe_load(text(PIPELINES[1]))
    for name in ("deploy-vke", "deploy-systemd"):
        assert github[name]["environment"] == "production"
        assert gitlab[name]["environment"] == "production"
        assert [rule["when"] for rule in gitlab[name]["rules"]] == ["manual"]
