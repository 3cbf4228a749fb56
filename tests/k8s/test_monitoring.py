"""What Prometheus is told on Kubernetes: its targets are our pods by the names that the rules have for them, and what
has no source there is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.k8s import images
from tests.k8s.engine import docker
from tests.k8s.manifests import ROOT, documents, pods
from tests.k8s.network import selects

HOME = ROOT / "k8s/monitoring"


def load(path: str) -> Any:
    """A YAML file of k8s/monitoring."""
    return yaml.safe_load((HOME / path).read_text(encoding="utf-8"))


def common() -> list[dict[str, Any]]:
    """The rules that every installation has."""
    paths = sorted((ROOT / "monitoring/prometheus/rules").glob("*.yml"))
    return [rule for path in paths for group in load(str(path))["groups"] for rule in group["rules"]]


def targets() -> list[dict[str, str]]:
    """Return the targets that Prometheus derives from the rendered pods."""
    (scrape,) = load("scrape.yml")["scrape_configs"]
    (discovery,) = scrape["kubernetes_sd_configs"]
    assert (discovery["role"], discovery["namespaces"]) == ("pod", {"names": ["todo"]})
    (selector,) = discovery["selectors"]
    key, values = re.fullmatch(r"(\S+) in \((.*)\)", selector["label"]).groups()  # type: ignore[union-attr]
    expression = {"matchExpressions": [{"key": key, "operator": "In", "values": values.split(", ")}]}
    found = []
    for name, pod in pods(documents("vke")).items():
        if not selects(expression, pod.labels):
            continue
        for port in pod.container.get("ports", []):
            known = {
                "__meta_kubernetes_pod_name": f"{name}-1",
                "__meta_kubernetes_pod_container_port_name": port["name"],
                "__address__": f"10.0.0.1:{port['containerPort']}",
                "job": scrape["job_name"],
            }
            known |= {
                "__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", label): value for label, value in pod.labels.items()
            }
            target = relabelled(known, scrape["relabel_configs"])
            if target:
                found.append({key: value for key, value in target.items() if not key.startswith("__meta")})
    return found


def relabelled(labels: dict[str, str], steps: list[dict[str, Any]]) -> dict[str, str] | None:
    """Relabel as Prometheus does, for the actions used here."""
    for step in steps:
        value = ";".join(labels.get(label, "") for label in step["source_labels"])
        if step.get("action") == "keep":
            if not re.fullmatch(step["regex"], value):
                return None
        else:
            assert step.keys() == {"source_labels", "target_label"}
            labels = labels | {step["target_label"]: value}
    return labels


def test_the_api_and_the_worker_are_measured_under_the_names_that_the_rules_have_for_them() -> None:
    assert targets() == [
        {"__address__": "10.0.0.1:9000", "job": "api", "instance": "api-1"},
        {"__address__": "10.0.0.1:9000", "job": "worker", "instance": "worker-1"},
    ]
    named = {job for rule in common() for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert named == {target["job"] for target in targets()}


WITHOUT = {"pg": "an exporter", "redis": "an exporter", "alertmanager": "itself", "todo_certificate": "the exporter"}
WITHOUT |= {"todo_backup": "the exporter", "todo_backups": "the exporter"}
"""The prefixes of metrics that neither API nor worker has, and the service that would have them."""


def without_a_source() -> set[str]:
    """The alerts that can never fire here."""
    return {
        rule["alert"] for rule in common() if any(re.search(rf"\b{prefix}(_|\b)", rule["expr"]) for prefix in WITHOUT)
    }


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_page_names_the_alerts_that_have_no_source(name: str) -> None:
    page = (ROOT / "k8s" / name).read_text(encoding="utf-8")
    section = re.search(r"^### (?:Metrics and alerts|指标与告警)\n(.*?)^### ", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    here = {rule["alert"] for rule in load("rules.yml")["groups"][0]["rules"]}
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)`", section[1]))
    assert named == without_a_source() | here


def test_every_other_rule_rests_on_what_api_and_worker_have() -> None:
    code = "".join(
        (ROOT / f"services/{name}/src/todo_{name}/metrics.py").read_text(encoding="utf-8") for name in ("api", "worker")
    )
    for rule in common():
        for metric in re.findall(r"\btodo_\w+", rule["expr"]):
            stem = re.sub(r"_(total|bucket|count|sum)$", "", metric)
            assert (f'"{stem}"' in code) != (rule["alert"] in without_a_source()), f"{rule['alert']}: {metric}"


def test_an_alert_of_backups_is_one_of_those_that_are_explained() -> None:
    (backups,) = load("rules.yml")["groups"]
    elsewhere = {rule["alert"]: rule for rule in common()}
    for rule in backups["rules"]:
        assert rule["annotations"]["runbook"] == elsewhere[rule["alert"]]["annotations"]["runbook"]
        assert rule["labels"] == elsewhere[rule["alert"]]["labels"]
        assert 'namespace="todo", cronjob="backup"' in rule["expr"]


@pytest.mark.engine
@pytest.mark.ready
@pytest.mark.timeout(60)
async def test_prometheus_takes_the_configuration_and_the_alerts_of_backups_fire() -> None:
    image = images.service("prometheus")["image"]
    tool = [
        "run",
        "--rm",
        "--network=none",
        f"--volume={HOME}:/k8s:ro",
        "--workdir=/k8s",
        "--entrypoint=promtool",
        image,
    ]
    assert "SUCCESS" in await docker(*tool, "check", "config", "--syntax-only", "scrape.yml")
    assert "SUCCESS" in await docker(*tool, "test", "rules", "rules_test.yml")
