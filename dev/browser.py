"""`make browser`: drives a headless Chromium through Swagger UI like a new user, while `make run` is running.

It opens an account, signs in by the Authorize dialog, presses Execute on forms as the page fills them in (ids are all
that it adds), and deletes the account: in a desktop's window and in a phone's. The status that the page shows is
checked at each step, and nothing may be asked for from another host. Pictures of each request and its answer go to
`.local/browser/`; with `--readme` the README's pictures are taken anew. Then it drives `examples/web`, but not with
`--base-url`: that service may refuse pages of localhost.
"""

from __future__ import annotations

import argparse
import json
import os
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
from playwright.sync_api import Page, expect, sync_playwright

from dev.browser_example import EXAMPLE, LOCALES, ExampleVisit, served
from dev.browser_example import README_PICTURE as EXAMPLE_PICTURE
from dev.network import origin, running_origin
from dev.processes import ServerError, exit_on_sigterm, free_port, last_lines, scratch_directory, spawn, stop_child

ROOT = Path(__file__).resolve().parent.parent
STEPS = Path(".local/browser")
README_PICTURE = Path("docs/images/swagger-ui.png")
LARGEST_PICTURE = 300_000
USERNAME, PASSWORD = "lin", "correct horse battery staple"  # of the account in the form of POST /users/
WINDOWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
AS_IT_STANDS = (
    ("GET", "/todos/{todo_id}", 200),
    ("PATCH", "/todos/{todo_id}", 200),
    ("POST", "/todos/{todo_id}/snooze", 201),
    ("GET", "/todos/{todo_id}/reminders", 200),
    ("PUT", "/todos/{todo_id}", 200),
    ("POST", "/todos/{todo_id}/complete", 200),
    ("GET", "/todos/", 200),
    ("GET", "/notifications/", 200),
    ("POST", "/notifications/read", 200),
    ("PATCH", "/users/me/preferences", 200),
    ("PATCH", "/webhooks/{webhook_id}", 200),
    ("GET", "/webhooks/", 200),
    ("POST", "/token", 200),
    ("PATCH", "/users/me/", 200),
    ("GET", "/users/me/", 200),
)
"""What is pressed once there are a todo and a webhook."""
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = ("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server")


class Operation:
    """One operation on Swagger UI's page."""

    def __init__(self, page: Page, method: str, path: str) -> None:
        self.page = page
        self.name = f"{method} {path}"
        self.block = page.locator(f'.opblock-{method.lower()}:has(.opblock-summary-path[data-path="{path}"])')
        self.answer = self.block.locator(".live-responses-table .response")

    def execute(self, *, expected: int, **path_parameters: str) -> Any:
        """Open the form, fill in ids, press Execute, and return the JSON that the page shows, if any.

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
        execute.click()
        status = self.answer.locator(".response-col_status").inner_text().split()[0]
        shown = self.answer.locator(".response-col_description .highlight-code code")
        text = shown.first.inner_text() if shown.count() else ""
        if status != str(expected):
            raise BrowserError(f"{self.name}: {status} instead of {expected}: {text}")
        print(f"  {status}  {self.name}", flush=True)
        return json.loads(text) if text else None

    def picture(self, path: Path) -> None:
        """Take a picture of the filled form and of its answer."""
        left, top, width, bottom = self.block.evaluate(
            """block => {
                const whole = block.getBoundingClientRect();
                const answer = block.querySelector('.live-responses-table').getBoundingClientRect();
                return [whole.left + scrollX, whole.top + scrollY, whole.width, answer.bottom + scrollY];
            }"""
        )
        clip = {"x": left, "y": top, "width": width, "height": bottom - top + 10}
        self.page.screenshot(path=path, full_page=True, clip=clip)

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
        self.pressed = 0
        self.requested: list[str] = []
        self.blocked: list[str] = []
        """What a page asked for and its own policy blocked."""
        self.script_errors: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", lambda request: self._kept_back(request.url, request.failure))
        self.page.on("pageerror", lambda error: self.script_errors.append(str(error)))

    def _kept_back(self, url: str, reason: str | None) -> None:
        if reason == "csp":
            self.blocked.append(url)

    def operation(self, method: str, path: str) -> Operation:
        """Return one of the page's operations."""
        return Operation(self.page, method, path)

    def picture(self, name: str) -> None:
        """Save a picture of the window."""
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def run(self, readme_picture: Path | None) -> None:
        """Do the whole visit.

        Raises:
            BrowserError: a step failed.
        """
        self.page.goto(f"{self.address}/docs")
        self.register()
        self.sign_in()
        self.press_what_stands_there(readme_picture)
        self.leave()
        self.look_at_redoc()
        self.check_network()

    def press(self, method: str, path: str, expected: int, **ids: str) -> Any:
        """Press Execute on a form as it stands, and take a picture of it."""
        operation = self.operation(method, path)
        answer = operation.execute(expected=expected, **ids)
        self.pressed += 1
        name = "-".join(part.strip("{}") for part in (method.lower(), *path.split("/")) if part)
        operation.picture(self.pictures / f"{self.pressed:02}-{name}.png")
        operation.collapse()
        return answer

    def register(self) -> None:
        """Open the account that stands in the form."""
        try:
            answer = self.press("POST", "/users/", 201)
        except BrowserError as error:
            if ": 409 instead" in str(error):
                raise BrowserError(f"The account {USERNAME} is there already. Run it apart: ARGS=--start") from None
            raise
        if answer["username"] != USERNAME or "password" in answer:
            raise BrowserError(f"POST /users/ shows {answer}")

    def sign_in(self) -> None:
        """Use the Authorize dialog."""
        self.page.locator(".scheme-container .btn.authorize.unlocked").click()
        self.page.fill("#oauth_username", USERNAME)
        self.page.fill("#oauth_password", PASSWORD)
        self.page.locator(".auth-container .btn.authorize").click()
        # The dialog then has a button to sign out, or says what went wrong.
        shown = self.page.locator(
            ".auth-container :is([aria-label='Remove authorization'], .errors)"
        ).first.inner_text()
        if shown != "Logout":
            raise BrowserError(f"The Authorize dialog shows: {shown}")
        self.picture("authorize")
        self.page.locator(".auth-container .btn-done").click()
        self.page.locator(".scheme-container .btn.authorize.locked").wait_for()
        print("       Authorize", flush=True)

    def press_what_stands_there(self, readme_picture: Path | None) -> None:
        """Press Execute on the forms as the page fills them in."""
        todo = self.press("POST", "/todos/", 201)
        if readme_picture:
            self.take_readme_picture(readme_picture)
        ids = {"todo_id": todo["id"], "webhook_id": self.press("POST", "/webhooks/", 201)["id"]}
        for method, path, expected in AS_IT_STANDS:
            asked = {name: value for name, value in ids.items() if f"{{{name}}}" in path}
            answer = self.press(method, path, expected, **asked)
            if path == "/todos/" and (todo["id"], True) not in [
                (one["id"], one["completed"]) for one in answer["items"]
            ]:
                raise BrowserError(f"GET /todos/ shows {answer}")

    def take_readme_picture(self, path: Path) -> None:
        """Take a picture of a todo in the form and of its answer, in a narrower window."""
        window = self.page.viewport_size
        self.page.set_viewport_size({"width": 1000, "height": 1000})
        operation = self.operation("POST", "/todos/")
        operation.execute(expected=201)
        operation.picture(path)
        operation.collapse()
        self.page.set_viewport_size(window)
        size = path.stat().st_size
        if size > LARGEST_PICTURE:
            raise BrowserError(f"{path} has {size:,} bytes; at most {LARGEST_PICTURE:,} are meant.")
        print(f"       {path}, {size:,} bytes", flush=True)

    def leave(self) -> None:
        """Delete the account, so that the visit leaves nothing behind."""
        self.press("DELETE", "/users/me/", 204)

    def look_at_redoc(self) -> None:
        """Check that Redoc renders too."""
        self.page.goto(f"{self.address}/redoc")
        self.page.locator(".redoc-wrap h1").first.wait_for()
        self.page.wait_for_load_state("networkidle")  # late requests are noticed
        self.picture("redoc")
        print("       /redoc", flush=True)

    def check_network(self) -> None:
        """Check that nothing was requested from another host, and that no script failed."""
        own = urlsplit(self.address)[:2]
        parts = ((url, urlsplit(url)) for url in self.requested)
        if beyond := {url for url, part in parts if part.scheme not in {"data", "blob", "about"} and part[:2] != own}:
            raise BrowserError("The pages asked other hosts:\n  " + "\n  ".join(sorted(beyond)))
        if self.blocked:
            raise BrowserError("A page asked for what its policy blocks:\n  " + "\n  ".join(self.blocked))
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
            tour.run(readme_picture if name == "desktop" else None)
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
