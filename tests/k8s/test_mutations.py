"""The checks themselves: whatever is changed or left out by hand, one of them reports it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s import contract_pods, policy_places
from tests.k8s.manifests import Documents, documents

# The slowest last: it is seldom needed.
CHECKS = sorted(contract_pods.CHECKS.keys() | policy_places.POLICIES.keys(), key=lambda check: check == "network")
Path = tuple[str | int, ...]

FREE = re.compile(
    r"apiVersion$|^ServiceAccount\.\S+\.kind$|^Secret\.\S+\.type$"  # Kubernetes' schemas
    r"|annotations\.checkov"  # checkov's own test lists the exceptions
    r"|\.(periodSeconds|timeoutSeconds|failureThreshold)$"  # how often, and how patiently: `patience` has the bounds
    r"|resources\.requests|(min|max)Replicas$|sizeLimit$"  # what was measured
    r"|fsGroupChangePolicy|terminationGracePeriodSeconds$|preStop\.sleep\.seconds$"  # more is as good
    r"|spec\.behavior|HistoryLimit$|[dD]eadlineSeconds$|backoffLimit$|ttlSecondsAfterFinished$|restore\.spec\.schedule$"
    r"|^ConfigMap\.(settings|certificates)\S*\.data\.|^Secret\.\S+\.data\."  # the operator's own
    r"|^NetworkPolicy\.\S+\.(metadata\.name|endPort|ports\.0\.port|policyTypes\.1)$"  # ports between those asked about
    r"|jobTemplate\.metadata|volumeClaimTemplates|accessModes|serviceName$|loadbalancer-scheduler$"
)
"""The values that may vary. Where such a value has bounds, `WRONG` has one beyond them."""

WRONG: list[tuple[str, str, str, Any]] = [
    # The overlay, the check that reports it, the place, and the value (None: it is left out).
    ("dev", "environment_keys", "ConfigMap.settings.data.DATABASE_POOLSIZE", "7"),
    ("vke", "environment_values", "ConfigMap.settings.data.DATABASE_URL", None),
    (
        "vke",
        "places",
        "ConfigMap.settings.data.DATABASE_URL",
        "postgresql://todo:secret@db:5432/todo?sslmode=verify-full",
    ),
    ("vke", "places", "ConfigMap.settings.data.DATABASE_URL", "postgresql://todo@db:5432/todo?sslmode=require"),
    ("dev", "places", "ConfigMap.settings.data.REDIS_URL", "redis://valkey:6379/0"),
    ("dev", "scaling", "ConfigMap.settings.data.DATABASE_POOL_SIZE", "8"),
    ("vke", "secrets", "ConfigMap.certificates.data.redis_authority", "x"),
    ("dev", "secrets", "Secret.secrets.data.api_key", "eA=="),
    ("dev", "probes", "Deployment.api.{container}.livenessProbe.httpGet.path", "/readyz"),
    ("dev", "probes", "Deployment.api.{container}.startupProbe.httpGet.port", "metrics"),
    ("dev", "image_names", "Deployment.beat.{container}.image", "todo-worker:0.9"),
    ("vke", "places", "CronJob.backup.spec.jobTemplate.{container}.image", "postgres:17-trixie"),
    ("vke", "ports", "Service.api.spec.ports.0.targetPort", "metrics"),
    ("dev", "volumes", "Deployment.api.spec.template.spec.volumes.0.emptyDir.sizeLimit", None),
    ("dev", "stopping", "Deployment.api.spec.template.spec.terminationGracePeriodSeconds", 30),
    ("dev", "stopping", "Deployment.worker.spec.template.spec.terminationGracePeriodSeconds", 20),
    ("dev", "patience", "Deployment.api.{container}.startupProbe.failureThreshold", 1),
    ("dev", "patience", "Deployment.worker.{container}.livenessProbe.timeoutSeconds", 1),
    ("vke", "patience", "Deployment.api.{container}.readinessProbe.failureThreshold", 2),
    ("vke", "patience", "Deployment.api.{container}.readinessProbe.failureThreshold", 200),
    ("vke", "patience", "Deployment.beat.{container}.livenessProbe.failureThreshold", 180),
    ("dev", "scaling", "Deployment.api.spec.replicas", 2),
    ("dev", "scaling", "HorizontalPodAutoscaler.worker.spec.maxReplicas", 20),
    ("vke", "scaling", "HorizontalPodAutoscaler.api.spec.maxReplicas", 12),
    ("vke", "scaling", "HorizontalPodAutoscaler.api.spec.maxReplicas", 1),
    ("vke", "scaling", "HorizontalPodAutoscaler.api.spec.metrics.0.resource.target.averageValue", "1m"),
    ("vke", "scaling", "HorizontalPodAutoscaler.worker.spec.metrics.0.resource.target.averageValue", "2"),
    ("vke", "jobs", "CronJob.backup.spec.schedule", "99 99 * * *"),
    ("vke", "jobs", "CronJob.backup.spec.schedule", "30 24 * * *"),
    ("vke", "jobs", "CronJob.restore.spec.jobTemplate.spec.ttlSecondsAfterFinished", None),
    ("vke", "network", "NetworkPolicy.metrics.spec.ingress.0.from", None),
    ("vke", "network", "NetworkPolicy.load-balancer.spec.ingress.0.from.0.ipBlock.cidr", "10.0.0.0/8"),
    ("backup-upload", "network", "NetworkPolicy.backup-to-internet.spec.egress.0.to.0.ipBlock.except.3", None),
    ("backup-upload", "network", "NetworkPolicy.backup-to-internet.spec.egress", []),
]


def report(check: str, found: Documents) -> list[str]:
    """Return the findings of the check of this name; `places` is one of both kinds."""
    sentences = contract_pods.problems(check, found) if check in contract_pods.CHECKS else []
    return sentences + (policy_places.problems(check, found) if check in policy_places.POLICIES else [])


def parts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every part of a document and its path, each before what it holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from parts(item, (*path, key))


def changed(found: Documents, number: int, path: Path, value: Any = None) -> Documents:
    """The documents with another value in one of them, or (None) without that part."""
    holder: Any = copy.deepcopy(found[number])
    mutant = [*found[:number], holder, *found[number + 1 :]]
    for key in path[:-1]:
        holder = holder[key]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return mutant


def another(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    return (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"


def resolve(found: Documents, place: str) -> tuple[int, Path]:
    """Resolve a place of `WRONG`: the document's number, and the path in it."""
    kind, name, way = place.replace("{container}", "spec.template.spec.containers.0").split(".", 2)
    (number,) = (
        number
        for number, document in enumerate(found)
        if document["kind"] == kind and re.sub(r"-[a-z0-9]{10}$", "", document["metadata"]["name"]) == name
    )
    return number, tuple(int(key) if key.isdigit() else key for key in way.split("."))


@pytest.mark.parametrize(("overlay", "check", "place", "value"), WRONG, ids=[f"{one[2]}={one[3]}" for one in WRONG])
def test_a_wrong_value_is_reported(overlay: str, check: str, place: str, value: Any) -> None:
    found = documents(overlay)
    assert report(check, found) == []
    assert report(check, changed(found, *resolve(found, place), value))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("overlay", ["dev", "vke"])
def test_no_value_can_be_changed_and_nothing_left_out_unnoticed(overlay: str) -> None:
    found = documents(overlay)
    unnoticed = []
    for number, document in enumerate(found):
        name = f"{document['kind']}.{document['metadata']['name']}"
        mutants = [(f"{name} is left out", [*found[:number], *found[number + 1 :]])]
        for path, value in parts(document):
            place = f"{name}.{'.'.join(map(str, path))}"
            if FREE.search(place):
                continue
            if not isinstance(value, dict | list):
                mutants.append((f"{place} is changed", changed(found, number, path, another(value))))
            if ".template.spec." in place:
                mutants.append((f"{place} is left out", changed(found, number, path)))
        unnoticed += [what for what, mutant in mutants if not any(report(check, mutant) for check in CHECKS)]
    assert not unnoticed, "\n".join(unnoticed)
