"""Parses the output of `make k8s-render` into documents and pods."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-k8s" / "bin"
KUBECTL = TOOLS / "kubectl"
OVERLAYS = ("dev", "vke")
OPTIONS = {"external-secrets": "vke", "backup-upload": "vke"}
"""The optional components, and the overlay that they go with."""

Document = dict[str, Any]
Documents = list[Document]


@lru_cache
def render(overlay: str, tag: str = "dev") -> str:
    """Render an overlay or an optional component in a fresh clone, with the operator's own command."""
    with tree() as root:
        if overlay in OPTIONS:
            example = (root / "k8s/overlays/vke/cluster.env.example").read_text()
            chosen = example.replace("COMPONENTS=", f"COMPONENTS={overlay}")
            (root / "k8s/overlays/vke/cluster.env").write_text(chosen)
        done = operate("render", OPTIONS.get(overlay, overlay), root=root, TAG=tag)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def operate(action: str, overlay: str, *, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ops/k8s.sh, and nothing of this environment decides what it does."""
    command = [str(root / "ops" / "k8s.sh"), action, overlay]
    environment = {"PATH": os.environ["PATH"], "KUBECTL": str(KUBECTL), "KUBECONFIG": os.devnull, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def tree() -> Iterator[Path]:
    """A fresh clone, as far as the manifests go, for files of one's own."""
    with TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("k8s", "ops"):
            shutil.copytree(ROOT / name, copy / name, ignore=_own_files)
        yield copy


def _own_files(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if f"{name}.example" in names}


def documents(overlay: str, tag: str = "dev") -> Documents:
    """The same, parsed: a fresh copy each time, to be changed at will."""
    return parse(render(overlay, tag))


def parse(text: str) -> Documents:
    """The documents of a stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: Documents, *kinds: str) -> Documents:
    """Return the documents of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def find(documents: Documents, kind: str, name: str) -> Document:
    """The one of this name; generated names are known by what they begin with."""
    (found,) = [
        document
        for document in of_kind(documents, kind)
        if document["metadata"]["name"] == name or document["metadata"]["name"].rpartition("-")[0] == name
    ]
    return found


@dataclass
class Pod:
    """A pod template, and the documents that it refers to."""

    owner: Document
    template: Document
    documents: Documents

    @property
    def name(self) -> str:
        """The only container's name, which is the workload's."""
        return str(self.container["name"])

    @property
    def component(self) -> str:
        """Return the component of the pod."""
        return str(self.labels["app.kubernetes.io/component"])

    @property
    def labels(self) -> dict[str, str]:
        """The pod's labels."""
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def spec(self) -> Document:
        """The pod's specification."""
        spec: Document = self.template["spec"]
        return spec

    @property
    def container(self) -> Document:
        """The only container."""
        (container,) = self.spec["containers"]
        found: Document = container
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment that Kubernetes would set."""
        environment: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            config = find(self.documents, "ConfigMap", source["configMapRef"]["name"])
            environment |= {key: str(value) for key, value in (config.get("data") or {}).items()}
        return environment | {entry["name"]: self._value(entry) for entry in self.container.get("env", [])}

    def _value(self, entry: Document) -> str:
        if "value" in entry:
            return str(entry["value"])
        source = entry["valueFrom"]["configMapKeyRef"]
        return str(find(self.documents, "ConfigMap", source["name"])["data"][source["key"]])

    def volume(self, name: str) -> Document:
        """A volume by its name; one that a StatefulSet claims has no more than that."""
        claims = [{"name": claim["metadata"]["name"]} for claim in self.owner["spec"].get("volumeClaimTemplates", [])]
        (volume,) = [volume for volume in [*self.spec.get("volumes", []), *claims] if volume["name"] == name]
        return dict(volume)

    def mounts(self) -> dict[str, Document]:
        """The volumes by the paths that they are mounted at."""
        return {mount["mountPath"]: self.volume(mount["name"]) for mount in self.container.get("volumeMounts", [])}

    def files(self, path: str) -> dict[str, bytes]:
        """Return the files of a folder that is mounted from ConfigMaps and Secrets."""
        volume = self.mounts()[path]
        if "configMap" in volume:
            return config_files(find(self.documents, "ConfigMap", volume["configMap"]["name"]))
        found: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            if "configMap" in source:
                found |= config_files(find(self.documents, "ConfigMap", source["configMap"]["name"]))
            else:
                data = find(self.documents, "Secret", source["secret"]["name"])["data"]
                found |= {item["path"]: base64.b64decode(data[item["key"]] or "") for item in source["secret"]["items"]}
        return found


def config_files(config: Document) -> dict[str, bytes]:
    """A ConfigMap's content, as the files that it becomes."""
    return {key: value.encode() for key, value in (config.get("data") or {}).items()}


def pods(documents: Documents) -> dict[str, Pod]:
    """Every pod template by its workload's name (`migrate` for that of any release)."""
    found = {}
    for document in of_kind(documents, "Deployment", "StatefulSet", "Job"):
        found[_plain_name(document)] = Pod(document, document["spec"]["template"], documents)
    for document in of_kind(documents, "CronJob"):
        template = document["spec"]["jobTemplate"]["spec"]["template"]
        found[document["metadata"]["name"]] = Pod(document, template, documents)
    return found


def _plain_name(document: Document) -> str:
    name: str = document["metadata"]["name"]
    return name.partition("-")[0] if document["kind"] == "Job" else name


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """The kind and name of everything that a pod cannot start without."""
    yield "ServiceAccount", pod.spec["serviceAccountName"]
    for source in pod.container.get("envFrom", []):
        yield "ConfigMap", source["configMapRef"]["name"]
    for entry in pod.container.get("env", []):
        if "valueFrom" in entry:
            yield "ConfigMap", entry["valueFrom"]["configMapKeyRef"]["name"]
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        for source in volume.get("projected", {}).get("sources", []):
            for kind, key in (("ConfigMap", "configMap"), ("Secret", "secret")):
                if key in source:
                    yield kind, source[key]["name"]
