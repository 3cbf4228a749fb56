"""The contract's other half: what a pod is asked, what it finds in its files, and how much it may take."""

from __future__ import annotations

from collections.abc import Iterator

from tests.k8s import contract, images
from tests.k8s.contract import AUTHORITIES, OURS, PUBLIC, SECRETS, SETTINGS, Check
from tests.k8s.manifests import ROOT, Document, Documents, Pod, find, of_kind, pods

_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_ASKS = {"httpGet", "exec", "tcpSocket", "grpc"}


def probes(documents: Documents) -> Iterator[str]:
    """Probes ask what the images answer."""
    live, ready = {"path": "/livez", "port": "http"}, {"path": "/readyz", "port": "http"}
    expected: dict[str, dict[str, Document]] = {
        "api": {
            "startupProbe": {"httpGet": live},
            "livenessProbe": {"httpGet": live},
            "readinessProbe": {"httpGet": ready},
        }
    }
    for name, needed in (
        ("worker", ("startupProbe", "livenessProbe")),
        ("beat", ("startupProbe", "livenessProbe")),
        ("db", _PROBES),
        ("redis", ("livenessProbe", "readinessProbe")),
    ):
        kind, *command = images.service(name)["healthcheck"]["test"]
        if kind != "CMD":
            yield f"{name}: its health check in Compose is no command."
        if name in OURS and images.image(OURS[name]).healthcheck != command:
            yield f"{name}: its image's health check is another one than Compose's."
        expected[name] = {probe: {"exec": {"command": command}} for probe in needed}
    for name, pod in pods(documents).items():
        for probe in _PROBES:
            found = {key: value for key, value in pod.container.get(probe, {}).items() if key in _ASKS}
            wanted = expected.get(name, {}).get(probe, {})
            if found != wanted:
                yield f"{name}: its {probe} asks {found}, and {wanted} is what it answers."


def secrets(documents: Documents) -> Iterator[str]:
    """Secrets are files of the names that are read, each where it is needed and nowhere else."""
    for name, pod in pods(documents).items():
        for problem in _secrets_of(name, pod):
            yield f"{name}: {problem}"
    for kind, name in (("Secret", "secrets"), ("ConfigMap", "certificates")):
        for document in of_kind(documents, kind):
            unknown = document["data"].keys() - images.production_secrets()
            if document["metadata"]["name"].startswith(name) and unknown:
                yield f"{kind} {name}: {sorted(unknown)} are read by nobody."


def _secrets_of(name: str, pod: Pod) -> Iterator[str]:
    volume = pod.mounts()["/run/secrets"]["projected"]
    items = [item for source in volume["sources"] if "secret" in source for item in source["secret"]["items"]]
    found = {item["path"] for item in items}
    if found != SECRETS[name]:
        yield f"its secrets are {sorted(found)}, and {sorted(SECRETS[name])} is right."
    yield from (f"{item['path']} is made of {item['key']}." for item in items if item["key"] != item["path"])
    if any("configMap" in source for source in volume["sources"]) != (name in AUTHORITIES):
        yield f"certificate authorities belong to {sorted(AUTHORITIES)}."
    for secret in pod.files("/run/secrets"):
        if secret not in images.production_secrets():
            yield f"compose.prod.yaml knows no {secret}."
        if name in OURS and not secret.endswith("_ca") and secret.upper() not in SETTINGS:
            yield f"{secret} is no setting."
    if volume["defaultMode"] != 0o440:
        yield "its secrets can be read by others, or not by itself."


def volumes(documents: Documents) -> Iterator[str]:
    """Check that the writable volumes are Compose's, and no larger."""
    lasting = {"db": {"/var/lib/postgresql/data"}, "backup": {"/backups"}, "restore": {"/backups"}}
    for name, pod in pods(documents).items():
        expected = images.tmpfs(PUBLIC.get(name, name))
        if name == "db":
            expected["/dev/shm"] = images.size(images.service("db")["shm_size"])
        found, kept = {}, set()
        for mount in pod.container.get("volumeMounts", []):
            path, volume = mount["mountPath"], pod.volume(mount["name"])
            if "emptyDir" in volume:
                found[path] = images.size(volume["emptyDir"].get("sizeLimit", "0"))
                if volume["emptyDir"].get("medium") != "Memory":
                    yield f"{name}: {path} is no tmpfs."
            elif volume.keys() == {"name"} or "persistentVolumeClaim" in volume:
                kept.add(path)
            writable = path in expected or (path in lasting.get(name, set()) and name != "restore")
            if mount.get("readOnly", False) == writable:
                yield f"{name}: {path} is mounted the wrong way."
        if found != expected:
            yield f"{name}: its temporary folders are {found}, and {expected} in Compose."
        if kept != lasting.get(name, set()):
            yield f"{name}: it keeps {kept}, and {lasting.get(name, set())} is right."


def programs(documents: Documents) -> Iterator[str]:
    """Backups are made and restored by the very programs of ops/."""
    expected = {
        f"{name}.sh": (ROOT / "ops" / f"{name}.sh").read_bytes() for name in ("backup", "backup-common", "restore")
    }
    for name in ("backup", "restore"):
        pod = pods(documents)[name]
        if pod.files("/opt/todo") != expected:
            yield f"{name}: its programs are not those of ops/."
        if pod.mounts()["/opt/todo"]["configMap"]["defaultMode"] != 0o555:
            yield f"{name}: its programs cannot be run, or can be changed."


def limits(documents: Documents) -> Iterator[str]:
    """Memory and cores are those that Compose allows, so that what was tried there holds here."""
    for name, pod in pods(documents).items():
        found = pod.container["resources"]["limits"]
        service = images.service(PUBLIC.get(name, name))
        if images.size(found["memory"]) != images.size(service["mem_limit"]):
            yield f"{name}: its memory is {found['memory']}, and {service['mem_limit']} in Compose."
        if images.cores(found["cpu"]) != images.cores(service["cpus"]):
            yield f"{name}: its cores are {found['cpu']}, and {service['cpus']} in Compose."


def stopping(documents: Documents) -> Iterator[str]:
    """Kubernetes waits longer than a process needs to end in peace."""
    found = pods(documents)
    api, worker = found["api"], found["worker"]
    before = api.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    graceful = int(contract.option(images.image("api").command, "--timeout-graceful-shutdown"))
    if before < 10:
        yield "api: SIGTERM comes before load balancers have heard of it."
    if api.spec["terminationGracePeriodSeconds"] < before + graceful + 5:
        yield "api: it is killed before it has finished its requests."
    grace = float(
        find(documents, "ConfigMap", "settings")["data"].get(
            "WORKER_GRACE_SECONDS", contract.default("WORKER_GRACE_SECONDS")
        )
    )
    if worker.spec["terminationGracePeriodSeconds"] < grace + 10:
        yield "worker: it is killed before it has given back what it cannot finish."
    if "db" in found and found["db"].spec["terminationGracePeriodSeconds"] < 60:
        yield "db: it is killed before its shutdown checkpoint."


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        contract.environment_keys,
        contract.environment_values,
        contract.places,
        contract.ports,
        contract.commands,
        contract.image_names,
        contract.users,
        probes,
        secrets,
        volumes,
        programs,
        limits,
        stopping,
    )
}


def problems(name: str, documents: Documents) -> list[str]:
    """Return the findings of one check. A manifest without the fields that it reads is a finding too."""
    try:
        return list(CHECKS[name](documents))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return [f"{name}: something is missing ({error!r})."]
