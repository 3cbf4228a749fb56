"""How routes match here: with or without a trailing slash, and only what their operation can read."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from todo_api.dependencies import Bearer, check_signed_in
from todo_api.problems import UnsupportedMediaType
from todo_core.errors import AppError, Unauthenticated, Unavailable

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def operation_id(route: APIRoute) -> str:
    """The name of an operation's method in a generated client: `createTodo` for the function `create_todo`."""
    first, *others = route.endpoint.__name__.split("_")
    return first + "".join(word.capitalize() for word in others)


class Route(APIRoute):
    """An operation: it reads only the content type that it says, and asks who is calling before it says anything else.

    Its answers are not stored by anybody, where they do not say otherwise.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "generate_unique_id_function": operation_id})

    @property
    def needs_sign_in(self) -> bool:
        """Whether it asks for an access token."""
        return any(isinstance(dependency.call, Bearer) for dependency in self.dependant.dependencies)

    def get_route_handler(self) -> _Handler:
        """FastAPI's handler, and these rules around it."""
        handle = super().get_route_handler()
        field = self.body_field
        expected = None if field is None else _FORM if isinstance(field.field_info, Form) else _JSON
        needs_sign_in = self.needs_sign_in

        async def handle_by_the_rules(request: Request) -> Response:
            try:
                if (refusal := request.scope["state"].get("refusal")) is not None:
                    raise refusal
                if expected is not None:
                    _check_content_type(request, expected)
                response = await handle(request)
            except (AppError, HTTPException, RequestValidationError) as error:
                # FastAPI looks at the body first, and a token alone does not tell whether its account is still there.
                # Only this way out asks the database: each statement of the way through does so by itself.
                if needs_sign_in and not isinstance(error, (Unauthenticated, Unavailable)):
                    await check_signed_in(request)
                raise
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handle_by_the_rules


def _check_content_type(request: Request, expected: str) -> None:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if sent != expected and (sent or has_body):
        raise UnsupportedMediaType(expected)


_Q = TypeVar("_Q", bound=BaseModel)


def read_query(model: type[_Q], request: Request) -> _Q:
    """The query string, checked by its model. FastAPI would do the same in ten times the time.

    Raises:
        RequestValidationError: it breaks a rule.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("query", *item["loc"])} for item in error.errors(include_url=False)]
        ) from None


class TrailingSlash:
    """Takes every path with and without its trailing slash: a redirect would lose the body of a POST.

    Pure ASGI, before routing: `paths` are those that are declared with one, and none of them has a parameter.
    """

    def __init__(self, app: ASGIApp, paths: frozenset[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under the path as declared."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.endswith("/"):
                if path not in self._paths and path != "/":
                    scope["path"] = path[:-1]
            elif f"{path}/" in self._paths:
                scope["path"] = f"{path}/"
        await self._app(scope, receive, send)


def paths_with_slash(*routers: APIRouter) -> frozenset[str]:
    """Those of the routers' paths that are declared with a trailing slash."""
    return frozenset(
        route.path
        for router in routers
        for route in router.routes
        if isinstance(route, Route) and route.path.endswith("/")
    )
