"""The receiver of webhooks that the stack's tests run as a container: it remembers what came, and does as it is told.

POST /hooks/NAME     a webhook
GET  /received       all that came, in order
PUT  /moods/NAME     how /hooks/NAME answers from now on: {"status": 500} or {"hang": 30}, seconds; {} is well again
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

received: list[dict[str, Any]] = []
moods: dict[str, dict[str, Any]] = {}


async def take(request: web.Request) -> web.Response:
    """Take a webhook."""
    name = request.match_info["name"]
    body = await request.text()
    headers = {key.lower(): value for key, value in request.headers.items()}
    received.append({"name": name, "at": time.time(), "headers": headers, "body": body})
    mood = moods.get(name, {})
    await asyncio.sleep(mood.get("hang", 0))
    return web.json_response({}, status=mood.get("status", 200))


async def tell(_: web.Request) -> web.Response:
    """What came so far."""
    return web.json_response(received)


async def behave(request: web.Request) -> web.Response:
    """From now on, so."""
    moods[request.match_info["name"]] = await request.json()
    return web.json_response({})


app = web.Application()
app.add_routes(
    [web.post("/hooks/{name}", take), web.get("/received", tell), web.put("/moods/{name}", behave)],
)

if __name__ == "__main__":
    web.run_app(app, port=8000, print=None)
