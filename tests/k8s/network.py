"""Evaluates NetworkPolicies: a pod that none selects is open; any other has only the connections that one allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.k8s.manifests import Document, Documents, of_kind


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod or an address."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    address: str = ""


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Tell whether a selector matches a pod with these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "In":
            raise ValueError(f"{expression['operator']} is not known here")
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _is_peer(rule: Document, peer: Peer, home: str) -> bool:
    if "ipBlock" in rule:
        if not peer.address:
            return False
        address, block = ip_address(peer.address), rule["ipBlock"]
        inside = address in ip_network(block["cidr"])
        return inside and not any(address in ip_network(network) for network in block.get("except", []))
    if not peer.namespace:
        return False
    if "namespaceSelector" in rule:
        if not selects(rule["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != home:
        return False
    return selects(rule.get("podSelector", {}), peer.labels)


def _is_port(rule: Document, protocol: str, port: int) -> bool:
    if rule.get("protocol", "TCP") != protocol:
        return False
    if "port" not in rule:
        return True
    first: int = rule["port"]
    last: int = rule.get("endPort", first)
    return first <= port <= last


def _lets(documents: Documents, direction: str, pod: Peer, other: Peer, at: tuple[str, int]) -> bool:
    policies = [
        policy["spec"]
        for policy in of_kind(documents, "NetworkPolicy")
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    side = "from" if direction == "Ingress" else "to"
    return not policies or any(
        ("ports" not in rule or any(_is_port(entry, *at) for entry in rule["ports"]))
        and (side not in rule or any(_is_peer(peer, other, pod.namespace) for peer in rule[side]))
        for policy in policies
        for rule in policy.get(direction.lower(), [])
    )


def may_speak(documents: Documents, source: Peer, target: Peer, at: tuple[str, int]) -> bool:
    """Tell whether one reaches the other. Peers outside of our namespace count as without policies."""
    out = source.namespace != "todo" or _lets(documents, "Egress", source, target, at)
    return out and (target.namespace != "todo" or _lets(documents, "Ingress", target, source, at))
