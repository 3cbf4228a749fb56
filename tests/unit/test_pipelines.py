"""The pipelines call make targets that exist, and pin every third-party action by its commit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = (".github/workflows/ci.yml", ".gitlab-ci.yml")
TESTS = ("tests", "stack")
"""The arguments for `.ci/run`."""
RELEASE = ("build", "sbom", "scan", "push")
DEPLOYMENTS = {"deploy-vke": "k8s-deploy", "deploy-systemd": "ecs-deploy"}


def text(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):.*## ", text("Makefile"), re.MULTILINE))


def commands(node: Any) -> list[str]:
    """The lines that a job, or a whole pipeline, runs, in their order."""
    if isinstance(node, dict):
        scripts = [node[key] for key in ("before_script", "run", "script") if key in node]
        lines = [line for part in scripts for line in ([part] if isinstance(part, str) else part)]
        nested = [value for key, value in node.items() if key not in {"run", "script", "before_script"}]
        return [each for line in lines for each in line.splitlines()] + [
            line for value in nested for line in commands(value)
        ]
    return [line for value in node for line in commands(value)] if isinstance(node, list) else []


def called(node: Any) -> list[str]:
    """The make targets among them."""
    return [match[1] for line in commands(node) if (match := re.match(r"make ([a-z0-9-]+)", line.strip()))]


def jobs(path: str) -> dict[str, Any]:
    """The jobs of a pipeline by name."""
    pipeline = yaml.safe_load(text(path))
    if "jobs" in pipeline:
        return dict(pipeline["jobs"])
    return {name: job for name, job in pipeline.items() if isinstance(job, dict) and "stage" in job and name[0] != "."}


def before(path: str, name: str) -> set[str]:
    """The jobs that must have succeeded before this one begins."""
    pipeline, found = yaml.safe_load(text(path)), jobs(path)
    if "stages" in pipeline:
        earlier = pipeline["stages"][: pipeline["stages"].index(found[name]["stage"])]
        return {other for other, job in found.items() if job["stage"] in earlier}
    needs = found[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(before(path, other) for other in direct))


@pytest.mark.parametrize("path", PIPELINES)
def test_a_pipeline_calls_make_targets_that_exist(path: str) -> None:
    assert set(called(yaml.safe_load(text(path)))) - targets() == set()


@pytest.mark.parametrize("path", PIPELINES)
def test_nothing_is_released_before_all_tests_have_passed(path: str) -> None:
    release = next(name for name, job in jobs(path).items() if "push" in called(job))
    earlier = [line for name in before(path, release) for line in commands(jobs(path)[name])]
    assert {f".ci/run {what}" for what in TESTS} <= set(earlier)


@pytest.mark.parametrize("path", PIPELINES)
def test_what_is_pushed_has_a_bill_of_materials_and_was_scanned(path: str) -> None:
    release = next(job for job in jobs(path).values() if "push" in called(job))
    assert called(release) == list(RELEASE)


@pytest.mark.parametrize("path", PIPELINES)
@pytest.mark.parametrize(("name", "target"), DEPLOYMENTS.items())
def test_only_what_was_released_is_deployed(path: str, name: str, target: str) -> None:
    assert target in called(jobs(path)[name])
    assert any("push" in called(jobs(path)[other]) for other in before(path, name))


def test_every_action_is_pinned_to_what_it_was_when_it_was_read() -> None:
    uses = re.findall(r"uses: (\S+)", text(PIPELINES[0]))
    assert uses
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


def test_a_deployment_waits_for_somebody_to_approve_it() -> None:
    github = yaml.safe_load(text(PIPELINES[0]))["jobs"]
    gitlab = yaml.safe_load(text(PIPELINES[1]))
    for name in DEPLOYMENTS:
        assert github[name]["environment"] == "production"
        assert gitlab[name]["environment"] == "production"
        assert [rule["when"] for rule in gitlab[name]["rules"]] == ["manual"]
