"""Somebody who hears by every channel, and counts: each reminder in the inbox, in the mails, and at the webhook."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import re
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.factories import Person
from tests.stack.stack import Stack
from tests.stack.waiting import until


def message(mail: str) -> Any:
    """A mail, as the standard library reads it."""
    return email.message_from_string(mail, policy=email.policy.default)


def text_of(mail: str) -> str:
    """What a mail says, as plain text."""
    body = message(mail).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def mails(stack: Stack, address: str, count: int = 1) -> list[str]:
    """The mails that came to an address, once there are so many."""

    async def enough() -> list[str] | None:
        found = await stack.mails(address)
        return found if len(found) >= count else None

    found = await until(enough, 20, f"{count} mails to {address}")
    assert found is not None
    return found


async def verify_address(stack: Stack, person: Person) -> None:
    """Ask for the mail, and press the button on the page that its link leads to."""
    assert (await person.post("/users/me/verify-email")).status_code == 202
    (mail,) = await mails(stack, person.email)
    link = re.search(r"https?://\S+/verify-email\?\S+", text_of(mail))
    assert link is not None
    assert link[0].startswith(stack.base_url), "the link leads to where people reach the service"
    page = await person.http.get(link[0])
    assert page.status_code == 200
    assert "<button" in page.text
    assert (await person.http.post(link[0])).status_code == 200
    assert (await person.get("/users/me/")).json()["email_verified"] is True


@dataclass
class Heard:
    """What came of one reminder."""

    inbox: list[str] = field(default_factory=list)
    """The delivery id of each notification."""
    mails: list[str] = field(default_factory=list)
    """The Message-ID of each mail."""
    hooks: list[tuple[str, float]] = field(default_factory=list)
    """The delivery id of each request, and when it came (`time.time()`)."""


@dataclass
class Witness:
    """An account with a verified address and a webhook."""

    stack: Stack
    person: Person
    hook: str
    """The name at the receiver."""
    due: dict[str, float] = field(default_factory=dict)
    """When each todo is due (`time.time()`), by its title, which is unique."""

    @classmethod
    async def hire(cls, stack: Stack, http: httpx.AsyncClient) -> Witness:
        """Open the account."""
        person = await stack.person(http)
        await verify_address(stack, person)
        hook = {"url": f"http://receiver:8000/hooks/{person.username}"}
        assert (await person.post("/webhooks/", json=hook)).status_code == 201
        channels = {"inbox": True, "email": True, "webhook": True}
        assert (await person.patch("/users/me/preferences", json={"channels": channels})).status_code == 200
        return cls(stack, person, person.username)

    async def expect(self, count: int, first: float, every: float) -> None:
        """So many todos, the first due in `first` seconds, and one more `every` so many."""
        now = time.time()
        for number in range(count):
            title, due = f"witness-{secrets.token_hex(6)}", now + first + number * every
            await self.person.add_todo(title, due_at=datetime.fromtimestamp(due, UTC).isoformat())
            self.due[title] = due

    async def heard(self) -> dict[str, Heard]:
        """What has come so far, by title."""
        heard: defaultdict[str, Heard] = defaultdict(Heard)
        answer = await self.person.get("/notifications/?limit=100")
        answer.raise_for_status()
        for item in answer.json()["items"]:
            heard[item["title"]].inbox.append(item["delivery_id"])
        for mail in await self.stack.mails(self.person.email):
            if found := re.search(r"witness-\w+", str(message(mail)["Subject"])):
                heard[found[0]].mails.append(str(message(mail)["Message-ID"]))
        for posted in await self.stack.posted(self.hook):
            title = json.loads(posted["body"])["data"]["title"]
            heard[title].hooks.append((posted["headers"]["webhook-id"], posted["at"]))
        return heard

    async def missing(self) -> list[str]:
        """Reminders that have not come by every channel yet."""
        heard = await self.heard()
        return [
            title
            for title in self.due
            if not (title in heard and heard[title].inbox and heard[title].mails and heard[title].hooks)
        ]

    async def all_heard(self, seconds: float) -> None:
        """Until every reminder has come by every channel, and a little longer, for what may come twice."""

        async def all_have() -> bool:
            try:
                return not await self.missing()
            except httpx.HTTPError:
                return False  # the product is in trouble, and that is not this question

        await until(all_have, seconds, f"reminders by all channels: {len(self.due)} are due")
        await asyncio.sleep(2)

    async def faults(self, *, repeats: bool) -> list[str]:
        """Lost or doubled; `repeats` lets mail and webhook come again after a kill, as the same delivery."""
        found: list[str] = []
        heard = await self.heard()
        for title in self.due:
            what = heard[title]
            hooks = [delivery for delivery, _ in what.hooks]
            for channel, ids, again in (
                ("inbox", what.inbox, False),
                ("mail", what.mails, repeats),
                ("webhook", hooks, repeats),
            ):
                if not ids or len(set(ids)) > 1 or (len(ids) > 1 and not again):
                    found.append(f"{title}: {channel} {ids}")
        found += [f"{title} was never asked for" for title in heard.keys() - self.due.keys()]
        return found

    async def lateness(self) -> list[float]:
        """Seconds from due to the webhook's first arrival, shortest first."""
        heard = await self.heard()
        return sorted(min(at for _, at in heard[title].hooks) - due for title, due in self.due.items())
