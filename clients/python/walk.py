"""Walks the generated Python client from opening an account to a reminder on the stream: `python walk.py ADDRESS`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from todo_client import AuthenticatedClient, Client
from todo_client.api.accounts import delete_me, register, sign_in
from todo_client.api.todos import complete_todo, create_todo, list_todos
from todo_client.models import (
    AccountCreate,
    AccountDelete,
    AccountPublic,
    TodoCreate,
    TodoPage,
    TodoPublic,
    TokenAnswer,
    TokenForm,
)

PASSWORD = "correct horse battery staple"


def exchange(client: Client, form: TokenForm) -> TokenAnswer:
    """Return the tokens that a form is good for."""
    tokens = sign_in.sync(client=client, body=form)
    assert isinstance(tokens, TokenAnswer), tokens
    return tokens


def walk(address: str) -> None:
    """Walk the whole path."""
    name = f"lin-{uuid4().hex[:8]}"
    client = Client(base_url=address)
    account = register.sync(
        client=client, body=AccountCreate(username=name, email=f"{name}@example.com", password=PASSWORD)
    )
    assert isinstance(account, AccountPublic), account
    tokens = exchange(client, TokenForm(grant_type="password", username=name, password=PASSWORD))
    tokens = exchange(client, TokenForm(grant_type="refresh_token", refresh_token=tokens.refresh_token))
    signed_in = AuthenticatedClient(base_url=address, token=tokens.access_token)

    milk = create_todo.sync(client=signed_in, body=TodoCreate(title="Buy milk"))
    assert isinstance(milk, TodoPublic), milk
    assert complete_todo.sync(milk.id, client=signed_in)
    page = list_todos.sync(client=signed_in, completed=True)
    assert isinstance(page, TodoPage), page
    assert [(todo.id, todo.completed) for todo in page.items] == [(milk.id, True)]

    # The generated operation would read the stream to its end; its client underneath reads it line by line.
    with signed_in.get_httpx_client().stream("GET", "/notifications/stream", timeout=60) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        due = datetime.now(UTC) + timedelta(seconds=2)
        todo = create_todo.sync(
            client=signed_in, body=TodoCreate(title="买牛奶", due_at=due, reminders=[{"at": due.isoformat()}])
        )
        assert isinstance(todo, TodoPublic), todo
        assert "买牛奶" in next(line for line in lines if line.startswith("data:"))
    assert delete_me.sync_detailed(client=signed_in, body=AccountDelete(password=PASSWORD)).status_code == 204


if __name__ == "__main__":
    walk(sys.argv[1])
