"""Bounds on numbers and times: each check returns the values out of bounds, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.k8s import images
from tests.k8s.contract import default, option
from tests.k8s.images import cores
from tests.k8s.manifests import Documents, find, of_kind, pods

RDS_CONNECTIONS = 400
"""The connections of RDS that README.md requires."""

RESERVE = 20
"""Connections for PostgreSQL's own superusers (3), a migration (2), a backup and a restore (2 each), and people."""

PATIENCE = {
    "api": {"startupProbe": (60, 300, 2), "livenessProbe": (30, 120, 5), "readinessProbe": (60, 90, 4)},
    # Each look starts a Python, on a node that may be busy.
    "worker": {"startupProbe": (60, 300, 10), "livenessProbe": (60, 120, 10)},
    "beat": {"startupProbe": (60, 300, 10), "livenessProbe": (60, 120, 10)},
    "db": {"startupProbe": (60, 300, 3), "livenessProbe": (60, 300, 5), "readinessProbe": (10, 60, 3)},
    "redis": {"livenessProbe": (15, 120, 3), "readinessProbe": (10, 60, 3)},
}
"""The least and most seconds that a probe may fail, and the least time limit of one probe.

The API's readiness: while PostgreSQL is away it answers with a problem and Retry-After, which is more than a load
balancer without pods has to say. A failover of RDS takes half a minute; a pod that alone cannot reach it has to go.
"""


def patience(documents: Documents) -> Iterator[str]:
    """Check that no container is killed for a slow start or load, and that one that hangs is restarted."""
    for name, expected in PATIENCE.items():
        if name not in pods(documents):
            continue
        container = pods(documents)[name].container
        for probe, (least, most, look) in expected.items():
            found = container[probe]
            seconds = found["periodSeconds"] * found["failureThreshold"]
            if not least <= seconds <= most:
                yield f"{name}: its {probe} gives up after {seconds} s, and {least} to {most} s are right."
            if found["timeoutSeconds"] < look:
                yield f"{name}: its {probe} waits for {found['timeoutSeconds']} s, and {look} s may be needed."
            if found.get("initialDelaySeconds", 0) or found.get("successThreshold", 1) != 1:
                yield f"{name}: its {probe} is late."


def held(documents: Documents) -> int:
    """The connections to PostgreSQL that all pods hold together when there are as many as there may be."""
    connections = 0.0
    processes = {"api": 1, "worker": int(option(images.image("worker").command, "--concurrency"))}
    for name, count in processes.items():
        environment = pods(documents)[name].environment
        pools = ("DATABASE_POOL_SIZE", "DATABASE_STATEMENT_POOL_SIZE")
        each = sum(float(environment.get(pool) or default(pool)) for pool in pools)
        connections += find(documents, "HorizontalPodAutoscaler", name)["spec"]["maxReplicas"] * count * each
    return int(connections)


def let_in(documents: Documents) -> int:
    """The connections that PostgreSQL takes."""
    if "db" not in pods(documents):
        return RDS_CONNECTIONS
    (found,) = re.findall(r"max_connections=(\d+)", " ".join(pods(documents)["db"].container["args"]))
    return int(found)


def scaling(documents: Documents) -> Iterator[str]:
    """Two at least, on a figure that every cluster has, and never more than PostgreSQL lets in."""
    for name in ("api", "worker"):
        scaler = find(documents, "HorizontalPodAutoscaler", name)["spec"]
        deployment = find(documents, "Deployment", name)
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        if scaler["scaleTargetRef"] != {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}:
            yield f"{name}: its autoscaler scales something else."
        if "replicas" in deployment["spec"]:
            yield f"{name}: applying it takes back what its autoscaler has added."
        if not 2 <= scaler["minReplicas"] <= scaler["maxReplicas"]:
            yield f"{name}: {scaler['minReplicas']} to {scaler['maxReplicas']}, and one is not enough to lose one."
        (metric,) = scaler["metrics"]
        if metric["type"] != "Resource" or metric["resource"]["name"] != "cpu":
            yield f"{name}: a cluster has no figure {metric} by itself."
        target = cores(metric["resource"]["target"]["averageValue"])
        if metric["resource"]["target"]["type"] != "AverageValue" or target >= cores(resources["limits"]["cpu"]):
            yield f"{name}: it could never use so much that another one is added."
        if target < cores(resources["requests"]["cpu"]):
            yield f"{name}: another one is added before it uses what it has asked for."
        budget = find(documents, "PodDisruptionBudget", name)["spec"]
        if budget["selector"] != deployment["spec"]["selector"] or budget["maxUnavailable"] != 1:
            yield f"{name}: a drained node may take more than one away."
        if budget["unhealthyPodEvictionPolicy"] != "AlwaysAllow":
            yield f"{name}: a pod that does not start would keep a node from being drained."
    # While a release is rolled out, pods that end still finish what they have, beside a full set of new ones.
    needed = 2 * held(documents) + RESERVE
    if needed > let_in(documents):
        yield f"{needed} connections to PostgreSQL, and it lets in {let_in(documents)}."


def jobs(documents: Documents) -> Iterator[str]:
    """Jobs end; backups come daily and one at a time; a restore never comes by itself."""
    (job,) = of_kind(documents, "Job")
    statement_ms = default("DATABASE_MIGRATION_STATEMENT_TIMEOUT_MS")
    if job["spec"]["activeDeadlineSeconds"] < 2 * statement_ms / 1000:
        yield "migrate: it is ended before its statements may be."
    if not job["spec"].get("ttlSecondsAfterFinished") or not 1 <= job["spec"]["backoffLimit"] <= 6:
        yield "migrate: it stays for ever, or is not tried again."
    for cron in of_kind(documents, "CronJob"):
        name, spec = cron["metadata"]["name"], cron["spec"]
        if not spec["jobTemplate"]["spec"].get("ttlSecondsAfterFinished"):
            yield f"{name}: those that are made by hand stay for ever."
        if spec["concurrencyPolicy"] != "Forbid" or "activeDeadlineSeconds" not in spec["jobTemplate"]["spec"]:
            yield f"{name}: two may run at once."
        if spec.get("suspend", False) != (name == "restore"):
            yield f"{name}: whether it comes by itself is the wrong way round."
        if spec["jobTemplate"]["spec"]["backoffLimit"] > (0 if name == "restore" else 6):
            yield f"{name}: it is tried again too often."
    backup = find(documents, "CronJob", "backup")["spec"]
    once_a_day = r"([0-5]?\d) ([01]?\d|2[0-3]) \* \* \*"
    if not re.fullmatch(once_a_day, backup["schedule"]) or backup["timeZone"] != "Etc/UTC":
        yield "backup: it does not come once a day."
    for name, pod in pods(documents).items():
        once = name in {"migrate", "backup", "restore"}
        if pod.spec.get("restartPolicy", "Always") != ("Never" if once else "Always"):
            yield f"{name}: it is started again where it should not be, or the other way round."
