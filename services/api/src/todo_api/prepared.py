"""Operations whose arguments are worked out by a plan made once, at the start: what FastAPI does for each request anew.

FastAPI reads the declaration (parameters, bodies, dependencies) and describes it in OpenAPI; its own validators check
the values, so errors are the same too. What is left out is what these operations have no use for: dependencies with
`yield`, forms, background tasks, response models that are filled in, telemetry. That is more than half of the time
that FastAPI spends on a request.
"""

import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from todo_api.routing import Route

_MISSING = object()
_Faults = list[dict[str, Any]]


class _Call:
    """One function of an operation, and where each of its arguments comes from."""

    def __init__(self, declared: Dependant) -> None:
        call = declared.call
        assert call is not None  # noqa: S101 - FastAPI's type allows for what routes never have
        if not iscoroutinefunction(call) and not iscoroutinefunction(type(call).__call__):
            raise TypeError(f"{call!r} must be `async def`, without `yield`, in a prepared operation")
        if declared.query_params or declared.cookie_params or declared.response_param_name:
            raise TypeError(f"{call!r} asks for what a prepared operation does not read")
        self._call: Callable[..., Coroutine[Any, Any, Any]] = call
        self._request_name = declared.request_param_name
        self._needs = [(needed.name, _Call(needed)) for needed in declared.dependencies]
        self._path = [(field, ("path", field.alias)) for field in declared.path_params]
        self._headers = [(field, ("header", field.alias)) for field in declared.header_params]
        self._body = declared.body_params[0] if declared.body_params else None

    async def arguments(self, request: Request, body: object, faults: _Faults) -> dict[str, Any]:
        """Its arguments; what is wrong with them is added to `faults`."""
        found: dict[str, Any] = {}
        for name, needed in self._needs:
            value = await needed.result(request, body, faults)
            if name is not None:
                found[name] = value
        if self._request_name is not None:
            found[self._request_name] = request
        for field, place in self._path:
            found[field.name], wrong = field.validate(request.path_params[field.alias], loc=place)
            faults += wrong
        for field, place in self._headers:
            value = request.headers.get(field.alias)
            found[field.name], wrong = (field.default, []) if value is None else field.validate(value, loc=place)
            faults += wrong
        if self._body is not None and body is _MISSING:
            faults.append({"type": "missing", "loc": ("body",), "input": None})
        elif self._body is not None:
            found[self._body.name], wrong = self._body.validate(body, loc=("body",))
            faults += wrong
        return found

    async def result(self, request: Request, body: object, faults: _Faults) -> Any:
        """What it answers; None once something is wrong."""
        arguments = await self.arguments(request, body, faults)
        return None if faults else await self._call(**arguments)


class Prepared(APIRoute):
    """An operation that answers with a response, which it makes itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Reads the body, works out the arguments, calls the function."""
        operation = _Call(self.dependant)
        reads_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            body = await _json_of(request) if reads_body else None
            faults: _Faults = []
            response: Response | None = await operation.result(request, body, faults)
            if response is None:
                raise RequestValidationError(faults)
            return response

        return handle


class HotRoute(Route, Prepared):
    """A prepared operation, by the rules of every other: those of `Route` stand around it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._answer = self.get_route_handler()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self.methods and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)


async def _json_of(request: Request) -> object:
    body = await request.body()
    if not body:
        return _MISSING
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(HTTPStatus.BAD_REQUEST) from None
