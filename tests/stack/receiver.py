"""The receiver of webhooks that the stack's tests run as a container. It stores all requests.

POST /hooks/NAME     a webhook
GET  /received       all that came, in order
"""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

received: list[dict[str, Any]] = []


async def take(request: web.Request) -> web.Response:
    """Take a webhook."""
    name = request.match_info["name"]
    body = await request.text()
    headers = {key.lower(): value for key, value in request.headers.items()}
    received.append({"name": name, "at": time.time(), "headers": headers, "body": body})
    return web.json_response({})


async def tell(_: web.Request) -> web.Response:
    """Answer with all webhooks so far."""
    return web.json_response(received)


app = web.Application()
app.add_routes([web.post("/hooks/{name}", take), web.get("/received", tell)])

if __name__ == "__main__":
    web.run_app(app, port=8000, print=None)
