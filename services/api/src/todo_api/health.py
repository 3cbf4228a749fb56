"""The health endpoints: `/livez` tells whether the process answers, `/readyz` whether it can serve."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from todo_api.dependencies import Process, ProcessDep
from todo_api.openapi import problem_answer
from todo_api.problems import problem
from todo_api.routing import Route
from todo_core.database import is_outage, migration_revision
from todo_core.migrations.revisions import is_current_or_newer

router = APIRouter(tags=["health"], route_class=Route)

_DATABASE_SECONDS = 2.0


class Live(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """What the service can do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "checks": {"database": "ok", "redis": "ok"}, "down": []}]}
    )

    status: Literal["ok", "degraded"] = Field(description="degraded: it serves, but something that helps it is down")
    checks: dict[str, str]
    down: list[str] = Field(description="what is down")


@router.get("/livez", summary="Is the process alive?")
async def livez() -> Live:
    """Touches nothing: restarting the process would not help a database that is down."""
    return Live()


@router.get(
    "/readyz", response_model=Ready, summary="Can the process serve?", responses={503: problem_answer("not_ready")}
)
async def readyz(process: ProcessDep, request: Request) -> Response:
    """200 while the database answers and is at this code's migration or a newer one.

    Without Redis the service is `degraded`, not down: everything works, lists are read from PostgreSQL.
    """
    database, redis = await asyncio.gather(_database(process), _redis(process))
    checks = {"database": database, "redis": redis}
    if database != "ok":
        return problem(request.scope, "not_ready", checks=checks, headers={"Retry-After": "2"})
    down = [name for name, verdict in checks.items() if verdict != "ok"]
    answer = Ready(status="degraded" if down else "ok", checks=checks, down=down)
    return JSONResponse(answer.model_dump())


async def _database(process: Process) -> str:
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            revision = await migration_revision(process.database.statements)
    except Exception as error:
        if not is_outage(error):
            raise
        return "down"
    return "ok" if is_current_or_newer(revision) else "not migrated"


async def _redis(process: Process) -> str:
    return "ok" if await process.redis.answers() else "down"
