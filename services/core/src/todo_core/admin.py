"""`todo-admin`: what an operator asks of the product."""

import argparse
import sys

from todo_core.database import is_outage
from todo_core.migrations import runner
from todo_core.settings import ConfigurationError, Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it did what was asked, 2 with a sentence on standard error if it could not."""
    parser = argparse.ArgumentParser(prog="todo-admin", description="Operate the Todo service.")
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="bring the database up to a revision (default: the newest)")
    migrate.add_argument("revision", nargs="?", default="head")
    downgrade = commands.add_parser("downgrade", help="take the database down to a revision; `base` empties it")
    downgrade.add_argument("revision")
    commands.add_parser("check-settings", help="say whether the service would start with these settings")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.load()
        if options.command == "migrate":
            runner.upgrade(settings, options.revision)
            print(f"The database is at revision {options.revision} (newest: {runner.head()}).")
        elif options.command == "downgrade":
            runner.downgrade(settings, options.revision)
            print(f"The database is at revision {options.revision}.")
        else:
            print("The settings are valid.")
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if not is_outage(error):
            raise
        print(f"PostgreSQL does not answer as it should ({type(error).__name__}: {error}).", file=sys.stderr)
        print("Check DATABASE_URL, and that the server runs and lets this account in.", file=sys.stderr)
        return 2
    return 0
