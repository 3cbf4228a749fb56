"""Todos over HTTP."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.config import JsonDict

from todo_api.answers import not_modified, page_answer, todo_answer
from todo_api.dependencies import Browser, Changes, CurrentUser, ExpectedVersions, KnownVersions, ProcessDep, TodoId
from todo_api.derived import Omittable, Shown, example
from todo_api.fields import QueryTimestamp
from todo_api.openapi import NOT_MODIFIED, one_todo, problems, query_parameters
from todo_api.prepared import HotRoute
from todo_api.reminders import RemindersIn
from todo_api.routing import read_query
from todo_core.todos.models import TodoFields, TodoShown
from todo_core.todos.queries import ListQuery, SortName
from todo_core.todos.service import TodoService

router = APIRouter(prefix="/todos", tags=["todos"], route_class=HotRoute)


_EXAMPLE: JsonDict = {
    "id": "01890000-0000-7000-8000-000000000000",
    **example(TodoFields),
    "completed": False,
    "completed_at": None,
    "created_at": "2026-11-24T08:30:00.123456Z",
    "updated_at": "2026-11-24T08:30:00.123456Z",
    "version": 1,
}


class TodoCreate(TodoFields):
    """A new todo."""

    model_config = ConfigDict(  # type: ignore[assignment] # SQLModel's has a type of its own
        extra="forbid",
        json_schema_extra={"examples": [{**example(TodoFields), "reminders": [{"before": "PT30M"}]}]},
    )

    completed: StrictBool = False
    reminders: RemindersIn | None = None


class TodoPatch(Omittable, TodoCreate):
    """What changes: only what is sent. Null clears `description` and `due_at`, and takes the default `reminders`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "Buy oat milk", "reminders": [{"before": "PT30M"}, {"before": "P1D"}]}]
        }
    )


class TodoPut(TodoCreate):
    """A todo as it is to be: what is left out takes its default."""


class TodoPublic(Shown, TodoShown):
    """A todo."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})  # type: ignore[assignment] # as above


class TodoPage(BaseModel):
    """A page of todos."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE], "next_cursor": None}]})

    items: list[TodoPublic]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class TodoListQuery(BaseModel):
    """What to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100, description="todos on a page")
    cursor: str | None = Field(None, description="next_cursor of the page before, with the same sort and filters")
    completed: bool | None = Field(None, description="only those done (true) or not done (false)")
    due_before: QueryTimestamp | None = Field(None, description="only those due before this instant")
    due_after: QueryTimestamp | None = Field(None, description="only those due at this instant or after it")
    sort: SortName = Field(
        "-created_at",
        description="`-` for descending. Todos without a due date come last both ways; titles are ordered by their "
        "bytes, ASCII letters regardless of case",
    )


@router.post(
    "/",
    status_code=201,
    response_model=TodoPublic,
    summary="Add a todo",
    responses={**one_todo(201), **problems(401, 413, 415, 422)},
)
async def create_todo(body: TodoCreate, user: CurrentUser, changes: Changes, request: Request) -> Response:
    """The answer's `Location` is the new todo's address."""
    async with changes.transaction() as transaction:
        todo = await TodoService(transaction).create(user, _fields(body))
    return todo_answer(todo, status=201, location=f"{request.scope.get('root_path', '')}/todos/{todo['id']}")


@router.get(
    "/",
    response_model=TodoPage,
    summary="List todos",
    responses=problems(401, 422),
    openapi_extra=query_parameters(TodoListQuery),
)
async def list_todos(request: Request, user: CurrentUser, process: ProcessDep) -> Response:
    """Your todos, a page at a time.

    Follow `next_cursor` to the end: no page skips or repeats a todo whose sort key stays as it was, whatever is
    written meanwhile. Every page costs the same, however deep.
    """
    query = read_query(TodoListQuery, request) if request.scope["query_string"] else _FIRST_PAGE
    asked = ListQuery(query.sort, query.limit, query.completed, query.due_before, query.due_after)
    return page_answer(await process.lists.page(user, asked, query.cursor))


def _fields(body: TodoCreate | TodoPatch) -> dict[str, Any]:
    """What was sent, as the rules take it."""
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    if fields.get("reminders") is not None:
        fields["reminders"] = [reminder.spec for reminder in fields["reminders"]]
    return fields


_FIRST_PAGE = TodoListQuery()


@router.get(
    "/{todo_id}",
    response_model=TodoPublic,
    summary="Read a todo",
    responses={**one_todo(200), **NOT_MODIFIED, **problems(401, 404, 422)},
)
async def read_todo(todo_id: TodoId, user: CurrentUser, browser: Browser, known: KnownVersions) -> Response:
    """With `If-None-Match`, 304 if it is still the same."""
    todo = await browser.get(user, todo_id)
    return not_modified(todo["version"]) if todo["version"] in known else todo_answer(todo)


@router.put(
    "/{todo_id}",
    response_model=TodoPublic,
    summary="Replace a todo",
    responses={**one_todo(200), **problems(401, 404, 412, 413, 415, 422)},
)
async def replace_todo(
    todo_id: TodoId, body: TodoPut, user: CurrentUser, changes: Changes, expected: ExpectedVersions
) -> Response:
    """What is left out takes its default, reminders too. With `If-Match`, 412 if it has changed since."""
    async with changes.transaction() as transaction:
        todo = await TodoService(transaction).replace(user, todo_id, _fields(body), expected_versions=expected)
    return todo_answer(todo)


@router.patch(
    "/{todo_id}",
    response_model=TodoPublic,
    summary="Change a todo",
    responses={**one_todo(200), **problems(401, 404, 412, 413, 415, 422)},
)
async def update_todo(
    todo_id: TodoId, body: TodoPatch, user: CurrentUser, changes: Changes, expected: ExpectedVersions
) -> Response:
    """Changes only what is sent; `{}` changes nothing. With `If-Match`, 412 if it has changed since."""
    async with changes.transaction() as transaction:
        todo = await TodoService(transaction).update(user, todo_id, _fields(body), expected_versions=expected)
    return todo_answer(todo)


@router.delete("/{todo_id}", status_code=204, summary="Delete a todo", responses=problems(401, 404, 412, 422))
async def delete_todo(todo_id: TodoId, user: CurrentUser, changes: Changes, expected: ExpectedVersions) -> Response:
    """For good. With `If-Match`, 412 if it has changed since."""
    async with changes.transaction() as transaction:
        await TodoService(transaction).delete(user, todo_id, expected_versions=expected)
    return Response(status_code=204)


@router.post(
    "/{todo_id}/complete",
    response_model=TodoPublic,
    summary="Mark a todo as done",
    responses={**one_todo(200), **problems(401, 404, 422)},
)
async def complete_todo(todo_id: TodoId, user: CurrentUser, changes: Changes) -> Response:
    """Idempotent: completing a completed todo changes nothing and keeps its first completion time."""
    async with changes.transaction() as transaction:
        todo = await TodoService(transaction).complete(user, todo_id)
    return todo_answer(todo)


@router.post(
    "/{todo_id}/reopen",
    response_model=TodoPublic,
    summary="Mark a todo as not done",
    responses={**one_todo(200), **problems(401, 404, 422)},
)
async def reopen_todo(todo_id: TodoId, user: CurrentUser, changes: Changes) -> Response:
    """Idempotent: reopening an open todo changes nothing."""
    async with changes.transaction() as transaction:
        todo = await TodoService(transaction).reopen(user, todo_id)
    return todo_answer(todo)
