"""A headless Chromium, used as a person uses it: real clicks and real keys, over its DevTools socket.

It remembers every address that a page asks for and every script error, so that a test can say that there were none.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import websocket

from dev.processes import ServerError, last_lines, scratch_directory, spawn, stop_child

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE_SECONDS = 20.0
FLAGS = (
    "--headless",
    "--no-sandbox",  # in a container, and as root, there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
TARGET = """
    const element = document.querySelector(%s);
    if (!element) return null;
    element.scrollIntoView({block: 'center', behavior: 'instant'});
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const hit = document.elementFromPoint(x, y);
    return box.width && hit && (element.contains(hit) || hit.contains(element)) ? [x, y] : null;
"""


class BrowserError(Exception):
    """The page did not do what was expected of it."""


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


class Page:
    """One page of the browser."""

    def __init__(self, socket: websocket.WebSocket, width: int, height: int) -> None:
        self.requests: dict[str, str] = {}
        """What was asked for, by the browser's own number. What a page's policy kept back is not among them."""
        self.script_errors: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        for domain in ("Network", "Page", "Runtime"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, address: str) -> None:
        """Go to an address."""
        error = self._call("Page.navigate", url=address).get("errorText")
        if error:
            raise BrowserError(f"{address} did not open: {error}")

    def evaluate(self, script: str) -> Any:
        """Run the body of a function in the page and return what it returns."""
        answer = self._call(
            "Runtime.evaluate", expression=f"(() => {{ {script} }})()", returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"The script failed: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, what: str) -> Any:
        """Run a script until it returns something, and return that.

        Raises:
            BrowserError: it took too long.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if value := self.evaluate(script):
                return value
            time.sleep(0.05)
        raise BrowserError(f"Not seen within {PATIENCE_SECONDS:.0f} seconds: {what}")

    def text(self, selector: str) -> str:
        """Return an element's text, once it has some."""
        script = f"return document.querySelector({json.dumps(selector)})?.textContent.trim()"
        return str(self.wait_for(script, f"text in {selector}"))

    def shows(self, selector: str) -> bool:
        """Tell whether the page has such an element now."""
        return bool(self.evaluate(f"return document.querySelector({json.dumps(selector)}) !== null"))

    def wait_until_gone(self, selector: str) -> None:
        """Wait until the page has no such element."""
        self.wait_for(f"return document.querySelector({json.dumps(selector)}) === null", f"the end of {selector}")

    def click(self, selector: str) -> None:
        """Click in the middle of an element, once it is there and nothing lies over it."""
        x, y = self.wait_for(TARGET % json.dumps(selector), f"{selector}, free to be clicked")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        self.click(selector)
        self.evaluate("document.activeElement.select()")
        self._call("Input.insertText", text=text)

    def scroll_to_end_of(self, selector: str) -> None:
        """Bring the end of an element to the bottom of the window."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'end'}})")

    def picture(self, path: Path, *, top: float = 0, height: float | None = None) -> None:
        """Save what the window shows, or a strip of the whole page."""
        window = self.evaluate("return [innerWidth, innerHeight, scrollY]")
        clip = {
            "x": 0,
            "y": top if height else window[2],
            "width": window[0],
            "height": height or window[1],
            "scale": 1,
        }
        image = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=bool(height), clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") != number:
                self._notice(message)
            elif "error" in message:
                raise BrowserError(f"{method}: {message['error']['message']}")
            else:
                return dict(message["result"])

    def _notice(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests[event["params"]["requestId"]] = event["params"]["request"]["url"]
            case "Network.loadingFailed" if event["params"].get("blockedReason") == "csp":
                self.requests.pop(event["params"]["requestId"], None)
            case "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                self.script_errors.append(details.get("exception", {}).get("description") or details["text"])

    def requests_beyond(self, address: str) -> list[str]:
        """Return the addresses asked for that are neither on this origin nor inside the page itself."""
        origin = urlsplit(address)[:2]
        parts = ((url, urlsplit(url)) for url in self.requests.values())
        return [url for url, part in parts if part.scheme not in {"data", "blob", "about"} and part[:2] != origin]


@contextmanager
def chromium(host: str, *, width: int, height: int, key: str | None = None) -> Iterator[Page]:
    """Start a browser with a profile of its own, which finds no host but the one named, and give its page.

    Args:
        host: the one host.
        width: of the window.
        height: of the window.
        key: Base64 of the SHA-256 of a public key (SPKI) that the browser trusts without asking any authority.
    """
    path = find_chromium()
    with scratch_directory() as directory:
        profile, log = directory / "profile", directory / "chromium.log"
        command = [path, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command += [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {host}, EXCLUDE 127.0.0.1"]
        command += [f"--ignore-certificate-errors-spki-list={key}"] if key else []
        command += ["about:blank"]
        browser = spawn(command, cwd=directory, log=log, HOME=str(directory))
        try:
            socket = _connect(browser, profile / "DevToolsActivePort", log)
            try:
                yield Page(socket, width, height)
            finally:
                socket.close()
        finally:
            stop_child(browser, patience=10)


def _connect(browser: subprocess.Popen[bytes], port_file: Path, log: Path) -> websocket.WebSocket:
    # A proxy that the environment names is for the world outside.
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while browser.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, IndexError):
            port = port_file.read_text(encoding="ascii").splitlines()[0]
            with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            # Chromium refuses a socket whose Origin it does not know, and takes one that names none.
            return websocket.create_connection(
                pages[0]["webSocketDebuggerUrl"],
                timeout=PATIENCE_SECONDS,
                suppress_origin=True,
                http_no_proxy=["127.0.0.1"],
            )
        time.sleep(0.05)
    raise ServerError(f"Chromium did not start. The end of its log:\n{last_lines(log)}")
