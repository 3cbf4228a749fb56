"""Make the project's own environment in `.venv`; `make` calls this when a lock or a package's pyproject.toml changes.

It needs nothing but the standard library: pip installs uv from requirements/build.lock, and uv the rest. Every file
is checked against a hash, and no index is named, so a mirror works: pip's own settings (`PIP_INDEX_URL` or `pip config
set global.index-url ...`) are handed on to uv unless uv has settings of its own.
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
REQUIREMENTS = ROOT / "requirements"


def fail(sentence: str) -> None:
    """Stop with a sentence that says what to do, and no traceback."""
    raise SystemExit(f"\n{sentence}\n")


QUIET_SECONDS = 3.0
MIRROR = (
    "Is the package index slow from here? Ctrl-C, then name a mirror: PIP_INDEX_URL=https://<mirror>/simple make run"
)


def run_telling(command: list[str], environment: dict[str, str] | None = None, hint: str = MIRROR) -> bool:
    """Run an installer, pass its lines on, and print a sign of life every few seconds; return whether it succeeded.

    The first such line names the setting for a mirror. Ctrl-C ends the installer too: it shares our terminal.
    """
    started = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        rest = b""
        while True:
            if not select.select([process.stdout], [], [], QUIET_SECONDS)[0]:
                print(f"  ... still installing ({time.monotonic() - started:.0f} s). {hint}".rstrip(), flush=True)
                hint = ""
                continue
            chunk = os.read(process.stdout.fileno(), 65_536)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not line.startswith((b" + ", b" - ", b" ~ ")):  # uv's list of every package
                    print(f"  {line.decode(errors='replace')}", flush=True)
    return process.returncode == 0


def check_venv_module() -> None:
    """Refuse Debian's bare Python, which comes without venv."""
    version = "{}.{}".format(*sys.version_info)
    if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
        fail(
            f"{sys.executable} has no venv module. On Debian and Ubuntu it is a package of its own:\n"
            f"    apt install python3-venv        (or python{version}-venv)\n"
            "Without root, any other Python from 3.11 will do: make PYTHON=/path/to/python3.11"
        )


def make_venv() -> None:
    """Make `.venv`, unless one made by this very Python still works."""
    if PYTHON.exists():
        probe = "import pip, sys; print(sys.base_prefix, *sys.version_info[:2])"
        found = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip() == "{} {} {}".format(sys.base_prefix, *sys.version_info):
            return
    print(f"Making .venv with Python {sys.version.split()[0]} ({sys.executable})", flush=True)
    if not run_telling([sys.executable, "-m", "venv", "--clear", str(VENV)], hint=""):  # it asks no index
        fail("python3 -m venv failed; the lines above say why. On Debian and Ubuntu: apt install python3-venv")


def install_uv() -> None:
    """Install uv itself, by pip and by hash."""
    if UV.exists() and f"uv=={uv_version()} " in (REQUIREMENTS / "build.lock").read_text(encoding="utf-8"):
        return
    command = [str(PYTHON), "-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--require-hashes", "--requirement", str(REQUIREMENTS / "build.lock")]
    if not run_telling(command):
        fail(
            "pip could not install uv. If the package index is slow or out of reach from here, name a mirror of it:\n"
            "    PIP_INDEX_URL=https://<mirror>/simple make run"
        )


def uv_version() -> str:
    """Return the version of the uv in `.venv`."""
    return subprocess.run([str(UV), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def uv_environment() -> dict[str, str]:
    """Return the environment for uv: it does not read pip's settings, so the ones that matter are handed on."""
    environment = dict(os.environ)
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environment.keys():
        index = environment.get("PIP_INDEX_URL") or pip_setting("index-url")
        if index:
            environment["UV_DEFAULT_INDEX"] = index
    certificates = environment.get("PIP_CERT") or pip_setting("cert")
    if certificates:
        environment.setdefault("SSL_CERT_FILE", certificates)
    if SYSTEM_CERTIFICATES.is_file():
        # uv uses the machine's certificate authorities: behind a company's proxy its own list is not enough.
        environment.setdefault("SSL_CERT_FILE", str(SYSTEM_CERTIFICATES))
    if not {"UV_CACHE_DIR", "XDG_CACHE_HOME"} & environment.keys() and not os.access(Path.home(), os.W_OK):
        environment["UV_CACHE_DIR"] = str(VENV / ".uv-cache")  # a container's user often has no home
    return environment


def pip_setting(name: str) -> str:
    """Return one of pip's global settings, or nothing."""
    command = [str(PYTHON), "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def install_packages() -> None:
    """Install what requirements/dev.lock names, no more and no less, and our own packages as editable ones."""
    environment = uv_environment()
    uv_pip = [str(UV), "--no-progress", "pip"]
    target = ["--python", str(PYTHON)]
    ours = sorted(str(path.parent) for path in ROOT.glob("services/*/pyproject.toml"))
    editable = [argument for path in ours for argument in ("--editable", path)]
    print("Installing what requirements/dev.lock names (a minute the first time)", flush=True)
    for arguments in (
        ["sync", *target, "--require-hashes", str(REQUIREMENTS / "dev.lock")],
        # The build tools are in the lock, so nothing is fetched without a hash.
        ["install", *target, "--no-deps", "--no-build-isolation", *editable],
    ):
        if not run_telling([*uv_pip, *arguments], environment):
            fail(
                f"uv pip {arguments[0]} failed; the lines above say why. A mirror: PIP_INDEX_URL=https://<mirror>/simple"
            )


def main() -> None:
    """Make or refresh `.venv`; with `--only-uv`, only as far as `make lock` needs it."""
    check_venv_module()
    make_venv()
    install_uv()
    if "--only-uv" not in sys.argv[1:]:
        install_packages()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
