"""The alert rules, as files: explained in both languages, tested, and resting on metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"


def load(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    files = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
    return [rule for path in files for group in load(path)["groups"] for rule in group["rules"]]


def sections(language: str) -> list[str]:
    """The headings of the runbook that are about one alert, in order."""
    text = (ROOT / "docs" / f"alerts{language}.md").read_text(encoding="utf-8")
    return re.findall(r"^### (\w+)$", text, re.MULTILINE)


def checks() -> list[dict[str, Any]]:
    """Return the expectations in promtool's tests."""
    files = (MONITORING / "prometheus" / "tests").glob("*.yml")
    return [check for path in files for test in load(path)["tests"] for check in test["alert_rule_test"]]


def ours() -> set[str]:
    """The metrics that our code defines, as Prometheus names them."""
    found: set[str] = set()
    for path in (ROOT / "services").glob("*/src/*/*.py"):
        text = path.read_text(encoding="utf-8")
        for kind, name in re.findall(r'(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*"(todo_\w+)"', text):
            found |= {
                "Counter": {f"{name}_total"},
                "Histogram": {f"{name}_bucket", f"{name}_sum", f"{name}_count"},
            }.get(kind, {name})
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_the_runbook_has_every_alert_and_no_other(language: str) -> None:
    assert sorted(sections(language)) == sorted(rule["alert"] for rule in rules())


def test_the_runbooks_have_one_order() -> None:
    assert sections("") == sections(".zh-CN")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_when_it_fires_and_when_it_must_not(rule: dict[str, Any]) -> None:
    expected = {bool(check.get("exp_alerts")) for check in checks() if check["alertname"] == rule["alert"]}
    assert expected == {True, False}


@pytest.mark.parametrize("language", ["", ".zh-CN"])
def test_no_lifetime_that_the_pages_speak_of_sets_off_an_alert_before_a_renewal_is_overdue(language: str) -> None:
    page = (ROOT / "docs" / f"production{language}.md").read_text(encoding="utf-8")
    found = re.search(r"(\d+(?:(?:, |、| or | 或 )\d+)+) (?:days need|天都无需)", page)
    assert found
    thresholds = [
        (int(share), float(days))
        for rule in rules()
        for share, days in re.findall(
            r"< clamp_max\(todo_certificate_lifetime_seconds / (\d+), (\d+) \* 86400\)$", rule["expr"]
        )
        if rule["alert"] in {"CertificateExpiresSoon", "CertificateExpires"}
    ]
    assert len(thresholds) == 2
    for days in map(float, re.findall(r"\d+", found[1])):
        soon, critical = (min(days / share, most) for share, most in thresholds)
        # certbot renews when a third is left, and looks every seven and a half hours at most.
        assert critical < soon < days / 3 - 7.5 / 24


def test_rules_rest_on_metrics_that_the_code_defines() -> None:
    named = {name for rule in rules() for name in re.findall(r"\btodo_\w+", rule["expr"])}
    assert named
    assert named - ours() == set()


def test_what_alertmanager_silences_is_called_by_the_names_of_alerts() -> None:
    text = (MONITORING / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    named = {name for match in re.findall(r'alertname =~? "?([\w|]+)"?', text) for name in match.split("|")}
    assert named
    assert named - {rule["alert"] for rule in rules()} == set()
