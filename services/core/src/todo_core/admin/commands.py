"""The commands of `todo-admin`."""

import argparse
import asyncio
import getpass
import json
import secrets
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import shtab
from alembic.util import CommandError

from todo_core.accounts.password_policy import is_guessed_first, is_own_word
from todo_core.accounts.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH, PasswordHasher
from todo_core.accounts.turns import Asker
from todo_core.admin.status import status
from todo_core.admin.users import UnknownUser, Users
from todo_core.database import StatementPool, is_outage
from todo_core.migrations import revisions, runner
from todo_core.reminders.dead_letters import DeadLetters
from todo_core.settings import ConfigurationError, Settings, check_names

_T = TypeVar("_T")


class Refused(Exception):
    """What was typed at a question cannot be used."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0 if it succeeded, 2 with a sentence on standard error if it failed.

    `status` returns 1 where something is wrong.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[Settings, argparse.Namespace], int | None] = options.run
    try:
        return run(Settings.load(), options) or 0
    except (ConfigurationError, CommandError, UnknownUser, Refused) as error:
        print(error, file=sys.stderr)
        return 2
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        print(f"The database is not at this release's revision ({error}): todo-admin migrate.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_outage(error):
            raise
        print(f"PostgreSQL does not answer as it should ({type(error).__name__}: {error}).", file=sys.stderr)
        print("Check DATABASE_URL, and that the server runs and lets this account in.", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="todo-admin", description="Operate the Todo service.")
    commands = parser.add_subparsers(required=True, metavar="command")
    migrate = commands.add_parser("migrate", help="bring the database up to a revision (default: the newest)")
    migrate.add_argument("revision", nargs="?", default="head")
    migrate.set_defaults(run=_migrate)
    downgrade = commands.add_parser("downgrade", help="take the database down to a revision; `base` empties it")
    downgrade.add_argument("revision")
    downgrade.set_defaults(run=_downgrade)
    check = commands.add_parser("check-settings", help="say whether the service would start with these settings")
    check.set_defaults(run=_check_settings)
    reminders = commands.add_parser("reminders", help="deliveries that were given up").add_subparsers(
        required=True, metavar="list|retry"
    )
    listing = reminders.add_parser("list", help="the latest, with the error that ended each")
    listing.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    listing.set_defaults(run=_list_dead)
    retry = reminders.add_parser("retry", help="put them back on their way, for another day")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every one")
    which.add_argument("ids", nargs="*", type=UUID, default=[], metavar="id", help="a delivery's id")
    retry.set_defaults(run=_retry_dead)
    _add_users(commands)
    state = commands.add_parser("status", help="what there is, and what is wrong (exit status 1)")
    state.add_argument("--json", action="store_true", help="for programs")
    state.set_defaults(run=_status)
    shtab.add_argument_to(parser, help="print a script that completes commands; put it where your shell looks for one")
    return parser


def _add_users(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    users = commands.add_parser("users", help="accounts").add_subparsers(
        required=True, metavar="list|show|disable|enable|delete|reset-password"
    )
    listing = users.add_parser("list", help="the newest, with counts; nothing that they wrote")
    listing.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    listing.add_argument("--search", default="", metavar="text", help="part of a username or an e-mail address")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_users_list)
    one: list[tuple[str, str, Callable[[Settings, argparse.Namespace], None]]] = [
        ("show", "one account and its counts", _users_show),
        ("disable", "end its sessions and refuse new ones; its reminders are not sent", _users_disable),
        ("enable", "let it sign in again", _users_enable),
        ("delete", "remove it and all that is its own", _users_delete),
        ("reset-password", "give it a new password, printed once, and end its sessions", _users_reset_password),
    ]
    for name, text, run in one:
        command = users.add_parser(name, help=text)
        command.add_argument("user", help="username, e-mail address or id")
        command.set_defaults(run=run)
        if name == "show":
            command.add_argument("--json", action="store_true", help="for programs")
        if name == "reset-password":
            command.add_argument("--prompt", action="store_true", help="ask for the new password instead")
        if name == "delete":
            command.add_argument("--yes", action="store_true", help="do not ask")


def _migrate(settings: Settings, options: argparse.Namespace) -> None:
    reached = runner.upgrade(settings, options.revision)
    if revisions.is_newer(reached):
        print(f"The database is at revision {reached}: a newer release made it, and it stays as it is.")
    else:
        print(f"The database is at revision {reached} (newest: {revisions.head()}).")


def _downgrade(settings: Settings, options: argparse.Namespace) -> None:
    runner.downgrade(settings, options.revision)
    print(f"The database is at revision {options.revision}.")


def _check_settings(_: Settings, __: argparse.Namespace) -> None:
    check_names()
    print("The settings are valid.")


def _list_dead(settings: Settings, options: argparse.Namespace) -> None:
    letters = _with_database(settings, lambda statements: DeadLetters(statements).list(options.limit))
    for letter in letters:
        print(
            f"{letter.id}  {letter.channel:8}due {letter.due_at:%Y-%m-%d %H:%M:%SZ}  "
            f"given up {letter.settled_at:%Y-%m-%d %H:%M:%SZ} after {letter.attempts} attempts  {letter.last_error}"
        )
    print(f"{len(letters)} given up." if letters else "No delivery was given up.")


def _retry_dead(settings: Settings, options: argparse.Namespace) -> None:
    ids = None if options.all else [str(delivery_id) for delivery_id in options.ids]
    count = _with_database(settings, lambda statements: DeadLetters(statements).retry(ids))
    print(f"{count} on their way again.")


def _users_list(settings: Settings, options: argparse.Namespace) -> None:
    users = _with_database(settings, lambda statements: Users(statements).list(options.limit, options.search))
    if options.json:
        _print_json(users)
    elif users:
        _print_table(users)
    else:
        print("No account matches.")


def _users_show(settings: Settings, options: argparse.Namespace) -> None:
    user = _with_database(settings, lambda statements: Users(statements).show(options.user))
    _print_json(user) if options.json else _print_pairs(user)


def _users_disable(settings: Settings, options: argparse.Namespace) -> None:
    username = _with_database(settings, lambda statements: Users(statements).disable(options.user))
    print(f"Disabled {username}: all sessions have ended, and reminders that come due meanwhile are not sent.")


def _users_enable(settings: Settings, options: argparse.Namespace) -> None:
    username = _with_database(settings, lambda statements: Users(statements).enable(options.user))
    print(f"Enabled {username}: the person can sign in again.")


def _users_delete(settings: Settings, options: argparse.Namespace) -> None:
    user = _with_database(settings, lambda statements: Users(statements).show(options.user))
    if not options.yes:
        todos = user["todos_open"] + user["todos_completed"]
        print(f"This removes {user['username']} <{user['email']}> and {todos} todos, for ever.")
        if _asked(input, "Type the username to go on: ") != user["username"]:
            raise Refused("That is not the username. Nothing was deleted.")
    _with_database(settings, lambda statements: Users(statements).delete(str(user["id"])))
    print(f"Deleted {user['username']}.")


def _users_reset_password(settings: Settings, options: argparse.Namespace) -> None:
    user = _with_database(settings, lambda statements: Users(statements).show(options.user))
    password = _typed_password(user) if options.prompt else secrets.token_urlsafe(15)

    async def reset(statements: StatementPool) -> str:
        hasher = PasswordHasher(settings.passwords)
        try:
            password_hash = await hasher.hash(password, Asker("operator", str(user["id"])))
        finally:
            hasher.close()
        return await Users(statements).set_password(str(user["id"]), password_hash)

    username = _with_database(settings, reset)
    if not options.prompt:
        print(f"{password}\n")
    print(f"This is the new password of {username}." if not options.prompt else f"{username} has the new password.")
    print("All sessions have ended. The person should change it after signing in.")


def _typed_password(user: Mapping[str, Any]) -> str:
    password = _asked(getpass.getpass, "New password: ")
    if not MINIMUM_LENGTH <= len(password) <= MAXIMUM_LENGTH:
        raise Refused(f"A password has {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters.")
    if is_guessed_first(password) or is_own_word(password, user["username"], user["email"]):
        raise Refused("This password is among the first that are guessed.")
    if _asked(getpass.getpass, "The same again: ") != password:
        raise Refused("The two are not the same. Nothing was changed.")
    return password


def _asked(ask: Callable[[str], str], question: str) -> str:
    try:
        return ask(question)
    except EOFError:
        raise Refused("Nothing can be typed here. Run it in a terminal; `users delete` takes --yes.") from None


def _status(settings: Settings, options: argparse.Namespace) -> int:
    seen, wrong = _with_database(settings, lambda statements: status(settings, statements))
    if options.json:
        _print_json({**seen, "wrong": wrong})
    else:
        _print_pairs(seen)
        print("", *(wrong or ["All is well."]), sep="\n")
    return 1 if wrong else 0


def _print_json(value: object) -> None:
    print(json.dumps(value, default=_as_text, ensure_ascii=False, indent=2))


def _print_pairs(values: Mapping[str, object]) -> None:
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:{width}}  {_as_text(value)}")


def _print_table(rows: Sequence[Mapping[str, object]]) -> None:
    lines = [list(rows[0]), *([_as_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell + " " * (width - _columns(cell)) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _columns(text: str) -> int:
    """Return the columns of a terminal that a text takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _with_database(settings: Settings, work: Callable[[StatementPool], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        statements = StatementPool(settings.database)
        try:
            return await work(statements)
        finally:
            await statements.close()

    return asyncio.run(run())
