"""`make clients`: generates clients in three languages from docs/openapi.json, compiles them, and walks them.

It also compares the document with docs/openapi-released.json, the one of the last release, and fails where a client of
that would break. The walks go from opening an account to a reminder on the stream, against a service of its own. The
package in clients/typescript is tested in Node.js and in Chromium; what is generated goes to `.local/clients/`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from dev.browser import FLAGS, ROOT, find_chromium, own_run
from dev.browser_example import served
from dev.processes import ServerError, exit_on_sigterm

BIN = Path(sys.executable).parent
DOCUMENT, RELEASED = ROOT / "docs/openapi.json", ROOT / "docs/openapi-released.json"
GENERATED = ROOT / ".local/clients"
TYPESCRIPT, PYTHON, JAVA = (ROOT / "clients" / name for name in ("typescript", "python", "java"))


class Failed(Exception):
    """A step failed; the text says what and how."""


def run(*command: object, cwd: Path = ROOT, **settings: str) -> str:
    """Run a command with Node.js and the generators on the path, and return what it printed.

    Raises:
        Failed: it failed.
    """
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **settings}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"{' '.join(words[:4])} … failed:\n{done.stdout[-6000:]}")
    return done.stdout


def step(started: float, text: str) -> None:
    """Say what was done, and after how long."""
    print(f"  {time.monotonic() - started:5.1f} s  {text}", flush=True)


def compare(released: Path = RELEASED, document: Path = DOCUMENT) -> None:
    """Compare the document with the last release's.

    Raises:
        Failed: a client of the last release would break, or might: an answer's field became nullable.
    """
    run("specshift", "diff", released, document, "--fail-on", "warning")


def build_typescript() -> None:
    """Install what the lock names if that has changed, generate the types, and compile under strict settings."""
    installed = TYPESCRIPT / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (TYPESCRIPT / "package-lock.json").stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", cwd=TYPESCRIPT)
    run("npm", "run", "build", cwd=TYPESCRIPT)


def build_python() -> None:
    """Generate the Python client and check it, and its walk, under mypy's strict settings."""
    target = GENERATED / "python/todo_client"
    target.parent.mkdir(parents=True, exist_ok=True)
    warned = run(
        *("openapi-python-client", "generate", "--path", DOCUMENT, "--output-path", target),
        *("--overwrite", "--meta", "none", "--fail-on-warning"),
    )
    if "WARNING" in warned:
        raise Failed(f"openapi-python-client:\n{warned}")
    run("mypy", "--strict", "--no-incremental", "todo_client", PYTHON / "walk.py", cwd=target.parent)


def java_libraries() -> str:
    """Return the generator's own JAR, which has Jackson inside."""
    found = importlib.util.find_spec("openapi_generator_cli")
    if found is None or found.origin is None:
        raise Failed("openapi-generator-cli is not installed in .venv-clients.")
    return str(Path(found.origin).parent / "openapi-generator.jar")


def build_java() -> None:
    """Generate the Java client and compile it, and its walk, with every warning but of deprecation an error."""
    if shutil.which("javac") is None:
        raise Failed("No javac was found. On Debian: apt install --no-install-recommends openjdk-17-jdk-headless")
    target = GENERATED / "java"
    shutil.rmtree(target, ignore_errors=True)
    run(
        *("openapi-generator-cli", "generate", "-g", "java", "--library", "native", "-i", DOCUMENT, "-o", target),
        *("--additional-properties", "openApiNullable=false,hideGenerationTimestamp=true"),
        *("--invoker-package", "todo", "--api-package", "todo.api", "--model-package", "todo.model"),
        *("--global-property", "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"),
    )
    sources = [*(target / "src/main").rglob("*.java"), *JAVA.rglob("*.java")]
    run(
        "javac",
        "-proc:none",
        "-Xlint:all,-deprecation",
        "-Werror",
        "-d",
        target / "classes",
        "-cp",
        java_libraries(),
        *sources,
    )


def visit(address: str, *, verify: bool = True) -> None:
    """Walk the TypeScript package in Chromium, on a page of another origin.

    Raises:
        BrowserError: it does not work there.
        Failed: it works otherwise than promised.
    """

    with served(TYPESCRIPT) as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS), chromium_sandbox=False)
        page = browser.new_context(ignore_https_errors=not verify).new_page()
        page.goto(f"{origin}/test/page.html")
        module = "async address => (await import('/dist/test/browser.js'))"
        told = page.evaluate(f"{module}.walk(address)", address)
        exchanges = page.evaluate(f"{module}.twoTabs(address)", address)
        browser.close()
    if (told, exchanges) != ("买牛奶", 1):
        raise Failed(f"In Chromium: {told!r} on the stream, {exchanges} exchanges of the refresh token for two tabs")


def walk(address: str, started: float) -> None:
    """Walk all clients."""
    run("npm", "test", cwd=TYPESCRIPT, TODO_URL=address)
    step(started, "TypeScript in Node.js: the walk, single flight, retries, problems, the stream")
    visit(address)
    step(started, "TypeScript in Chromium, from another origin: the walk, two tabs")
    run(sys.executable, PYTHON / "walk.py", address, PYTHONPATH=str(GENERATED / "python"))
    step(started, "Python: the walk")
    run("java", "-cp", os.pathsep.join([str(GENERATED / "java/classes"), java_libraries()]), "Walk", address)
    step(started, "Java: the walk")


def main() -> None:
    """Compare, generate, compile and walk. With --base-url, only the TypeScript package in Chromium there."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="only visit this address with the TypeScript package in Chromium")
    parser.add_argument("--unverified", action="store_true", help="with a certificate that Chromium does not know")
    options = parser.parse_args()
    exit_on_sigterm()
    started = time.monotonic()
    try:
        find_chromium()
        if options.base_url:
            build_typescript()
            visit(options.base_url, verify=not options.unverified)
            step(started, f"TypeScript in Chromium at {options.base_url}")
            return
        compare()
        step(started, "docs/openapi.json breaks no client of docs/openapi-released.json")
        for build in (build_typescript, build_python, build_java):
            build()
            step(started, f"{build.__name__.removeprefix('build_').capitalize()} generated and compiled")
        with own_run() as address:
            walk(address, started)
    except (Failed, ServerError, BrowserError) as error:
        sys.exit(f"make clients: {error}")


if __name__ == "__main__":
    main()
