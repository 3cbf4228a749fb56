"""The floor for an uncached list: hand-written Starlette, asyncpg and orjson, with the JWT checked on each request.

No validation of parameters, no error documents, no logging, no request id: only what a page of todos takes.
"""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import orjson
from jose import JWTError, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.references import ReferenceSettings

PAGE = 20

# One row more than the page says whether there is a next one. asyncpg keeps the statement prepared on each connection.
# id::text, because orjson refuses asyncpg's own UUID class.
LIST = f"""
    SELECT id::text AS id, title, description, due_at, completed, completed_at, created_at, updated_at, version
    FROM reference.todos
    WHERE owner_id = $1
    ORDER BY created_at DESC, id DESC
    LIMIT {PAGE + 1}
"""


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """One SELECT leaves no state behind, and asyncpg's reset would cost a round trip on each release."""


def create_app() -> Starlette:
    """The application, for `uvicorn --factory`."""
    settings = ReferenceSettings.load()
    pool: asyncpg.Pool

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal pool
        async with asyncpg.create_pool(
            settings.database_url,
            min_size=settings.connections,
            max_size=settings.connections,
            reset=_nothing_to_reset,
        ) as pool:
            yield

    async def list_todos(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Response(status_code=401)
        try:
            claims = jwt.decode(token, settings.jwt_key, algorithms=["HS256"])
        except JWTError:
            return Response(status_code=401)
        async with pool.acquire() as connection:
            rows = await connection.fetch(LIST, UUID(claims["sub"]))
        items = [dict(row) for row in rows[:PAGE]]
        next_cursor = None
        if len(rows) > PAGE:
            last = items[-1]
            next_cursor = urlsafe_b64encode(orjson.dumps([last["created_at"], last["id"]])).decode()
        return Response(
            orjson.dumps({"items": items, "next_cursor": next_cursor}, option=orjson.OPT_UTC_Z),
            media_type="application/json",
        )

    return Starlette(routes=[Route("/todos/", list_todos)], lifespan=lifespan)
