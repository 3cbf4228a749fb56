"""`todo-admin`: the commands for operators."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from alembic.util import CommandError

from todo_core.database import StatementPool, is_outage
from todo_core.migrations import revisions, runner
from todo_core.reminders.dead_letters import DeadLetters
from todo_core.settings import ConfigurationError, Settings, check_names

_T = TypeVar("_T")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0 if it succeeded, 2 with a sentence on standard error if it failed."""
    options = _parser().parse_args(arguments)
    run: Callable[[Settings, argparse.Namespace], None] = options.run
    try:
        run(Settings.load(), options)
    except (ConfigurationError, CommandError) as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if not is_outage(error):
            raise
        print(f"PostgreSQL does not answer as it should ({type(error).__name__}: {error}).", file=sys.stderr)
        print("Check DATABASE_URL, and that the server runs and lets this account in.", file=sys.stderr)
        return 2
    return 0


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
    return parser


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
    letters = _with_database(settings, lambda letters: letters.list(options.limit))
    for letter in letters:
        print(
            f"{letter.id}  {letter.channel:8}due {letter.due_at:%Y-%m-%d %H:%M:%SZ}  "
            f"given up {letter.settled_at:%Y-%m-%d %H:%M:%SZ} after {letter.attempts} attempts  {letter.last_error}"
        )
    print(f"{len(letters)} given up." if letters else "No delivery was given up.")


def _retry_dead(settings: Settings, options: argparse.Namespace) -> None:
    ids = None if options.all else [str(delivery_id) for delivery_id in options.ids]
    print(f"{_with_database(settings, lambda letters: letters.retry(ids))} on their way again.")


def _with_database(settings: Settings, work: Callable[[DeadLetters], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        statements = StatementPool(settings.database)
        try:
            return await work(DeadLetters(statements))
        finally:
            await statements.close()

    return asyncio.run(run())
