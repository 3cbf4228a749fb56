"""People who complete, move and delete todos meanwhile, through the product's own service, whatever is broken."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.people import Planned, Town, instant
from todo_core.accounts.tokens import Principal
from todo_core.database import Database, is_outage
from todo_core.todos.service import TodoNotFound, TodoService

RETRY_SECONDS = 0.3


class Editors:
    """They try again until the database has taken it: each change may be made twice and is the same."""

    def __init__(self, database: Database, town: Town) -> None:
        self._database = database
        self._todos = sorted((todo for todo in town.todos if todo.change), key=lambda todo: todo.change_at)

    async def run(self) -> None:
        """All changes, each at its time."""
        async with asyncio.TaskGroup() as group:
            for todo in self._todos:
                await asyncio.sleep(max(0.0, todo.change_at - time.time()))
                group.create_task(self._insist(todo))

    async def _insist(self, todo: Planned) -> None:
        todo.began = time.time()
        while True:
            try:
                await self._change(todo)
                break
            except Exception as error:
                if not is_outage(error):
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        todo.done = time.time()

    async def _change(self, todo: Planned) -> None:
        async with self._database.changes.transaction() as transaction:
            todos = TodoService(transaction)
            owner = Principal(todo.owner.id, 1)
            match todo.change:
                case "complete":
                    await todos.complete(owner, todo.todo_id)
                case "move":
                    await todos.update(owner, todo.todo_id, {"due_at": instant(todo.moved_to)})
                case _:
                    try:
                        await todos.delete(owner, todo.todo_id)
                    except TodoNotFound:
                        return  # the commit of an attempt before, whose answer was lost
