"""The mail catcher of `make run`: takes every mail that is sent to it, and puts it into a folder instead of the world.

Each becomes a file that a mail program opens, and a line on the terminal with its link, if it has one.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import re
import signal
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

LINK = re.compile(r"https?://\S*/verify-email\?\S+")


class Folder:
    """The handler for aiosmtpd."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.caught = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        """Keep a mail."""
        content = envelope.original_content or b""
        self.caught += 1
        path = self.path / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{self.caught:04}.eml"
        path.write_bytes(content)
        message = email.message_from_bytes(content, EmailMessage, policy=email.policy.default)
        print(f'Mail to {", ".join(envelope.rcpt_tos)}: "{message["Subject"]}" in {path}', flush=True)
        body = message.get_body(("plain",))
        if body is not None and (link := LINK.search(body.get_content())):
            print(f"  {link[0]}", flush=True)
        return "250 OK"


async def catch(folder: Path, host: str, port: int) -> None:
    """Catch mails until SIGTERM or Ctrl-C."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    handler = Folder(folder)
    server = await loop.create_server(
        lambda: SMTP(handler, loop=loop, enable_SMTPUTF8=True, hostname="localhost"), host, port
    )
    await stopping.wait()
    server.close()


def main() -> None:
    """Run the catcher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(catch(options.folder, options.host, options.port))


if __name__ == "__main__":
    main()
