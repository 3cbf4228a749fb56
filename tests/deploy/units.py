"""systemd's unit files, as far as ours go: sections, drop-ins, continued lines, quoted words.

It needs nothing but the standard library: tests read units with it here, and manager.py carries them out with it in a
container.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Unit:
    """One unit with its drop-ins: each setting with all that was assigned to it, in order."""

    name: str
    sections: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def all(self, section: str, key: str) -> list[str]:
        """Every value; an empty one takes back those before it."""
        values: list[str] = []
        for value in self.sections.get(section, {}).get(key, []):
            values = [*values, value] if value else []
        return values

    def one(self, section: str, key: str, default: str = "") -> str:
        """The value that counts."""
        return (self.all(section, key) or [default])[-1]

    def words(self, section: str, key: str) -> list[str]:
        """The words of all values."""
        return [word for value in self.all(section, key) for word in shlex.split(value)]

    def environment(self) -> dict[str, str]:
        """What Environment= sets."""
        return dict(word.split("=", 1) for word in self.words("Service", "Environment"))


def load(name: str, folder: Path) -> Unit:
    """Read a unit and the drop-ins that apply to it: `todo-.service.d` is for every `todo-*.service`."""
    unit = Unit(name)
    _read(unit, folder / name)
    stem, _, kind = name.rpartition(".")
    prefixes = [f"{'-'.join(stem.split('-')[:count])}-" for count in range(1, len(stem.split("-")))]
    for place in [*(f"{prefix}.{kind}.d" for prefix in prefixes), f"{name}.d"]:
        for path in sorted((folder / place).glob("*.conf")):
            _read(unit, path)
    return unit


def _read(unit: Unit, path: Path) -> None:
    section = ""
    pending = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith(("#", ";")):
            continue
        if text.endswith("\\"):
            pending += f"{text[:-1]} "
            continue
        text, pending = f"{pending}{text}", ""
        if text.startswith("["):
            section = text.strip("[]")
        elif text:
            key, separator, value = text.partition("=")
            if not separator or not section:
                raise ValueError(f"{path}: {text}")
            unit.sections.setdefault(section, {}).setdefault(key.strip(), []).append(value.strip())


def environment_file(path: Path) -> dict[str, str]:
    """What EnvironmentFile= sets, given plain lines NAME=value."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
