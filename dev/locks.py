"""The lock files: `make lock` writes them, `make check` tells whether they still say what the declarations say.

Each is a requirement file with a hash for every file and the name of no index, so that a mirror can serve it:

* dev.lock: everything a developer needs, the services' own dependencies among it
* api.lock, worker.lock: what goes into each image, at the versions of dev.lock
* build.lock: uv and hatchling, which pip installs to begin with, here and in the images
* mail.lock: the mail catcher's image
* k8s.lock: the tools of `make k8s-check`, in an environment of their own and so at versions of their own
* lint.lock: the tools of `make stack-lint`, the same way
* ecs.lock: Ansible for `make ecs-deploy`, the same way
* supply.lock: the tools of `make sbom` and `make scan`, the same way
* browser.lock: Playwright, for `make browser`, the same way
* clients.lock: generators of clients, Node.js and Playwright, for `make clients`, the same way
* acme.lock: the image that gets the public certificate
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
CORE, API, WORKER = (f"services/{name}/pyproject.toml" for name in ("core", "api", "worker"))
DEV = "requirements/dev.in"
OLDEST_PYTHON = "3.11"
APART = {"browser", "clients", "dev", "ecs", "k8s", "lint", "supply"}
"""Locks of environments that share nothing; all others follow dev.lock."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def sources() -> dict[str, list[str]]:
    """Return the lock files and what each is made from, dev.lock first because the others follow its versions."""
    return {
        "dev": [CORE, API, WORKER, DEV],
        "api": [CORE, API],
        "worker": [CORE, WORKER],
        "build": ["requirements/build.in"],
        "mail": ["requirements/mail.in"],
        "k8s": ["requirements/k8s.in"],
        "lint": ["requirements/lint.in"],
        "ecs": ["requirements/ecs.in"],
        "supply": ["requirements/supply.in"],
        "browser": ["requirements/browser.in"],
        "clients": ["requirements/clients.in"],
        "acme": ["requirements/acme.in"],
    }


def declared(source: str) -> list[str]:
    """Return the requirements that a pyproject.toml or a requirement file declares."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".toml"):
        return list(tomllib.loads(text)["project"].get("dependencies", []))
    return [line.split(" #")[0].strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def ours() -> list[str]:
    """Return the names of the project's own packages, which no lock holds."""
    paths = sorted(ROOT.glob("services/*/pyproject.toml"))
    return [tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"] for path in paths]


def fingerprint(paths: list[str]) -> str:
    """Return a hash of what is declared, whatever the order and the comments."""
    lines = sorted({requirement for path in paths for requirement in declared(path)})
    return hashlib.sha256("\n".join([OLDEST_PYTHON, *lines]).encode()).hexdigest()[:16]


def compile_locks(upgrade: bool) -> None:
    """Write every lock file anew: versions stay as they are where they still fit, unless `upgrade`."""
    for name, paths in sources().items():
        lock = REQUIREMENTS / f"{name}.lock"
        command = [os.environ.get("UV", str(ROOT / ".venv/bin/uv")), "--quiet", "pip", "compile", "--universal"]
        command += ["--generate-hashes", "--python-version", OLDEST_PYTHON, "--no-header"]
        command += [f"--no-emit-package={package}" for package in ours()]
        command += ["--upgrade"] if upgrade else []
        command += [] if name in APART else ["--constraint", "requirements/dev.lock"]
        command += ["--output-file", str(lock.relative_to(ROOT)), *paths]
        subprocess.run(command, check=True, cwd=ROOT)
        header = f"# Written by `make lock`. Do not edit.\n# Made from: {', '.join(paths)}\n"
        header += f"# Declarations: {fingerprint(paths)}\n"
        pins = [line for line in lock.read_text(encoding="utf-8").splitlines(keepends=True) if line[0] != "#"]
        lock.write_text(header + "".join(pins), encoding="utf-8")
        print(f"requirements/{lock.name}: {len(PIN.findall(''.join(pins)))} packages")


def problems() -> list[str]:
    """Return what is wrong with the lock files, one sentence each. Looks at files only: no network."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: list[str] = []
    pins: dict[str, dict[str, str]] = {}
    own = {canonicalize_name(package) for package in ours()}
    for name, paths in sources().items():
        lock = REQUIREMENTS / f"{name}.lock"
        if not lock.exists():
            found.append(f"requirements/{lock.name} is missing.")
            continue
        text = lock.read_text(encoding="utf-8")
        pins[name] = {canonicalize_name(package): version for package, version in PIN.findall(text)}
        if f"# Declarations: {fingerprint(paths)}\n" not in text:
            found.append(f"requirements/{lock.name} was made from other declarations than {', '.join(paths)}.")
        if "://" in text:
            found.append(f"requirements/{lock.name} names an address: a mirror could not serve it.")
        unhashed = [block for block in re.split(r"\n(?=[A-Za-z0-9])", text)[1:] if "--hash=sha256:" not in block]
        found += [f"requirements/{lock.name} has no hash for {block.split()[0]}." for block in unhashed]
        for requirement in (Requirement(line) for path in paths for line in declared(path)):
            package = canonicalize_name(requirement.name)
            version = pins[name].get(package)
            if package not in own and (
                version is None or not requirement.specifier.contains(version, prereleases=True)
            ):
                found.append(f"requirements/{lock.name} has {package} {version}, and {requirement} is declared.")
    for name, locked in pins.items():
        if name in APART:
            continue
        differing = locked.items() - pins.get("dev", {}).items()
        found += [
            f"requirements/{name}.lock has {package} {version}: dev.lock has not." for package, version in differing
        ]
    return found


def main() -> None:
    """Compile or check, as the first argument says."""
    match sys.argv[1:]:
        case ["compile", *options]:
            compile_locks(upgrade="--upgrade" in options)
        case ["check"]:
            if found := problems():
                sys.exit("\n".join([*found, "Run `make lock` and commit what it writes."]))
            print("The lock files agree with the declarations.")
        case _:
            sys.exit("usage: python -m dev.locks compile [--upgrade] | check")


if __name__ == "__main__":
    main()
