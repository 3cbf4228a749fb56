"""The nginx of ECS hosts does what the container's does, except where Debian 12's nginx or its OpenSSL cannot."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONTAINER = ROOT / "nginx"
SITE = (ROOT / "deploy" / "ecs" / "nginx" / "todo.conf.template").read_text(encoding="utf-8")
PROXY = (ROOT / "deploy" / "ecs" / "lib" / "proxy.sh").read_text(encoding="utf-8")
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


def test_every_variable_of_the_templates_is_filled_in() -> None:
    used = set()
    for name in ("10-settings", "20-problems", "30-servers"):
        used |= set(
            re.findall(r"\$\{(NGINX_\w+)\}", (CONTAINER / f"templates/{name}.conf.template").read_text("utf-8"))
        )
    # The lines with these are not taken over: the certificate, HTTP/3, Docker's DNS.
    used -= {"NGINX_CERTIFICATE", "NGINX_CERTIFICATE_KEY", "NGINX_HTTPS_PORT", "NGINX_RESOLVER"}
    used |= set(re.findall(r"\$\{(NGINX_\w+)\}", SITE))
    assert {name for name in used if name not in PROXY} == set()


def test_every_file_that_is_included_is_taken_over() -> None:
    servers = (CONTAINER / "templates" / "30-servers.conf.template").read_text(encoding="utf-8")
    included = set(re.findall(r"include /etc/nginx/todo/(\w+\.inc);", servers))
    assert len(included) >= 3
    assert {name for name in included if name not in PROXY} == set()


def test_defaults_of_limits_are_the_containers() -> None:
    default = re.compile(r'"\$\{(NGINX_\w+):=(\w+)\}"')
    theirs = dict(default.findall((CONTAINER / "start.sh").read_text(encoding="utf-8")))
    mine = dict(default.findall(PROXY))
    assert len(mine) == 8
    assert mine == {name: theirs[name] for name in mine}


def test_what_install_sh_looks_for_in_the_templates_is_there() -> None:
    servers = (CONTAINER / "templates" / "30-servers.conf.template").read_text(encoding="utf-8")
    assert servers.count("\n    include /etc/nginx/todo/headers.inc;") == 1
    # After that line come locations and answers only, to the end of the file.
    rest = servers[servers.index("\n    include /etc/nginx/todo/headers.inc;") :]
    assert rest.count("\n}") == 1
    assert not re.search(r"\n    (listen|ssl_|http2|server_name)", rest)
