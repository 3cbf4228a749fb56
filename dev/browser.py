"""`make browser`: drives a headless Chromium through Swagger UI like a new user, while `make run` is running.

It opens an account, signs in by the Authorize dialog, adds, completes and lists todos, and deletes the account again:
in a desktop's window, where it also presses Execute on what stands in the forms, and in a phone's. The status that
the page shows is checked at each step, and nothing may be asked for from another host. Pictures of each step go to
`.local/browser/`; with `--readme` the README's pictures are taken anew. Then it drives `examples/web`, but not with
`--base-url`: that service may refuse pages of localhost.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Locator, Page, expect, sync_playwright

from dev.browser_example import EXAMPLE, LOCALES, ExampleVisit, served
from dev.browser_example import README_PICTURE as EXAMPLE_PICTURE
from dev.network import origin, running_origin
from dev.processes import ServerError, exit_on_sigterm, free_port, last_lines, scratch_directory, spawn, stop_child

ROOT = Path(__file__).resolve().parent.parent
STEPS = Path(".local/browser")
README_PICTURE = Path("docs/images/swagger-ui.png")
LARGEST_PICTURE = 300_000
PASSWORD = "correct horse battery staple"  # noqa: S105 - of an account that lives for seconds
TODOS = (
    {"title": "Renew the passport", "due_at": "2026-12-01T09:00:00+08:00"},
    {"title": "买牛奶", "description": "两升，蓝色包装的"},
)
WINDOWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
AS_IT_STANDS = (
    ("POST", "/todos/", 201),
    ("GET", "/todos/", 200),
    ("GET", "/users/me/", 200),
    ("PATCH", "/users/me/preferences", 200),
    ("POST", "/notifications/read", 200),
    ("GET", "/webhooks/", 200),
)
"""Operations whose form is valid as the page fills it in."""
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = ("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server")


class Operation:
    """One operation on Swagger UI's page."""

    def __init__(self, page: Page, method: str, path: str) -> None:
        self.page = page
        self.name = f"{method} {path}"
        self.block = page.locator(f'.opblock-{method.lower()}:has(.opblock-summary-path[data-path="{path}"])')
        self.answer = self.block.locator(".live-responses-table .response")

    def execute(self, *, body: object = None, expected: int, **path_parameters: str) -> Any:
        """Open the form, fill in what is given, press Execute, and return the JSON that the page shows, if any.

        Raises:
            BrowserError: the page shows another status.
        """
        if "is-open" not in (self.block.get_attribute("class") or ""):
            self.block.locator(".opblock-summary-control").click()
        execute = self.block.locator(".btn.execute")
        execute.or_(self.block.locator(".try-out__btn:not(.cancel)")).first.wait_for()
        if not execute.count():
            self.block.locator(".try-out__btn").click()
        if self.answer.count():  # the answer of the previous request
            self.block.locator(".btn-clear").click()
            expect(self.answer).to_have_count(0)
        for name, value in path_parameters.items():
            self.block.locator(f'tr[data-param-name="{name}"] input').fill(value)
        if body is not None:
            self.block.locator("textarea.body-param__text").fill(json.dumps(body, ensure_ascii=False, indent=2))
        execute.click()
        status = self.answer.locator(".response-col_status").inner_text().split()[0]
        shown = self.answer.locator(".response-col_description .highlight-code code")
        text = shown.first.inner_text() if shown.count() else ""
        if status != str(expected):
            raise BrowserError(f"{self.name}: {status} instead of {expected}: {text}")
        print(f"  {status}  {self.name}", flush=True)
        self.answer.evaluate("element => element.scrollIntoView({block: 'end'})")
        return json.loads(text) if text else None

    def collapse(self) -> None:
        """Close the block."""
        self.block.locator(".opblock-summary-control").click()


@dataclass
class Tour:
    """Drives the pages through a first visit."""

    page: Page
    address: str
    pictures: Path

    def __post_init__(self) -> None:
        self.username = f"lin-{secrets.token_hex(3)}"
        self.requested: list[str] = []
        """The addresses that the pages requested, without those that a page's policy blocked."""
        self.script_errors: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", lambda request: self._kept_back(request.url, request.failure))
        self.page.on("pageerror", lambda error: self.script_errors.append(str(error)))

    def _kept_back(self, url: str, reason: str | None) -> None:
        if reason == "csp":
            self.requested.remove(url)

    def operation(self, method: str, path: str) -> Operation:
        """Return one of the page's operations."""
        return Operation(self.page, method, path)

    def picture(self, name: str) -> None:
        """Save a picture of the window."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def run(self, readme_picture: Path | None, *, press: bool) -> None:
        """Do the whole visit; with `press`, also execute the forms as filled in, which are the same at every width.

        Raises:
            BrowserError: a step failed.
        """
        self.page.goto(f"{self.address}/docs")
        self.register()
        self.sign_in()
        self.keep_todos()
        if readme_picture:
            self.take_readme_picture(readme_picture)
        if press:
            self.press_what_stands_there()
        self.leave()
        self.look_at_redoc()
        self.check_network()

    def register(self) -> None:
        """Open an account."""
        account = {"username": self.username, "email": f"{self.username}@example.com", "password": PASSWORD}
        register = self.operation("POST", "/users/")
        answer = register.execute(body=account, expected=201)
        if answer["username"] != self.username or "password" in answer:
            raise BrowserError(f"POST /users/ shows {answer}")
        self.picture("1-registered")
        register.collapse()

    def sign_in(self) -> None:
        """Use the Authorize dialog."""
        self.page.locator(".scheme-container .btn.authorize.unlocked").click()
        self.page.fill("#oauth_username", self.username)
        self.page.fill("#oauth_password", PASSWORD)
        self.page.locator(".auth-container .btn.authorize").click()
        # The dialog then has a button to sign out, or says what went wrong.
        shown = self.page.locator(
            ".auth-container :is([aria-label='Remove authorization'], .errors)"
        ).first.inner_text()
        if shown != "Logout":
            raise BrowserError(f"The Authorize dialog shows: {shown}")
        self.picture("2-signed-in")
        self.page.locator(".auth-container .btn-done").click()
        self.page.locator(".scheme-container .btn.authorize.locked").wait_for()
        print("       Authorize", flush=True)

    def keep_todos(self) -> None:
        """Add todos, complete the first and list them."""
        create = self.operation("POST", "/todos/")
        first, second = [create.execute(body=todo, expected=201) for todo in TODOS]
        self.picture("3-created")
        create.collapse()
        complete = self.operation("POST", "/todos/{todo_id}/complete")
        if complete.execute(expected=200, todo_id=first["id"])["completed"] is not True:
            raise BrowserError("The completed todo is not shown as completed.")
        self.picture("4-completed")
        complete.collapse()
        listed = self.operation("GET", "/todos/").execute(expected=200)
        states = [(todo["id"], todo["completed"]) for todo in listed["items"]]
        if states != [(second["id"], False), (first["id"], True)] or listed["next_cursor"] is not None:
            raise BrowserError(f"GET /todos/ shows {listed}")
        self.picture("5-listed")

    def press_what_stands_there(self) -> None:
        """Press Execute on forms as the page fills them in."""
        for method, path, expected in AS_IT_STANDS:
            operation = self.operation(method, path)
            operation.execute(expected=expected)
            operation.collapse()

    def take_readme_picture(self, path: Path) -> None:
        """Take a picture of the list and its answer, without the long form between them."""
        window = self.page.viewport_size
        self.page.set_viewport_size({"width": 1000, "height": 1000})
        block: Locator = self.operation("GET", "/todos/").block
        top, bottom = block.evaluate(
            """block => {
                block.querySelector('.parameters-container').style.display = 'none';
                const body = block.querySelector('.live-responses-table .highlight-code');
                return [block.getBoundingClientRect().top + scrollY, body.getBoundingClientRect().bottom + scrollY];
            }"""
        )
        clip = {"x": 0, "y": top - 10, "width": 1000, "height": bottom - top + 15}
        self.page.screenshot(path=path, full_page=True, clip=clip)
        block.evaluate("block => block.querySelector('.parameters-container').style.display = ''")
        self.page.set_viewport_size(window)
        size = path.stat().st_size
        if size > LARGEST_PICTURE:
            raise BrowserError(f"{path} has {size:,} bytes; at most {LARGEST_PICTURE:,} are meant.")
        print(f"       {path}, {size:,} bytes", flush=True)

    def leave(self) -> None:
        """Delete the account, so that the visit leaves nothing behind."""
        self.operation("DELETE", "/users/me/").execute(body={"password": PASSWORD}, expected=204)

    def look_at_redoc(self) -> None:
        """Check that Redoc renders too."""
        self.page.goto(f"{self.address}/redoc")
        self.page.locator(".redoc-wrap h1").first.wait_for()
        self.page.wait_for_load_state("networkidle")  # late requests are noticed
        self.picture("6-redoc")
        print("       /redoc", flush=True)

    def check_network(self) -> None:
        """Check that nothing was requested from another host, and that no script failed."""
        own = urlsplit(self.address)[:2]
        parts = ((url, urlsplit(url)) for url in self.requested)
        if beyond := {url for url, part in parts if part.scheme not in {"data", "blob", "about"} and part[:2] != own}:
            raise BrowserError("The pages asked other hosts:\n  " + "\n  ".join(sorted(beyond)))
        if self.script_errors:
            raise BrowserError("Scripts of the pages failed:\n  " + "\n  ".join(self.script_errors))
        print(f"  {len(self.requested)} requests, all to {self.address}", flush=True)


def find_chromium() -> str:
    """Return the path of a Chromium.

    Raises:
        ServerError: there is none; the text says what to do.
    """
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES)):
        if path := shutil.which(name):
            return path
    raise ServerError(
        "No Chromium was found. On Debian and Ubuntu: apt install --no-install-recommends chromium\n"
        "Or name one: CHROMIUM=/path/to/chromium make browser"
    )


def check_answers(address: str, ca: Path | None) -> None:
    """Check that an API answers at the address, with a certificate of this authority.

    Raises:
        ServerError: it does not; the text says what to do.
    """
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
    try:
        opener.open(f"{address}/livez", timeout=10).close()
    except (URLError, OSError) as error:
        raise ServerError(
            f"No API answers at {address} ({error}). Start it with `make run`, or name it: PORT=8001 make browser"
        ) from error


@contextmanager
def own_run() -> Iterator[str]:
    """Run `make run` on a free port with its own data, and give its address."""
    with scratch_directory() as directory:
        port, log = free_port(), directory / "run.log"
        address = origin("127.0.0.1", port)
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(directory / "data")}
        server = spawn([str(ROOT / ".venv/bin/python"), "-m", "dev.run"], cwd=ROOT, log=log, **settings)
        try:
            while True:  # until the server answers or exits
                try:
                    check_answers(address, None)
                    break
                except ServerError:
                    if server.poll() is not None:
                        raise ServerError(f"`make run` did not start:\n{last_lines(log, 30)}") from None
                    time.sleep(0.2)
            yield address
        finally:
            stop_child(server, patience=30)


def visit(address: str, pictures: Path, readme_picture: Path | None, *, verified: bool) -> None:
    """Take the tour in each window, in a browser that finds no host but this one."""
    host = urlsplit(address).hostname
    flags = [*FLAGS, f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {host}, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags, chromium_sandbox=False)
        for name, window in WINDOWS.items():
            print(f"{name}: {window['viewport']['width']} × {window['viewport']['height']}", flush=True)
            # Chromium does not know the authority that check_answers() has verified the certificate by.
            context = browser.new_context(**window, ignore_https_errors=verified)
            context.set_default_timeout(20_000)
            tour = Tour(context.new_page(), address, pictures / name)
            tour.run(readme_picture if name == "desktop" else None, press=name == "desktop")
            context.close()
        browser.close()


def visit_example(address: str, pictures: Path, readme_picture: Path | None) -> None:
    """Use `examples/web`, served from another origin, in each window and in both languages."""
    with served(EXAMPLE) as other, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, chromium_sandbox=False)
        for name, window in WINDOWS.items():
            print(f"{name}: {other} calls {address}", flush=True)
            context = browser.new_context(**window, locale=LOCALES[name])
            context.set_default_timeout(20_000)
            example = ExampleVisit(context.new_page(), other, address, LOCALES[name], pictures / name)
            example.run(readme_picture if name == "desktop" else None)
            context.close()
        browser.close()


def main() -> None:
    """Take the tour at HOST and PORT, or at --base-url."""
    parser = argparse.ArgumentParser(prog="make browser", description="Drive Swagger UI in a headless Chromium.")
    parser.add_argument("--readme", action="store_true", help=f"take {README_PICTURE} and {EXAMPLE_PICTURE} anew")
    parser.add_argument("--start", action="store_true", help="start what `make run` starts, and stop it again")
    parser.add_argument("--base-url", help="instead of HOST and PORT, such as https://localhost:8443")
    parser.add_argument("--ca", type=Path, help="the authority of its certificate, such as .local/ca.pem (make ca)")
    options = parser.parse_args()
    exit_on_sigterm()
    try:
        find_chromium()
        with own_run() if options.start else nullcontext((options.base_url or running_origin()).rstrip("/")) as address:
            check_answers(address, options.ca)
            print(f"Chromium at {address}/docs", flush=True)
            visit(address, STEPS, README_PICTURE if options.readme else None, verified=options.ca is not None)
            if not options.base_url:
                visit_example(address, STEPS, EXAMPLE_PICTURE if options.readme else None)
    except ServerError as error:
        sys.exit(str(error))
    except (BrowserError, AssertionError) as error:
        sys.exit(f"It does not work in the browser: {error}")
    print(f"Pictures of each step: {STEPS}/")


if __name__ == "__main__":
    main()
