"""Rules for the manifests, independent of the images: each check returns the violations, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.k8s.images import cores, size
from tests.k8s.manifests import Document, Documents, of_kind, pods, references

COMPONENTS = {"config", "api", "worker", "beat", "migrate", "backup", "database", "redis", "ingress"}
"""ops/k8s.sh applies by these labels: what had another one, or none, would never be applied before the migration."""

_EVERYWHERE = {
    "Namespace", "ServiceAccount", "ConfigMap", "Service", "Deployment", "Job", "CronJob", "HorizontalPodAutoscaler",
    "PodDisruptionBudget", "NetworkPolicy", "PersistentVolumeClaim",
}  # fmt: skip
KINDS = {
    "dev": _EVERYWHERE | {"Secret", "StatefulSet"},
    "vke": _EVERYWHERE | {"Secret", "Ingress", "IngressClass"},
    "backup-upload": _EVERYWHERE | {"Secret", "Ingress", "IngressClass"},
    "external-secrets": _EVERYWHERE | {"SecretStore", "ExternalSecret", "Ingress", "IngressClass"},
}
BY_HAND = {("Secret", "backup-upload")}
"""The objects that an operator makes by README.md."""

CLUSTER_WIDE = {"Namespace", "IngressClass"}


def namespaces(documents: Documents) -> Iterator[str]:
    """Check that all objects are in one namespace, which admits no pod that could harm the node."""
    (namespace,) = of_kind(documents, "Namespace")
    name, labels = namespace["metadata"]["name"], namespace["metadata"]["labels"]
    for mode in ("enforce", "warn", "audit"):
        if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
            yield f"Namespace: {mode} is not restricted."
        if labels.get(f"pod-security.kubernetes.io/{mode}-version") != "latest":
            yield f"Namespace: {mode} is not that of the cluster's own release."
    for document in documents:
        metadata = document["metadata"]
        if (document["kind"] not in CLUSTER_WIDE) != (metadata.get("namespace") == name):
            yield f"{document['kind']} {metadata['name']}: it is not in {name}."
        if metadata.get("labels", {}).get("app.kubernetes.io/component") not in COMPONENTS:
            yield f"{document['kind']} {metadata['name']}: ops/k8s.sh would not know when to apply it."
        if metadata["labels"].get("app.kubernetes.io/name") != "todo":
            yield f"{document['kind']} {metadata['name']}: it does not say what it belongs to."


def hardening(documents: Documents) -> Iterator[str]:
    """Pod Security's `restricted`, and beyond it a read-only root and nothing of the cluster's."""
    for name, pod in pods(documents).items():
        context, container = pod.spec.get("securityContext", {}), pod.container.get("securityContext", {})
        for right, sentence in (
            (context.get("runAsNonRoot") is True and container.get("runAsNonRoot", True), "may run as root"),
            (context.get("seccompProfile") == {"type": "RuntimeDefault"}, "has every system call"),
            (container.get("allowPrivilegeEscalation") is False, "may gain privileges"),
            (container.get("readOnlyRootFilesystem") is True, "can write to its image"),
            (container.get("capabilities") == {"drop": ["ALL"]}, "has capabilities"),
            (not container.keys() & {"privileged", "procMount", "seccompProfile"}, "is privileged"),
            (not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}, "is in the node"),
            (not pod.spec.keys() & {"initContainers", "ephemeralContainers"}, "has containers that nobody looks at"),
            (pod.spec.get("automountServiceAccountToken") is False, "gets a token"),
            (pod.spec.get("enableServiceLinks") is False, "gets other services' addresses as variables"),
        ):
            if not right:
                yield f"{name}: it {sentence}."
        for volume in pod.spec.get("volumes", []):
            if not volume.keys() & {"emptyDir", "configMap", "projected", "persistentVolumeClaim"}:
                yield f"{name}: {volume['name']} is of a kind that is not used here."
        if not all({"cpu", "memory"} == pod.container["resources"][kind].keys() for kind in ("requests", "limits")):
            yield f"{name}: it does not say what it needs and what it may take."
        requests, limits = pod.container["resources"]["requests"], pod.container["resources"]["limits"]
        if size(requests["memory"]) > size(limits["memory"]) or cores(requests["cpu"]) > cores(limits["cpu"]):
            yield f"{name}: it needs more than it may take."


def identities(documents: Documents) -> Iterator[str]:
    """Check that every workload has its own service account, without a token, and that none has rights."""
    for account in of_kind(documents, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']}: it hands out tokens."
    expected = {"restore": "backup", "db": "database"}
    for name, pod in pods(documents).items():
        if pod.spec.get("serviceAccountName") != expected.get(name, name):
            yield f"{name}: its account is {pod.spec.get('serviceAccountName')}."
    for document in documents:
        if "rbac.authorization.k8s.io" in document["apiVersion"]:
            yield f"{document['kind']} {document['metadata']['name']}: nothing here needs rights."


def names(documents: Documents) -> Iterator[str]:
    """Whatever is referred to is there, and whatever is generated changes its name with its content."""
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    fetched = {("Secret", secret["spec"]["target"]["name"]) for secret in of_kind(documents, "ExternalSecret")}
    for name, pod in pods(documents).items():
        for reference in references(pod):
            if reference not in there | fetched | BY_HAND:
                yield f"{name}: there is no {' '.join(reference)}."
    for kind, name in there:
        if kind in {"ConfigMap", "Secret"} and not re.fullmatch(r"[a-z-]+-[a-z0-9]{10}", name):
            yield f"{kind} {name}: its name does not change with its content."
    (job,) = of_kind(documents, "Job")
    tag = re.sub(
        r"[^a-z0-9]", "-", job["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2].lower()
    )
    if not re.fullmatch(rf"migrate-{tag}-[0-9a-f]{{10}}", job["metadata"]["name"]):
        yield f"Job {job['metadata']['name']}: its name does not carry the tag and a hash."


def labels(documents: Documents) -> Iterator[str]:
    """Pods have the labels by which Services, policies and budgets know them."""
    components = {"db": "database", "restore": "backup"}
    for name, pod in pods(documents).items():
        component = components.get(name, name)
        if pod.labels != {"app.kubernetes.io/name": "todo", "app.kubernetes.io/component": component}:
            yield f"{name}: its labels are {pod.labels}."
        if pod.name != name:
            yield f"{name}: its container is named {pod.name}."


def rollouts(documents: Documents) -> Iterator[str]:
    """Selectors select their own pods; the API and the worker are never fewer than they were, and beat is never two."""
    for document in of_kind(documents, "Deployment", "StatefulSet"):
        name, spec = document["metadata"]["name"], document["spec"]
        labels = spec["template"]["metadata"]["labels"]
        if spec["selector"] != {"matchLabels": {"app.kubernetes.io/component": labels["app.kubernetes.io/component"]}}:
            yield f"{name}: its selector does not select its pods."
        if name in {"api", "worker"}:
            if spec["strategy"] != {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}:
                yield f"{name}: while it is rolled out there are fewer."
            yield from _spread(name, spec["template"]["spec"].get("topologySpreadConstraints", []))
        elif spec["replicas"] != 1:
            yield f"{name}: there is to be one."
        if name in {"beat", "redis"} and spec["strategy"] != {"type": "Recreate"}:
            yield f"{name}: while it is rolled out there are two."
        if document["kind"] == "Deployment" and spec.get("revisionHistoryLimit", 10) < 2:
            yield f"{name}: there is nothing to roll back to."
    if "api" not in {service["metadata"]["name"] for service in of_kind(documents, "Service")}:
        yield "Service api: there is none."
    for service in of_kind(documents, "Service"):
        name = service["metadata"]["name"]
        component = "database" if name == "db" else name
        if service["spec"]["selector"] != {"app.kubernetes.io/component": component}:
            yield f"Service {name}: its selector does not select its pods."
        if service["spec"]["type"] != "ClusterIP":
            yield f"Service {name}: it opens a way in of its own."
        if name == "db" and service["spec"].get("clusterIP") != "None":
            yield "Service db: a StatefulSet's Service is headless."


def releases(documents: Documents) -> Iterator[str]:
    """API, worker and beat say of which release they are, and it is one: a rollback goes by that."""
    found = {}
    for name in ("api", "worker", "beat"):
        pod = pods(documents)[name]
        found[name] = pod.template["metadata"]["annotations"]["todo/release"]
        tag = re.escape(pod.container["image"].rpartition(":")[2])
        if not re.fullmatch(rf"{tag}-[0-9a-f]{{10}}", found[name]):
            yield f"{name}: it says that its release is {found[name]}."
    if len(set(found.values())) != 1:
        yield f"They are of several releases: {found}."


def _spread(name: str, constraints: list[Document]) -> Iterator[str]:
    for constraint in constraints:
        if constraint["labelSelector"] != {"matchLabels": {"app.kubernetes.io/component": name}}:
            yield f"{name}: it is spread by other pods than its own."
        if constraint["matchLabelKeys"] != ["pod-template-hash"] or constraint["whenUnsatisfiable"] != "ScheduleAnyway":
            yield f"{name}: a small cluster could not roll it out."
    if [item["topologyKey"] for item in constraints] != ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]:
        yield f"{name}: it is not spread over zones and nodes."
    if any(constraint["maxSkew"] != 1 for constraint in constraints):
        yield f"{name}: it is not spread evenly."
