"""The nginx of ECS hosts does what the container's does, except where Debian 12's nginx or its OpenSSL cannot."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONTAINER = ROOT / "nginx"
SITE = (ROOT / "deploy" / "ecs" / "todo.conf.j2").read_text(encoding="utf-8")
NOT_IN_DEBIAN_12 = {"keepalive_min_timeout"}
OF_THE_CONTAINER = {"default", "default_type", "sendfile", "tcp_nopush", "access_log", "include"}
"""What Debian's own nginx.conf has, or what is a matter of places."""


def directives(text: str) -> dict[str, str]:
    """Each simple directive and its value, whatever block it stands in."""
    lines = (line.strip() for line in text.splitlines() if not line.strip().startswith("#"))
    return dict(re.findall(r"^(\w+) +([^{};\n]+);$", "\n".join(lines), re.MULTILINE))


def test_time_limits_sizes_and_compression_are_the_containers() -> None:
    text = (CONTAINER / "nginx.conf").read_text(encoding="utf-8")
    inside = text[text.index("http {") :]
    expected = {
        name: value
        for name, value in directives(inside).items()
        if name not in NOT_IN_DEBIAN_12 | OF_THE_CONTAINER and not name.endswith("_temp_path")
    }
    assert len(expected) > 12
    assert {name: directives(SITE).get(name) for name in expected} == expected


def test_the_access_log_is_the_containers() -> None:
    form = re.compile(r"log_format \w+ escape=json\s+(.*?);", re.DOTALL)
    (mine,), (theirs,) = form.findall(SITE), form.findall((CONTAINER / "nginx.conf").read_text(encoding="utf-8"))
    assert mine.split() == theirs.split()


def test_tls_is_the_containers_without_what_openssl_3_0_does_not_know() -> None:
    theirs = directives((CONTAINER / "templates" / "30-servers.conf.template").read_text(encoding="utf-8"))
    mine = directives(SITE)
    names = {name for name in theirs if name.startswith("ssl_")} - {"ssl_certificate", "ssl_certificate_key"}
    assert len(names) >= 6
    assert {name: mine[name] for name in names} == {
        name: theirs[name].replace("?X25519MLKEM768:", "") for name in names
    }
