"""Reads compose.yaml and services/Dockerfile, with which the manifests are compared."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from tests.k8s.manifests import ROOT

_VARIABLE = re.compile(r"\$\{(\w+):-([^${}]*)\}")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True)
class Image:
    """The image of a target of services/Dockerfile."""

    command: list[str]
    user: str
    ports: set[int]
    healthcheck: list[str]


@lru_cache
def image(service: str) -> Image:
    """The image of one of our services, with what it has from the stage that both begin with."""
    text = (ROOT / "services" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    stages = {stage.partition("\n")[0].rpartition(" AS ")[2]: stage for stage in text.split("\nFROM ")[1:]}
    lines = stages["image"] + stages[service]
    one = dict(re.findall(r"^(CMD|USER|EXPOSE|HEALTHCHECK) (.*)$", lines, re.MULTILINE))
    return Image(
        command=json.loads(one["CMD"]),
        user=one["USER"],
        ports={int(port) for port in one["EXPOSE"].split()},
        healthcheck=json.loads(one["HEALTHCHECK"].partition(" CMD ")[2]),
    )


@lru_cache
def compose() -> dict[str, Any]:
    """compose.yaml in development: every variable at its default."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = _plain(yaml.safe_load(text))
    return loaded


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        before = None
        while before != value:
            before, value = value, _VARIABLE.sub(r"\2", value)
        return value.replace("$$", "$")
    return value


def service(name: str) -> dict[str, Any]:
    """Return one of Compose's services."""
    found: dict[str, Any] = compose()["services"][name]
    return found


@lru_cache
def production_secrets() -> frozenset[str]:
    """The names of the files that compose.prod.yaml has in /run/secrets."""

    class Tolerant(yaml.SafeLoader):
        """Reads past Compose's own tags."""

    Tolerant.add_multi_constructor("!", lambda *_: None)
    loaded = yaml.load((ROOT / "compose.prod.yaml").read_text(encoding="utf-8"), Tolerant)
    return frozenset(loaded["secrets"])


def size(text: str) -> int:
    """Bytes: of Compose's 64m and of Kubernetes' 64Mi."""
    number, unit = re.fullmatch(r"(\d+)([kmg]?)i?b?", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS.get(unit, 1)


def cores(text: str | float) -> float:
    """Of Compose's 0.5 and of Kubernetes' 500m."""
    text = str(text)
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def tmpfs(name: str) -> dict[str, int]:
    """A service's temporary folders and their sizes."""
    found = {}
    for entry in service(name)["tmpfs"]:
        path, _, options = entry.partition(":")
        found[path] = size(dict(option.partition("=")[::2] for option in options.split(","))["size"])
    return found
