"""Which pages of other origins a browser lets call the API (the CORS protocol of the Fetch standard)."""

import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from todo_core.settings import Settings

_ON_THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_log = structlog.get_logger(__name__)


class Cors(CORSMiddleware):
    """Answers preflights, and logs one line for each request of an origin that is not allowed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.api.origins,
            # A developer's page has another port each day. Production names its origins.
            allow_origin_regex=_ON_THIS_MACHINE if settings.runtime.environment == "development" else None,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "If-Match",
                "If-None-Match",
                "Last-Event-ID",
                "X-Request-Id",
            ],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-Id"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A browser sends Origin to its own origin too, where no permission is needed."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        origin = headers.get(b"origin")
        if origin is None or origin.partition(b"://")[2] == headers.get(b"host"):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        """Tell whether a page of this origin may call the API."""
        allowed = super().is_allowed_origin(origin)
        if not allowed:
            _log.warning("origin_refused", origin=origin[:200], setting="API_CORS_ORIGINS")
        return allowed
