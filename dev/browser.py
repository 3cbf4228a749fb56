"""`make browser`: what a newcomer does in Swagger UI, done by a headless Chromium while `make run` is running.

It opens an account, signs in by the Authorize dialog, adds, completes and lists todos, and deletes the account again.
The status that the page shows is checked at each step, and nothing may be asked for from another host. Pictures of
each step go to `.local/browser/`; with `--readme` the README's picture is taken anew.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from dev.chromium import BrowserError, Page, chromium
from dev.network import origin
from dev.processes import ServerError, exit_on_sigterm

STEPS = Path(".local/browser")
README_PICTURE = Path("docs/images/swagger-ui.png")
LARGEST_PICTURE = 300_000
PASSWORD = "correct horse battery staple"  # noqa: S105 - of an account that lives for seconds
TODOS = (
    {"title": "Renew the passport", "due_at": "2026-12-01T09:00:00+08:00"},
    {"title": "买牛奶", "description": "两升，蓝色包装的"},
)


@dataclass(frozen=True)
class Operation:
    """One operation on Swagger UI's page."""

    page: Page
    method: str
    path: str

    @property
    def block(self) -> str:
        """The selector of its block."""
        return f'.opblock-{self.method.lower()}:has(.opblock-summary-path[data-path="{self.path}"])'

    def expand(self) -> None:
        """Open the block, and its form."""
        if not self.page.shows(f"{self.block}.is-open"):
            self.page.click(f"{self.block} .opblock-summary-control")
        self.page.text(f"{self.block} .try-out__btn")
        if not self.page.shows(f"{self.block} .btn.execute"):
            self.page.click(f"{self.block} .try-out__btn")

    def execute(self, *, body: object = None, expected: int, **path_parameters: str) -> Any:
        """Fill the form, press Execute, and return the JSON that the page shows, if any.

        Raises:
            BrowserError: the page shows another status.
        """
        self.expand()
        answer = f"{self.block} .live-responses-table .response"
        if self.page.shows(answer):  # of the time before
            self.page.click(f"{self.block} .btn-clear")
            self.page.wait_until_gone(answer)
        for name, value in path_parameters.items():
            self.page.write(f'{self.block} tr[data-param-name="{name}"] input', value)
        if body is not None:
            self.page.write(f"{self.block} textarea.body-param__text", json.dumps(body, ensure_ascii=False, indent=2))
        self.page.click(f"{self.block} .btn.execute")
        status = self.page.text(f"{answer} .response-col_status").split()[0]
        shown = f"{answer} .response-col_description .highlight-code code"
        text = self.page.text(shown) if self.page.shows(shown) else ""
        if status != str(expected):
            raise BrowserError(f"{self.method} {self.path}: {status} instead of {expected}: {text}")
        print(f"  {status}  {self.method} {self.path}", flush=True)
        self.page.scroll_to_end_of(answer)
        return json.loads(text) if text else None

    def collapse(self) -> None:
        """Close the block."""
        self.page.click(f"{self.block} .opblock-summary-control")


class Tour:
    """A first visit."""

    def __init__(self, page: Page, address: str, pictures: Path) -> None:
        self.page = page
        self.address = address
        self.pictures = pictures
        self.username = f"lin-{secrets.token_hex(3)}"

    def operation(self, method: str, path: str) -> Operation:
        """One of the page's operations."""
        return Operation(self.page, method, path)

    def picture(self, name: str) -> None:
        """Keep what the window shows."""
        self.page.picture(self.pictures / f"{name}.png")

    def run(self, readme_picture: Path | None) -> None:
        """Do it all.

        Raises:
            BrowserError: something was not as it should be.
        """
        self.page.open(f"{self.address}/docs")
        self.register()
        self.sign_in()
        self.keep_todos()
        if readme_picture:
            self.take_readme_picture(readme_picture)
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
        self.page.click(".scheme-container .btn.authorize.unlocked")
        self.page.write("#oauth_username", self.username)
        self.page.write("#oauth_password", PASSWORD)
        self.page.click(".auth-container .btn.authorize")
        # The dialog then has a button to sign out, or says what went wrong.
        shown = self.page.text(".auth-container :is([aria-label='Remove authorization'], .errors)")
        if shown != "Logout":
            raise BrowserError(f"The Authorize dialog shows: {shown}")
        self.picture("2-signed-in")
        self.page.click(".auth-container .btn-done")
        self.page.text(".scheme-container .btn.authorize.locked")
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

    def take_readme_picture(self, path: Path) -> None:
        """The list and its answer, without the form between them, which is long."""
        block = self.operation("GET", "/todos/").block
        top, bottom = self.page.evaluate(
            f"""const block = document.querySelector({json.dumps(block)});
                block.querySelector('.parameters-container').style.display = 'none';
                const body = block.querySelector('.live-responses-table .highlight-code');
                return [block.getBoundingClientRect().top + scrollY, body.getBoundingClientRect().bottom + scrollY];
            """
        )
        self.page.picture(path, top=top - 10, height=bottom - top + 15)
        size = path.stat().st_size
        if size > LARGEST_PICTURE:
            raise BrowserError(f"{path} has {size:,} bytes; at most {LARGEST_PICTURE:,} are meant.")
        print(f"       {path}, {size:,} bytes", flush=True)

    def leave(self) -> None:
        """Delete the account, so that the visit leaves nothing behind."""
        self.operation("DELETE", "/users/me/").execute(body={"password": PASSWORD}, expected=204)

    def look_at_redoc(self) -> None:
        """The other page of documentation draws itself too."""
        self.page.open(f"{self.address}/redoc")
        self.page.text(".redoc-wrap h1")
        time.sleep(1)  # what it fetches late would be noticed
        self.picture("6-redoc")
        print("       /redoc", flush=True)

    def check_network(self) -> None:
        """Nothing came from elsewhere, and no script failed."""
        if beyond := self.page.requests_beyond(self.address):
            raise BrowserError("The pages asked other hosts:\n  " + "\n  ".join(sorted(set(beyond))))
        if self.page.script_errors:
            raise BrowserError("Scripts of the pages failed:\n  " + "\n  ".join(self.page.script_errors))
        print(f"  {len(self.page.requests)} requests, all to {self.address}", flush=True)


def check_answers(address: str, ca: Path | None) -> str | None:
    """Say what to do when nothing runs there.

    Returns:
        Behind TLS, the fingerprint of the key that was shown and verified, for the browser.

    Raises:
        ServerError: nothing does.
    """
    trust = ssl.create_default_context(cafile=ca)
    try:
        with httpx.stream("GET", f"{address}/livez", verify=trust, trust_env=False, timeout=10) as answer:
            answer.raise_for_status()
            shown = answer.extensions["network_stream"].get_extra_info("ssl_object")
            return None if shown is None else fingerprint(shown.getpeercert(True))
    except httpx.HTTPError as error:
        raise ServerError(
            f"No API answers at {address} ({error}). Start it with `make run`, or name it: PORT=8001 make browser"
        ) from error


def fingerprint(certificate: bytes) -> str:
    """What Chromium calls a certificate's key."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def main() -> None:
    """Take the tour at HOST and PORT, or at --base-url."""
    parser = argparse.ArgumentParser(prog="make browser", description="Drive Swagger UI in a headless Chromium.")
    parser.add_argument("--readme", action="store_true", help=f"take {README_PICTURE} anew")
    parser.add_argument("--base-url", help="instead of HOST and PORT, such as https://localhost:8443")
    parser.add_argument("--ca", type=Path, help="the authority of its certificate, such as .local/ca.pem (make ca)")
    options = parser.parse_args()
    host = os.environ.get("HOST") or "127.0.0.1"
    address = origin(host, int(os.environ.get("PORT") or "8000"))
    if options.base_url:
        address, host = options.base_url.rstrip("/"), urlsplit(options.base_url).hostname or host
    exit_on_sigterm()
    try:
        key = check_answers(address, options.ca)
        print(f"Chromium at {address}/docs", flush=True)
        with chromium(host, width=1000, height=1000, key=key) as page:
            Tour(page, address, STEPS).run(README_PICTURE if options.readme else None)
    except ServerError as error:
        sys.exit(str(error))
    except BrowserError as error:
        sys.exit(f"It does not work in the browser: {error}")
    print(f"Pictures of each step: {STEPS}/")


if __name__ == "__main__":
    main()
