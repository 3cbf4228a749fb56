"""Swagger UI, ReDoc and the OpenAPI document, in English and in Chinese.

The pages' scripts come from the `fastapi-offline` wheel: the public CDNs are slow or blocked in mainland China, and a
page that signs in should run no script from elsewhere.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from todo_api.messages import Language, preferred_language
from todo_api.openapi import ProblemDocument, fault_example
from todo_api.openapi_zh import CHINESE
from todo_api.problems import language_of

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_REF = "#/components/schemas/{model}"


def _guarded(page: HTMLResponse) -> HTMLResponse:
    """The page, and the browser's word that it runs its own scripts alone: nothing comes from elsewhere or goes there.

    FastAPI starts Swagger UI with an inline script: it is named by its hash, so that no other one runs.
    """
    scripts = _INLINE_SCRIPT.findall(bytes(page.body).decode())
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts)
    page.headers["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self'", *(f"'sha256-{digest}'" for digest in hashes))),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "worker-src blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
    return page


@lru_cache(maxsize=1)
def _redoc() -> bytes:
    # An empty picture fails to load, and then ReDoc shows none.
    return (
        (_ASSETS / "redoc.standalone.js").read_bytes().replace(b"https://cdn.redoc.ly/redoc/logo-mini.svg", b"data:,")
    )


def install(app: FastAPI) -> None:
    """Serve /docs and /redoc, and complete what FastAPI generates."""

    @app.get("/assets/redoc.standalone.js", include_in_schema=False)
    async def redoc_script() -> Response:
        """ReDoc without the request for its maker's logo, which the policy of the page would block."""
        return Response(_redoc(), media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})

    app.mount("/assets", StaticFiles(directory=_ASSETS), name="assets")

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> RedirectResponse:
        """Whoever opens the service in a browser wants to see what it is."""
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")

    @lru_cache
    def document(language: Language) -> bytes:
        # Once for each language: it has 240 kB, and whoever asks for it needs no sign-in.
        return bytes(JSONResponse(_in_chinese(app.openapi()) if language == "zh" else app.openapi()).body)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        headers = {"Vary": "Accept-Language"}
        return Response(document(_language(request)), media_type="application/json", headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_swagger_ui_html(
                openapi_url=f"{root}/openapi.json?lang={_language(request)}",
                title=f"{app.title}: Swagger UI",
                swagger_js_url=f"{root}/assets/swagger-ui-bundle.js",
                swagger_css_url=f"{root}/assets/swagger-ui.css",
                swagger_favicon_url=f"{root}/assets/favicon.png",
                swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
            )
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_redoc_html(
                openapi_url=f"{root}/openapi.json?lang={_language(request)}",
                title=f"{app.title}: ReDoc",
                redoc_js_url=f"{root}/assets/redoc.standalone.js",
                redoc_favicon_url=f"{root}/assets/favicon.png",
                with_google_fonts=False,
            )
        )

    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _language(request: Request) -> Language:
    """The language of `?lang=`, else the one that the browser asks for."""
    asked = request.query_params.get("lang")
    return preferred_language(asked) if asked else language_of(request.scope)


def _in_chinese(node: Any) -> Any:
    """A copy of a part of the document with Chinese summaries and descriptions, where there are such."""
    if isinstance(node, list):
        return [_in_chinese(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        name: CHINESE.get(part, part)
        if name in {"summary", "description"} and isinstance(part, str)
        else part
        if name in {"example", "examples"}
        else _in_chinese(part)
        for name, part in node.items()
    }


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
            webhooks=app.webhooks.routes,
        )
        _restore_examples(document)
        _use_problem_documents(document)
        _tell_optional_from_null(document)
        app.openapi_schema = document
    return app.openapi_schema


def _restore_examples(document: dict[str, Any]) -> None:
    """Give examples as they are declared: FastAPI drops every null, and with it required members."""
    for model in _models(BaseModel):
        extra = model.model_config.get("json_schema_extra")
        schema = document["components"]["schemas"].get(model.__name__)
        if schema and model.__module__.startswith("todo_") and isinstance(extra, dict) and "examples" in extra:
            schema["examples"] = extra["examples"]


def _models(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in kind.__subclasses__():
        yield model
        yield from _models(model)


def _use_problem_documents(document: dict[str, Any]) -> None:
    """Put our errors where FastAPI assumes its own."""
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    model = ProblemDocument.model_json_schema(ref_template=_REF, by_alias=True)
    schemas.update(model.pop("$defs"))
    schemas["ProblemDocument"] = model
    for operations in (*document["paths"].values(), *document["webhooks"].values()):
        for operation in operations.values():
            answers = operation["responses"]
            if "application/json" in answers.get("422", {}).get("content", {}):
                if "application/problem+json" in answers["422"]["content"]:
                    del answers["422"]["content"]["application/json"]
                else:
                    del answers["422"]
            if "422" in answers:
                answers["422"]["content"]["application/problem+json"]["example"]["errors"] = [
                    _fault(document, operation)
                ]


def _fault(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, str]:
    """A mistake that this operation answers 422 to."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        _drop_null(media["schema"])
        body = document["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
        if "required" in body:
            return fault_example("body", body["required"][0], "required")
        return fault_example("body", "colour", "unknown_field")
    parameter = operation["parameters"][0]
    return fault_example(parameter["in"], parameter["name"], "uuid" if parameter["in"] == "path" else "integer")


def _tell_optional_from_null(document: dict[str, Any]) -> None:
    """Give one type to what may be left out and cannot be null: parameters, a whole body, the fields of a form."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _drop_null(parameter["schema"])
            for media in operation.get("requestBody", {}).get("content", {}).values():
                _drop_null(media["schema"])
    for field in document["components"]["schemas"]["TokenForm"]["properties"].values():
        _drop_null(field)


def _drop_null(schema: dict[str, Any]) -> None:
    if {"type": "null"} in schema.get("anyOf", ()):
        (sent,) = (part for part in schema.pop("anyOf") if part != {"type": "null"})
        if "$ref" in sent:
            schema.clear()
        schema |= {**sent, **schema}
