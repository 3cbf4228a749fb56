"""The application: `uvicorn todo_api.main:create_app --factory`. Nothing happens at import."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from todo_api import (
    accounts,
    docs,
    event_stream,
    health,
    mail_links,
    notifications,
    preferences,
    problems,
    reminders,
    shutdown,
    todos,
    webhooks,
)
from todo_api.cors import Cors
from todo_api.dependencies import Process
from todo_api.middleware import BodyLimit, RequestContext
from todo_api.routing import TrailingSlash, paths_with_slash
from todo_core import logs
from todo_core.metrics_server import MetricsServer
from todo_core.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from todo_api.metrics import Metrics

_DESCRIPTION = """\
Accounts and their todos.

1. `POST /users/` opens an account.
2. `POST /token` signs in with it; in [Swagger UI](docs), the button **Authorize** does.
3. `/todos/` is yours alone.

Every path works with and without its trailing slash. Every error is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document in English or Chinese, by `Accept-Language`: decide
by its `code`. Times are [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) with an offset, and come back in UTC.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build one API process.

    Args:
        settings: read from the environment where not given.

    Raises:
        SystemExit: the settings are not valid, or there is no place for metrics; standard error says which and why.
    """
    if settings is None:
        try:
            settings = Settings.load()
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            # Gunicorn knows 3 as "failed to boot" and gives up; anything else it would start again for ever.
            raise SystemExit(3) from None
        logs.configure(settings.runtime)
    metrics_server = MetricsServer(
        settings.api.metrics_dir / str(settings.api.metrics_port), settings.api.metrics_host, settings.api.metrics_port
    )
    metrics = _count(metrics_server) if settings.api.metrics_port else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.process = process = Process.start(settings)
        try:
            with shutdown.announced(process.streams.stop):
                async with nullcontext() if metrics is None else metrics.served(metrics_server, process):
                    yield
        finally:
            await process.close()

    app = FastAPI(
        title="Todo",
        version=version("todo-api"),
        description=_DESCRIPTION,
        openapi_tags=[
            {"name": "accounts", "description": "Register, sign in, and the account itself"},
            {"name": "todos", "description": "Your own todos, and nobody else's"},
            {"name": "reminders", "description": "When a todo's owner hears of it, and what became of that"},
            {"name": "preferences", "description": "How the account is reminded"},
            {"name": "notifications", "description": "The inbox, as a list and as a stream"},
            {"name": "webhooks", "description": "Where reminders are posted to, signed as Standard Webhooks has it"},
            {"name": "e-mail", "description": "Proving an address, and getting no more mail at it"},
            {"name": "health", "description": "For probes"},
        ],
        lifespan=lifespan,
        webhooks=webhooks.events,
        openapi_url=None,  # docs.py serves it, in two languages
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = (
        todos.router,
        notifications.router,
        event_stream.router,
        reminders.router,
        preferences.router,
        webhooks.router,
        accounts.router,
        mail_links.router,
        health.router,
    )  # the hot routes first: they are tried in order
    app.state.routers = routers
    for router in routers:
        app.router.routes.extend(router.routes)  # including it would match each of its paths a second time
    if settings.api.docs_enabled:
        docs.install(app)
    problems.install(app)
    app.add_middleware(TrailingSlash, paths=paths_with_slash(*routers))
    app.add_middleware(BodyLimit, limit=settings.api.max_body_bytes)
    app.add_middleware(RequestContext, metrics=metrics)
    # Added last, so outermost: pages of other origins may read what RequestContext answers by itself, too.
    app.add_middleware(Cors, settings=settings)
    return app


def _count(metrics_server: MetricsServer) -> "Metrics":
    try:
        metrics_server.choose()
        metrics_server.join()
    except OSError as error:
        print(f"API_METRICS_DIR: cannot use {error.filename}: {error.strerror}.", file=sys.stderr)
        raise SystemExit(3) from None
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - see MetricsServer.choose

    from todo_api.metrics import Metrics  # noqa: PLC0415

    return Metrics(CollectorRegistry())
