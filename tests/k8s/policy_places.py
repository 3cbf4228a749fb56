"""Rules for connections between pods, the entrance from outside, and the cloud's own names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.k8s import policy, policy_numbers
from tests.k8s.contract import Check
from tests.k8s.manifests import Documents, Pod, find, of_kind, pods
from tests.k8s.network import Peer, may_speak


def peers(documents: Documents) -> dict[str, Peer]:
    """Return every peer that could connect to our pods, or they to it."""
    found = {pod.component: Peer(pod.component, "todo", pod.labels) for pod in pods(documents).values()}
    for name, namespace in (("dns", "kube-system"), ("monitoring", "monitoring"), ("neighbour", "default")):
        found[name] = Peer(name, namespace)
    for name, address in (
        ("internet", "1.1.1.1"),
        ("internet-6", "2606:4700::1111"),
        ("metadata", "169.254.169.254"),
        ("metadata-volcengine", "100.96.0.96"),
        ("private", "10.1.2.3"),
        ("private-6", "fd00::1"),
        ("node", "172.16.0.7"),
        ("vpc", "192.168.1.10"),
        ("load-balancer", "100.64.3.4"),
    ):
        found[name] = Peer(name, address=address)
    return found


def edges(documents: Documents) -> set[tuple[str, str, str]]:
    """Return the allowed connections: source, target and port."""
    everybody = peers(documents)
    ports = [("UDP", 53), *(("TCP", port) for port in (22, 25, 53, 80, 443, 465, 587, 5432, 6379, 8000, 8443, 9000))]
    return {
        (source.name, target.name, f"{port}/{protocol}")
        for source in everybody.values()
        for target in everybody.values()
        if "todo" in {source.namespace, target.namespace}
        for protocol, port in ports
        if may_speak(documents, source, target, (protocol, port))
    }


def network(documents: Documents) -> Iterator[str]:
    """Exactly the edges that are needed are open."""
    ours = {pod.component for pod in pods(documents).values()}
    expected = {(name, "dns", port) for name in ours for port in ("53/UDP", "53/TCP")}
    expected |= {("monitoring", name, "9000/TCP") for name in ("api", "worker")}
    expected |= {
        ("worker", target, f"{port}/TCP")
        for target in ("internet", "internet-6")
        for port in (22, 25, 53, 80, 443, 465, 587, 5432, 6379, 8000, 8443, 9000)
    }
    if "BACKUP_UPLOAD_COMMAND" in pods(documents)["backup"].environment:
        expected |= {("backup", target, "443/TCP") for target in ("internet", "internet-6")}
    database, redis = ("database", "redis") if "database" in ours else ("vpc", "vpc")
    expected |= {(name, database, "5432/TCP") for name in ("api", "worker", "migrate", "backup")}
    expected |= {(name, redis, "6379/TCP") for name in ("api", "worker", "beat")}
    if of_kind(documents, "Ingress"):
        # The whole range is ALB's own. Volcengine's metadata service has an address in it, but opens no connections.
        expected |= {(name, "api", "8000/TCP") for name in ("load-balancer", "metadata-volcengine")}
    found = edges(documents)
    yield from (f"{source} may speak to {target} on {port}." for source, target, port in sorted(found - expected))
    yield from (f"{source} cannot speak to {target} on {port}." for source, target, port in sorted(expected - found))


def way_in(documents: Documents) -> Iterator[str]:
    """People come in by TLS, to the API's own port and no other; plain HTTP leads there."""
    ingresses = of_kind(documents, "Ingress")
    if not ingresses:
        return
    prefix = "ingress.vke.volcengine.com/loadbalancer-"
    (entry,) = of_kind(documents, "IngressClass")
    parameters = {
        "apiGroup": "loadbalancer.vke.volcengine.com",
        "kind": "ALBInstance",
        "name": "todo",
        "scope": "Cluster",
    }
    if entry["spec"] != {"controller": "ingress.vke.volcengine.com/alb", "parameters": parameters}:
        yield "IngressClass: it is not ALB's."
    hosts = {rule["host"] for ingress in ingresses for rule in ingress["spec"]["rules"]}
    url: str = find(documents, "ConfigMap", "settings")["data"]["PUBLIC_URL"]
    if {f"https://{host}" for host in hosts} != {url}:
        yield f"{sorted(hosts)} lead here, and mails lead to {url}."
    for ingress in ingresses:
        name, spec, annotations = ingress["metadata"]["name"], ingress["spec"], ingress["metadata"]["annotations"]
        if spec["ingressClassName"] != entry["metadata"]["name"] or annotations[f"{prefix}pass-through"] != "true":
            yield f"Ingress {name}: ALB does not lead straight to the pods."
        (path,) = spec["rules"][0]["http"]["paths"]
        if (path["path"], path["pathType"]) != ("/", "Prefix"):
            yield f"Ingress {name}: some paths lead nowhere."
        listener = (annotations[f"{prefix}port"], annotations[f"{prefix}protocol"])
        backend = path["backend"]["service"]
        if name == "api":
            if listener != ("443", "https") or spec["tls"] != [{"hosts": [*hosts], "secretName": "tls"}]:
                yield "Ingress api: it is not by TLS."
            if backend != {"name": "api", "port": {"number": 80}}:
                yield f"Ingress api: it leads to {backend}."
        else:
            (rule,) = json.loads(annotations[f"{prefix}rules-configs"])
            to_tls = {"protocol": "HTTPS", "port": 443, "httpCode": "308"}
            if listener != ("80", "http") or rule != {
                "host": spec["rules"][0]["host"],
                "path": "/",
                "ruleAction": "Redirect",
                "redirectConfig": to_tls,
            }:
                yield f"Ingress {name}: plain HTTP does not lead to TLS."
            if backend != {"name": "redirect", "port": {"name": "use-annotation"}}:
                yield f"Ingress {name}: without its rule it would serve plain HTTP."


def places(documents: Documents) -> Iterator[str]:
    """On VKE there are both ways in, images come from the registry with its password, and volumes from ebs-ssd."""
    if not of_kind(documents, "IngressClass"):
        return
    if {ingress["metadata"]["name"] for ingress in of_kind(documents, "Ingress")} != {"api", "redirect"}:
        yield "The Ingress for HTTPS, or the one that redirects to it, is not there."
    for name, pod in pods(documents).items():
        if pod.spec.get("imagePullSecrets") != [{"name": "registry"}]:
            yield f"{name}: it cannot fetch its image."
        if not re.match(r"[a-z0-9-]+\.cr\.volces\.com/", pod.container["image"]):
            yield f"{name}: {pod.container['image']} cannot be reached from mainland China."
    for claim in of_kind(documents, "PersistentVolumeClaim"):
        if claim["spec"].get("storageClassName") != "ebs-ssd" or claim["spec"]["accessModes"] != ["ReadWriteOnce"]:
            yield f"PersistentVolumeClaim {claim['metadata']['name']}: there is no such storage."


def fetched_secrets(documents: Documents) -> Iterator[str]:
    """Check that with External Secrets we define no Secret, and that all secrets of pods are fetched."""
    fetched = of_kind(documents, "ExternalSecret")
    if not fetched:
        return
    (external,), (store,) = fetched, of_kind(documents, "SecretStore")
    if {external["apiVersion"], store["apiVersion"]} != {"external-secrets.io/v1"}:
        yield "ExternalSecret: its version is not v1."
    if external["spec"]["secretStoreRef"] != {"kind": "SecretStore", "name": store["metadata"]["name"]}:
        yield "ExternalSecret: there is no such store."
    if store["spec"]["provider"].keys() != {"volcengine"}:
        yield "SecretStore: it is not Volcengine's."
    if external["spec"]["target"] != {"name": "secrets", "creationPolicy": "Owner"}:
        yield "ExternalSecret: it makes another Secret than the one that pods mount."
    found = {entry["secretKey"] for entry in external["spec"]["data"]}
    needed: set[str] = set()
    for pod in pods(documents).values():
        needed |= set(_needed(pod))
    if found != needed:
        yield f"ExternalSecret: it fetches {sorted(found)}, and {sorted(needed)} are needed."
    if any(entry["remoteRef"] != {"key": "todo", "property": entry["secretKey"]} for entry in external["spec"]["data"]):
        yield "ExternalSecret: a value is another one's."


def _needed(pod: Pod) -> Iterator[str]:
    for source in pod.mounts()["/run/secrets"]["projected"]["sources"]:
        if "secret" in source:
            yield from (item["key"] for item in source["secret"]["items"])


POLICIES: dict[str, Check] = {
    check.__name__: check
    for check in (
        policy.namespaces,
        policy.hardening,
        policy.identities,
        policy.names,
        policy.labels,
        policy.rollouts,
        policy.releases,
        policy_numbers.patience,
        policy_numbers.scaling,
        policy_numbers.jobs,
        network,
        way_in,
        places,
        fetched_secrets,
    )
}


def problems(name: str, documents: Documents) -> list[str]:
    """Return the findings of one check. A manifest without the fields that it reads is a finding too."""
    try:
        return list(POLICIES[name](documents))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        return [f"{name}: something is missing ({error!r})."]
