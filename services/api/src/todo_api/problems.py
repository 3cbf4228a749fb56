"""Every error as an RFC 9457 problem document, in the reader's language."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from todo_api.messages import PROBLEMS, RULES, Language, preferred_language, problem_text, rule_text
from todo_core.errors import AppError, Fault, Unavailable

MEDIA_TYPE = "application/problem+json"

_OAUTH_ERRORS = {
    "invalid_grant": "invalid_grant",
    "refresh_token_reused": "invalid_grant",
    "invalid_request": "invalid_request",
    "unsupported_grant_type": "unsupported_grant_type",
}
"""The `error` that RFC 6749, section 5.2, wants beside."""

_RULE_OF_ERROR_TYPE = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "string_type": "string",
    "string_unicode": "unicode",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_parsing_size": "integer",
    "int_from_float": "integer",
    "greater_than_equal": "minimum",
    "less_than_equal": "maximum",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "literal_error": "one_of",
    "uuid_type": "uuid",
    "uuid_parsing": "uuid",
    "model_attributes_type": "object",
    "model_type": "object",
    "dict_type": "object",
    "list_type": "list",
}
"""pydantic's error types that have words of ours; a type that is itself the name of a rule needs no entry."""

_ACCEPTS = {"POST": "Accept-Post", "PATCH": "Accept-Patch"}
"""The header that says what is read, by method (RFC 9110, section 12.5.1, for the others)."""
_OFFSETS = {"skip", "offset", "page"}
"""How other services' lists are paged."""


class UnsupportedMediaType(AppError):
    """The body came as something that the operation does not read."""

    code = "unsupported_media_type"

    def __init__(self, expected: str) -> None:
        super().__init__()
        self.expected = expected


class BodyTooLarge(AppError):
    """The body has more bytes than `BodyLimit` reads."""

    code = "body_too_large"

    def __init__(self, limit: int, *, is_drained: bool) -> None:
        super().__init__()
        self.limit = limit
        self.is_drained = is_drained
        """Whether the body was read to its end: else the connection cannot be used again."""


class TooManyRequests(AppError):
    """This address has tried too often."""

    code = "too_many_requests"


def language_of(scope: Mapping[str, Any]) -> Language:
    """The language that a request asks for."""
    return preferred_language(Headers(raw=scope["headers"]).get("accept-language", ""))


def problem(
    scope: Mapping[str, Any],
    code: str,
    *,
    status: int | None = None,
    faults: Sequence[tuple[str, Fault]] = (),
    params: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> Response:
    """The answer for a problem.

    Args:
        scope: the request's ASGI scope: its language and its request id.
        code: one of `messages.PROBLEMS`.
        status: instead of the code's own.
        faults: where each stands (`body`, `query`, `path`, `header`) and what it is.
        params: what fills the words.
        headers: more headers.
        members: more members of the document.
    """
    language = language_of(scope)
    title, detail = problem_text(code, language, params or {})
    document: dict[str, object] = {
        "type": f"urn:todo:problem:{code}",
        "title": title,
        "status": status or PROBLEMS[code].status,
        "detail": detail,
        "code": code,
        "request_id": scope.get("state", {}).get("request_id"),
    }
    if faults:
        document["errors"] = [
            {
                "in": place,
                "field": _printable(fault.field),
                "rule": fault.rule,
                "detail": rule_text(fault.rule, language, fault.params),
            }
            for place, fault in faults
        ]
    if code in _OAUTH_ERRORS:
        document["error"] = _OAUTH_ERRORS[code]
        # Swagger UI's Authorize shows this beside the code. RFC 6749 allows nothing but ASCII in it.
        document["error_description"] = problem_text(code, "en", params or {})[1].replace("`", "")
    document.update(members)
    return Response(
        orjson.dumps(document),
        status or PROBLEMS[code].status,
        {
            "Content-Language": "zh-CN" if language == "zh" else "en",
            "Vary": "Accept-Language",
            "Cache-Control": "no-store",
            **(headers or {}),
        },
        MEDIA_TYPE,
    )


def _printable(name: str) -> str:
    # A client can name a field with half a surrogate pair; JSON cannot.
    return name.encode("utf-8", "replace").decode("utf-8")


def unavailable(scope: Mapping[str, Any], retry_after: int | None = None) -> Response:
    """503: PostgreSQL is down, or this process is busy."""
    return problem(scope, "unavailable", headers={"Retry-After": str(retry_after or 1)})


def internal_error(scope: Mapping[str, Any]) -> Response:
    """500: no internals, only the id that the log has too."""
    return problem(scope, "internal_error")


async def _on_app_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, AppError):
        raise error
    headers: dict[str, str] = {}
    params: dict[str, object] = {}
    if isinstance(error, Unavailable):
        return unavailable(request.scope, error.retry_after)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, UnsupportedMediaType):
        params["expected"] = error.expected
        headers[_ACCEPTS.get(request.method, "Accept")] = error.expected
    if isinstance(error, BodyTooLarge):
        params["limit"] = error.limit
        if not error.is_drained:
            headers["Connection"] = "close"
    if PROBLEMS[error.code].status == HTTPStatus.UNAUTHORIZED:
        sent = "authorization" in request.headers
        # RFC 6750, section 3: no error code when no credentials came.
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if sent else "Bearer"
    place = "query" if request.method == "GET" else "body"
    return problem(
        request.scope, error.code, faults=[(place, fault) for fault in error.faults], params=params, headers=headers
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    items = error.errors()
    if any(item["type"] == "json_invalid" for item in items):
        return problem(request.scope, "malformed_body")
    faults = [_fault(item) for item in items]
    return problem(
        request.scope, "invalid_request" if _is_token_request(request) else "validation_failed", faults=faults
    )


def _is_token_request(request: Request) -> bool:
    """Whether an OAuth2 client waits for the answer."""
    return getattr(request.scope.get("route"), "name", None) == "token"


def _fault(item: Mapping[str, Any]) -> tuple[str, Fault]:
    place, *path = (str(part) for part in item["loc"])
    error_type = str(item["type"])
    rule = _RULE_OF_ERROR_TYPE.get(error_type, error_type if error_type in RULES else "invalid")
    if rule == "unknown_field" and place == "query" and path[-1] in _OFFSETS:
        rule = "use_cursor"
    if item.get("input", ...) is None and rule not in {"required", "unknown_field"}:
        rule = "null" if path else "required"
    return place, Fault(".".join(path) or place, rule, item.get("ctx") or {})


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = {
        HTTPStatus.NOT_FOUND: "not_found",
        HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
        HTTPStatus.BAD_REQUEST: "invalid_request" if _is_token_request(request) else "malformed_body",
    }.get(HTTPStatus(error.status_code), "http_error")
    headers = dict(error.headers or {})
    if code == "method_not_allowed":
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return problem(request.scope, code, status=error.status_code, headers=headers)


def _allowed_methods(request: Request) -> set[str]:
    """Those of all the operations at this path; Starlette names only those of the first."""
    routers: tuple[APIRouter, ...] = request.app.state.routers
    return {
        method
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(request.scope["path"])
        for method in route.methods or ()
    } or {"GET"}


def install(app: FastAPI) -> None:
    """Answer every error that an operation raises with a problem document."""
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
