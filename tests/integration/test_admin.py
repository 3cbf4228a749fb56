"""`todo-admin users` and `todo-admin status`: what an operator sees and does."""

from __future__ import annotations

import io
import json
import re
import secrets
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import MakeDatabase, in_thread, make_settings
from tests.factories import Api, Person
from tests.worker_kit import Office, eventually
from todo_core.admin.commands import main
from todo_core.migrations import runner
from todo_core.settings import Settings, variable_name

EXPIRED_MAIL = """
INSERT INTO email_verifications (id, account_id, email, email_key, created_at)
VALUES (gen_random_uuid(), $1, 'l@x', 'l@x', now() - interval '4 days')
"""


class Admin:
    """Runs commands as a shell does."""

    def __init__(self, output: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._output = output
        self._monkeypatch = monkeypatch

    def use(self, database_url: str, redis_url: str) -> None:
        """Set the servers of the commands that follow."""
        self._monkeypatch.setenv("DATABASE_URL", database_url)
        self._monkeypatch.setenv("REDIS_URL", redis_url)
        self._monkeypatch.setenv("PASSWORD_BCRYPT_COST", "4")

    async def run(self, *words: str, status: int = 0) -> str:
        """Return what a command prints."""
        self._output.readouterr()
        assert await in_thread(main, [*words]) == status
        out, err = self._output.readouterr()
        return str(err if status == 2 else out)

    async def is_well(self) -> bool:
        """Tell whether `status` finds nothing wrong."""
        return bool(await in_thread(main, ["status"]) == 0)

    async def json(self, *words: str, status: int = 0) -> Any:
        """Return the JSON that a command prints."""
        return json.loads(await self.run(*words, "--json", status=status))


@pytest.fixture
def admin(
    database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Admin:
    admin = Admin(capsys, monkeypatch)
    admin.use(database_url, redis_url)
    return admin


async def sign_in(api: Api, person: Person, password: str | None = None) -> int:
    form = {"username": person.username, "password": password or person.password}
    return (await api.http.post("/token", data=form)).status_code


async def test_users_are_listed_and_shown_with_counts_and_without_a_word_of_their_todos(
    admin: Admin, lin: Person
) -> None:
    todo = await lin.add_todo("a secret")
    await lin.add_todo("another secret")
    await lin.post(f"/todos/{todo['id']}/complete")
    (listed,) = await admin.json("users", "list", "--search", lin.username.upper())
    assert (listed["username"], listed["todos"], listed["disabled"], listed["verified"]) == (
        *(lin.username, 2, False, False),
    )
    for name in (lin.username, lin.email.upper(), lin.id):
        shown = await admin.json("users", "show", name)
        assert (shown["id"], shown["todos_open"], shown["todos_completed"], shown["sessions"]) == (lin.id, 1, 1, 1)
    table = await admin.run("users", "list", "--search", lin.email)
    assert table.splitlines()[0].split()[:2] == ["username", "email"]
    assert lin.email in table.splitlines()[1]
    everything = table + await admin.run("users", "show", lin.username)
    assert "secret" not in everything
    assert "password" not in everything


async def test_a_disabled_user_is_out_at_once_and_can_come_back(admin: Admin, api: Api, lin: Person) -> None:
    refresh = {"grant_type": "refresh_token", "refresh_token": lin.tokens["refresh_token"]}
    await admin.run("users", "disable", lin.username)
    assert (await lin.get("/users/me/")).status_code == 401
    assert (await api.http.post("/token", data=refresh)).status_code == 400
    assert await sign_in(api, lin) == 400
    assert (await admin.json("users", "show", lin.username))["disabled_at"] is not None
    await admin.run("users", "enable", lin.username)
    assert await sign_in(api, lin) == 200


async def test_a_reset_password_is_printed_and_ends_all_sessions(admin: Admin, api: Api, lin: Person) -> None:
    password = (await admin.run("users", "reset-password", lin.email)).splitlines()[0]
    assert (await lin.get("/users/me/")).status_code == 401
    assert await sign_in(api, lin) == 400
    assert await sign_in(api, lin, password) == 200


async def test_a_password_that_is_typed_obeys_the_rules_for_passwords(
    admin: Admin, api: Api, lin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda _: typed.pop(0))
    for refused in ("short", "password1234", f"{lin.username}12", "one of these\nand another"):
        typed[:] = refused.split("\n") if "\n" in refused else [refused] * 2
        assert await admin.run("users", "reset-password", lin.username, "--prompt", status=2)
        assert await sign_in(api, lin) == 200
    typed[:] = ["nine lives of a cat"] * 2
    assert "nine lives" not in await admin.run("users", "reset-password", lin.username, "--prompt")
    assert await sign_in(api, lin, "nine lives of a cat") == 200


async def test_an_id_finds_its_account_whatever_another_is_called(admin: Admin, api: Api, lin: Person) -> None:
    await api.person(username=lin.id)
    assert lin.username in await admin.run("users", "disable", lin.id)
    assert (await lin.get("/users/me/")).status_code == 401


async def test_names_of_wide_letters_stand_in_columns(admin: Admin, api: Api) -> None:
    wide = await api.person(username=f"王小明{secrets.token_hex(4)}")
    line = (await admin.run("users", "list", "--search", wide.email)).splitlines()
    assert line[0].index("email") == line[1].index(wide.email) + 3


async def test_a_user_is_deleted_once_the_username_is_typed_again(
    admin: Admin, lin: Person, wang: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lin.add_todo()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "--yes" in await admin.run("users", "delete", lin.username, status=2)
    monkeypatch.setattr("builtins.input", lambda _: wang.username)
    assert "Nothing was deleted" in await admin.run("users", "delete", lin.username, status=2)
    assert (await lin.get("/users/me/")).status_code == 200
    monkeypatch.setattr("builtins.input", lambda _: lin.username)
    await admin.run("users", "delete", lin.username)
    assert (await lin.get("/users/me/")).status_code == 401
    await admin.run("users", "delete", wang.id, "--yes")
    assert (await wang.get("/users/me/")).status_code == 401


@pytest.mark.parametrize("command", ["show", "disable", "enable", "delete", "reset-password"])
async def test_a_user_that_does_not_exist_is_named(admin: Admin, command: str) -> None:
    assert "'no.such.person'" in await admin.run("users", command, "no.such.person", status=2)


async def test_status_is_well_where_all_is_and_counts(
    admin: Admin, office: Office, worker_database: str, redis_url: str
) -> None:
    admin.use(worker_database, redis_url)
    (missing,) = (await admin.json("status", status=1))["wrong"]
    assert missing.startswith("No worker")
    await office.sql.execute(EXPIRED_MAIL, UUID(await office.account()))
    await office.start()
    await eventually(admin.is_well)
    seen = await admin.json("status")
    assert (seen["database"], seen["redis"], seen["accounts"], seen["wrong"]) == ("answers", "answers", 1, [])
    assert "All is well." in await admin.run("status")


async def test_status_names_a_database_that_is_down(admin: Admin, redis_url: str) -> None:
    admin.use("postgresql://todo@127.0.0.1:1/todo", redis_url)
    seen = await admin.json("status", status=1)
    assert (seen["database"], seen["redis"]) == ("down", "answers")
    assert "DATABASE_URL" in seen["wrong"][0]


async def test_a_database_that_is_not_migrated_is_said_to_be(admin: Admin, empty_database: str, redis_url: str) -> None:
    admin.use(empty_database, redis_url)
    assert "todo-admin migrate" in await admin.run("users", "list", status=2)


async def test_status_names_what_is_wrong(admin: Admin, make_database: MakeDatabase) -> None:
    url = await make_database()
    admin.use(url, "redis://127.0.0.1:1/0")
    assert "todo-admin migrate" in await admin.run("status", status=1)
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url)
    owner, todo = UUID(int=1), UUID(int=2)
    await connection.execute(
        "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)"
        " VALUES ($1, 'lin', 'lin', 'l@x', 'l@x', '')",
        owner,
    )
    await connection.execute(
        "INSERT INTO todos (id, owner_id, title, created_at, updated_at) VALUES ($2, $1, 'x', now(), now())",
        *(owner, todo),
    )
    await connection.execute(
        "INSERT INTO reminders (id, account_id, todo_id, before_days, before_seconds, remind_at, state)"
        " VALUES (gen_random_uuid(), $1, $2, 0, 0, now() - interval '2 minutes', 'scheduled')",
        *(owner, todo),
    )
    await connection.execute(
        "INSERT INTO email_verifications (id, account_id, email, email_key, created_at)"
        " VALUES (gen_random_uuid(), $1, 'l@x', 'l@x', now() - interval '10 minutes')",
        owner,
    )
    await connection.close()
    wrong = (await admin.json("status", status=1))["wrong"]
    assert ["Redis" in wrong[0], "worker" in wrong[1], "reminder" in wrong[2], "mail" in wrong[3]] == [True] * 4
    settings = {variable_name(concern, field) for concern in Settings.CONCERNS for field in concern.model_fields}
    assert set(re.findall(r"[A-Z]+_[A-Z]+", " ".join(wrong))) <= settings


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_can_complete_the_commands(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    with pytest.raises(SystemExit):
        main(["--print-completion", shell])
    assert "reset-password" in capsys.readouterr().out
