"""Adds error answers, headers and examples to the OpenAPI document of the routes."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from todo_api.fields import omitted
from todo_api.messages import PROBLEMS, RULES, problem_text, rule_text
from todo_api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]


def query_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """A model's fields as query parameters: for the `openapi_extra` of an operation that reads them itself."""
    schema = model.model_json_schema()
    parameters = []
    for name, field in schema["properties"].items():
        description = field.pop("description", "")
        field.pop("title", None)
        parameters.append({"name": name, "in": "query", "required": False, "description": description, "schema": field})
    return {"parameters": parameters}


class FieldProblem(BaseModel):
    """One field that breaks one rule."""

    place: str = Field(alias="in", description="body, query, path or header", examples=["body"])
    field: str = Field(examples=["title"])
    rule: str = Field(
        description="stable; later versions may add some", examples=["max_length"], json_schema_extra={"enum": [*RULES]}
    )
    detail: str = Field(description="the rule in the reader's language")


class ProblemDocument(BaseModel):
    """RFC 9457. Decide by `code`; `title` and `detail` are for people, in English or Chinese by `Accept-Language`."""

    type: str = Field(examples=["urn:todo:problem:validation_failed"])
    title: str
    status: int
    detail: str
    code: str = Field(
        description="stable; later versions may add some",
        examples=["validation_failed"],
        json_schema_extra={"enum": [*PROBLEMS]},
    )
    request_id: str | None = Field(description="the same as in `X-Request-Id` and in the log")
    errors: list[FieldProblem] = omitted()
    error: str = omitted(description="RFC 6749's code, on /token")
    error_description: str = omitted(description="RFC 6749's words for developers, in English, on /token")


_CODES = {
    400: "invalid_grant",
    401: "unauthenticated",
    403: "wrong_password",
    404: "todo_not_found",
    409: "conflict",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}


def problems(*statuses: int) -> Responses:
    """The error answers of an operation. 400 (a body that is no JSON) goes with 415, 500 and 503 with every one."""
    answers: Responses = {status: problem_answer(_CODES[status]) for status in sorted({*statuses, 500, 503})}
    if 415 in statuses:
        answers.setdefault(400, problem_answer("malformed_body"))
    return answers


def problem_answer(code: str) -> dict[str, Any]:
    """One error answer."""
    status = PROBLEMS[code].status
    title, detail = problem_text(code, "en", {"limit": 1_048_576, "expected": "application/json"})
    example: dict[str, Any] = {
        "type": f"urn:todo:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "0f8c1d6f9d3b4f0f9a7be0ad1c0a9f55",
    }
    if code == "conflict":
        example["errors"] = [fault_example("body", "username", "taken")]
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "example": example}},
    }


def fault_example(place: str, field: str, rule: str) -> dict[str, str]:
    """One entry of `errors`."""
    return {"in": place, "field": field, "rule": rule, "detail": rule_text(rule, "en", {})}


_ETAG = {"ETag": {"description": "the todo's version, for If-Match and If-None-Match", "schema": {"type": "string"}}}


def one_todo(status: int) -> Responses:
    """The headers of an answer that holds one todo."""
    location = {"Location": {"description": "the todo's address", "schema": {"type": "string"}}}
    return {status: {"headers": _ETAG | location if status == 201 else _ETAG}}


NOT_MODIFIED: Responses = {304: {"description": "Not Modified", "headers": _ETAG}}
