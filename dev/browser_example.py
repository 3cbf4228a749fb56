"""Drives `examples/web` and the README's script for browsers in Chromium: pages of another origin that call the API."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, Route, expect
from playwright.sync_api import Error as BrowserError

EXAMPLE = Path("examples/web")
README_PICTURE = Path("docs/images/example-web.png")
API = "http://127.0.0.1:8000"
"""Where the example and the README look for the API."""
PASSWORD = "correct horse battery staple"  # noqa: S105 - of an account that lives for seconds
LOCALES = {"desktop": "en-US", "phone": "zh-CN"}
WORDS = {
    "en-US": {
        "register": "Create an account",
        "new here": "I have no account",
        "sign in": "Sign in",
        "sign out": "Sign out",
        "soon": "Due in 10 seconds",
        "add": "Add",
        "read": "Mark as read",
        "wrong": "The name, the password or the refresh token is not right, or the token has expired.",
        "long": "Password: must have at least 10 characters",
    },
    "zh-CN": {
        "register": "注册",
        "new here": "没有账户？去注册",
        "sign in": "登录",
        "sign out": "退出登录",
        "soon": "10 秒后到期",
        "add": "添加",
        "read": "标为已读",
        "wrong": "用户名、密码或刷新令牌不正确，或令牌已过期。",
        "long": "密码: 至少需要 10 个字符",
    },
}
TITLES = {"en-US": ("Call Ada", "Renew the passport"), "zh-CN": ("给 <b>小林</b> 打电话", "换护照")}
_SCRIPT = re.compile(r"^```ts\n(.*?)^```", re.MULTILINE | re.DOTALL)


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory on a free port of localhost, and give its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()


class ExampleVisit:
    """Drives the example like a new user, in a window of one width and one language."""

    def __init__(self, page: Page, origin: str, api: str, locale: str, pictures: Path) -> None:
        self.page = page
        self.origin = origin
        self.api = api
        self.words = WORDS[locale]
        self.titles = TITLES[locale]
        self.pictures = pictures
        self.username = f"lin-{secrets.token_hex(3)}"
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/api.js", self._with_address)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _with_address(self, route: Route) -> None:
        """Serve the file as it is, but for the port of the API."""
        route.fulfill(response=(answer := route.fetch()), body=answer.text().replace(API, self.api))

    def button(self, word: str) -> None:
        """Press the button with this word."""
        self.page.get_by_role("button", name=self.words[word], exact=True).click()

    def enter(self, password: str, *, email: bool) -> None:
        """Fill in the form in front and send it."""
        self.page.fill("[name=username]", self.username)
        if email:
            self.page.fill("[name=email]", f"{self.username}@example.com")
        self.page.fill("[name=password]", password)
        self.button("register" if email else "sign in")

    def expect_complaints(self, *statuses: int) -> None:
        """Check that the console has a line for each of these answers, and nothing else.

        Raises:
            BrowserError: it has more, or less.
        """
        expected = [f"the server responded with a status of {status} " for status in statuses]
        if len(self.complaints) != len(expected) or not all(map(str.__contains__, self.complaints, expected)):
            raise BrowserError(f"The console says {self.complaints}, instead of {expected}")
        self.complaints.clear()

    def run(self, readme_picture: Path | None) -> None:
        """Do the whole visit.

        Raises:
            BrowserError: a step failed.
        """
        page, alert = self.page, self.page.locator("#enter [role=alert]")
        page.goto(self.origin)
        self.enter(PASSWORD, email=False)
        expect(alert).to_have_text(self.words["wrong"])
        self.expect_complaints(400)
        self.button("new here")
        self.enter("short", email=True)
        expect(alert).to_have_text(self.words["long"])
        self.expect_complaints(422)
        self.enter(PASSWORD, email=True)
        page.locator("#signed-in").wait_for()
        self.step("signed in")

        todos, reminders = page.locator("#todos li"), page.locator("#reminders li")
        due, later = self.titles
        page.fill("[name=title]", later)
        self.button("add")
        expect(todos).to_have_count(1)
        page.fill("[name=title]", due)
        self.button("soon")
        self.button("add")
        expect(todos).to_have_count(2)
        expect(reminders).to_have_count(0)
        expect(reminders).to_have_text([f"{due}{self.words['read']}"], timeout=40_000)  # without a reload
        self.step("a reminder has come")
        page.get_by_label(later).click()
        expect(page.get_by_label(later)).to_be_checked()
        self.picture()
        if readme_picture:
            self.take_readme_picture(readme_picture)
        self.expect_complaints()

        # The access token has expired: the page exchanges the refresh token, and the person notices nothing.
        page.evaluate("""() => {
            const tokens = JSON.parse(localStorage.tokens);
            localStorage.tokens = JSON.stringify({...tokens, access_token: "expired"});
        }""")
        page.reload()
        expect(todos).to_have_count(1)  # the other one is completed
        expect(reminders).to_have_count(1)
        self.expect_complaints(401)
        self.step("refreshed")
        self.button("read")
        expect(reminders).to_have_count(0)
        self.button("sign out")
        self.enter(PASSWORD, email=False)
        expect(todos).to_have_count(1)
        self.expect_complaints()
        self.run_script_of_readme()
        self.leave()

    def step(self, name: str) -> None:
        """Say what was done; check that nothing is cut off at the side."""
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if wide > room:
            raise BrowserError(f"The page is {wide} pixels wide in a window of {room}.")
        print(f"       {EXAMPLE}: {name}", flush=True)

    def picture(self) -> None:
        """Save a picture of the window."""
        self.page.screenshot(path=self.pictures / "7-example.png")

    def take_readme_picture(self, path: Path) -> None:
        """Take a picture of the page alone."""
        window = self.page.viewport_size
        self.page.set_viewport_size({"width": 640, "height": 720})
        self.page.screenshot(path=path)
        self.page.set_viewport_size(window)

    def run_script_of_readme(self) -> None:
        """Run the README's script in the page, with the port and the account of this visit.

        Raises:
            BrowserError: it does not show a completed todo.
        """
        (script,) = _SCRIPT.findall(Path("README.md").read_text(encoding="utf-8"))
        script = script.replace(API, self.api).replace('"lin"', f'"{self.username}"')
        with self.page.expect_console_message() as shown:
            self.page.evaluate(f"async () => {{ {script} }}")
        if shown.value.text != "Buy milk true":
            raise BrowserError(f"The README's script shows {shown.value.text}")
        self.step("the README's script has run beside it")

    def leave(self) -> None:
        """Delete the account, so that the visit leaves nothing behind."""
        status = self.page.evaluate(
            """async ([api, password]) => (await fetch(`${api}/users/me/`, {
                method: "DELETE",
                headers: {
                    Authorization: `Bearer ${JSON.parse(localStorage.tokens).access_token}`,
                    "Content-Type": "application/json",
                },
                body: JSON.stringify({password}),
            })).status""",
            [self.api, PASSWORD],
        )
        if status != 204:
            raise BrowserError(f"DELETE /users/me/ of the example's account: {status} instead of 204")
