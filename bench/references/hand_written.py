"""The floor for every hot route: hand-written Starlette, asyncpg and orjson, with the JWT checked on each request.

No rules, no error documents, no reminders, no logging, no request id: only the same lock, the same statement and the
same answer. The list reads `reference.todos`, whose one index is made for it; the writes use the product's own tables.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import orjson
import uuid_utils.compat
from jose import JWTError, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.references import ReferenceSettings

PAGE = 20
DIGEST_BYTES = 6
"""What the product's cursors begin with. The same requests are sent to both."""

# asyncpg keeps each statement prepared on each connection. id::text, because orjson refuses asyncpg's own UUID class.
COLUMNS = "id::text AS id, title, description, due_at, completed, completed_at, created_at, updated_at, version"
# One row more than the page says whether there is a next one.
LIST = f"""
    SELECT {COLUMNS} FROM reference.todos WHERE owner_id = $1 AND (created_at, id) < ($2, $3)
    ORDER BY created_at DESC, id DESC LIMIT {PAGE + 1}
"""
READ = f"SELECT {COLUMNS} FROM reference.todos WHERE owner_id = $1 AND id = $2"
LOCK = """
    UPDATE accounts SET change_seq = change_seq + 1,
        changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
    WHERE id = $1 RETURNING changed_at
"""
CREATE = f"""
    INSERT INTO todos (id, owner_id, title, description, due_at, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING {COLUMNS}
"""
PATCH = f"""
    UPDATE todos SET title = $3, updated_at = $4, version = version + 1 WHERE owner_id = $1 AND id = $2
    RETURNING {COLUMNS}
"""
COMPLETE = f"""
    UPDATE todos SET completed_at = $3, updated_at = $4, version = version + 1 WHERE owner_id = $1 AND id = $2
    RETURNING {COLUMNS}
"""
NEVER = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """These statements leave no state behind, and asyncpg's reset would cost a round trip on each release."""


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document, option=orjson.OPT_UTC_Z), status, media_type="application/json")


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

    def user(request: Request) -> UUID:
        token = request.headers["authorization"].removeprefix("Bearer ")
        return UUID(jwt.decode(token, settings.jwt_key, algorithms=["HS256"])["sub"])

    async def write(owner: UUID, statement: str, *arguments: object) -> asyncpg.Record:
        async with pool.acquire() as connection, connection.transaction():
            at = await connection.fetchval(LOCK, owner)
            return await connection.fetchrow(statement, *arguments, at)

    async def list_todos(request: Request) -> Response:
        cursor = request.query_params.get("cursor")
        place: tuple[datetime, UUID] = NEVER
        if cursor is not None:
            created_at, last_id = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[DIGEST_BYTES:])
            place = (datetime.fromisoformat(created_at), UUID(last_id))
        rows = await pool.fetch(LIST, user(request), *place)
        items = [dict(row) for row in rows[:PAGE]]
        next_cursor = None
        if len(rows) > PAGE:
            last = items[-1]
            next_cursor = urlsafe_b64encode(orjson.dumps([last["created_at"], last["id"]])).decode()
        return _json({"items": items, "next_cursor": next_cursor})

    async def read_todo(request: Request) -> Response:
        return _json(dict(await pool.fetchrow(READ, user(request), UUID(request.path_params["id"]))))

    async def create_todo(request: Request) -> Response:
        owner, body = user(request), orjson.loads(await request.body())
        due = datetime.fromisoformat(body["due_at"]) if body.get("due_at") else None
        fields = (body["title"].strip(), body.get("description"), due)
        return _json(dict(await write(owner, CREATE, uuid_utils.compat.uuid7(), owner, *fields)), 201)

    async def patch_todo(request: Request) -> Response:
        owner, body = user(request), orjson.loads(await request.body())
        return _json(dict(await write(owner, PATCH, owner, UUID(request.path_params["id"]), body["title"].strip())))

    async def complete_todo(request: Request) -> Response:
        at = datetime.now(UTC) if request.path_params["verb"] == "complete" else None
        owner = user(request)
        return _json(dict(await write(owner, COMPLETE, owner, UUID(request.path_params["id"]), at)))

    async def refused(_: Request, __: Exception) -> Response:
        return Response(status_code=401)

    return Starlette(
        routes=[
            Route("/todos/", list_todos),
            Route("/todos/", create_todo, methods=["POST"]),
            Route("/todos/{id}", read_todo),
            Route("/todos/{id}", patch_todo, methods=["PATCH"]),
            Route("/todos/{id}/{verb}", complete_todo, methods=["POST"]),
        ],
        lifespan=lifespan,
        exception_handlers={JWTError: refused, KeyError: refused},
    )
