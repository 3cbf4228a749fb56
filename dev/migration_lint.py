"""Checks for `make check` that no migration blocks a service that is running.

Every migration runs, oldest first, on a throw-away PostgreSQL. Its statements are recorded, also those of loops and
helpers, and whether a transaction was open. (Alembic's offline mode cannot render a migration that reads rows which it
has moved.) squawk checks them, and a few rules of our own check what squawk does not.

An exception is justified by a comment with its reason, beside the call:

    # migration-lint: ban-drop-column - no release has read it since 0007
    op.drop_column("todos", "colour")
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from dev.postgres import EmbeddedPostgres
from dev.processes import ServerError, exit_on_sigterm, scratch_directory
from todo_core.migrations import runner
from todo_core.settings import DatabaseSettings, RuntimeSettings, Settings

SQUAWK = Path(sys.executable).with_name("squawk")
OLDEST_POSTGRES = "15.0"
STYLE_ONLY = (
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",  # a failed transaction leaves nothing, and other migrations drop what is left
    "prefer-text-field",
    "prefer-timestamp-tz",
)
# env.py connects with these limits, so no migration has to set them.
LIMITS = "SET lock_timeout = '3s';\nSET statement_timeout = '15min';\n"

ALLOWED = re.compile(r"#\s*migration-lint:\s*(?P<rules>[a-z][a-z, -]*?[a-z])(?:\s+-\s+(?P<reason>\S.*))?\s*$")
IDENTIFIER = r'(?:ONLY\s+)?(?:"?\w+"?\.)?"?(?P<table>\w+)"?'
CREATED = re.compile(rf"\s*CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{IDENTIFIER}", re.IGNORECASE)
WRITTEN = re.compile(rf"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\s+{IDENTIFIER}", re.IGNORECASE)
DATA = re.compile(r"\s*(?:WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
WHOLE_TABLE = re.compile(r"\s*(?:LOCK|TRUNCATE|CLUSTER|VACUUM\s*\(?[^;]*\bFULL)\b", re.IGNORECASE)


class MigrationFailed(Exception):
    """A migration failed, so it cannot be checked; the text is PostgreSQL's."""


@dataclass(frozen=True)
class Statement:
    """A statement of a migration, whether it ran in a transaction, and the lines of the call that sent it."""

    sql: str
    in_transaction: bool
    first_line: int
    last_line: int


@dataclass
class Rendered:
    """A migration and its statements."""

    path: Path
    statements: list[Statement] = field(default_factory=list)
    lines: list[tuple[int, Statement]] = field(default_factory=list)
    """The first line of each statement in `sql`."""

    def sql(self) -> str:
        """Return the migration as a file for psql."""
        text, open_transaction = LIMITS, False
        self.lines = []
        for statement in self.statements:
            if statement.in_transaction != open_transaction:
                text += "BEGIN;\n" if statement.in_transaction else "COMMIT;\n"
                open_transaction = statement.in_transaction
            self.lines.append((text.count("\n"), statement))
            text += f"{statement.sql.strip().rstrip(';')};\n"
        return text + ("COMMIT;\n" if open_transaction else "")

    def at(self, line: int) -> Statement:
        """Return the statement at a line of `sql`; squawk counts from 0."""
        before = [statement for first, statement in self.lines if first <= line]
        return before[-1] if before else self.lines[0][1]


@dataclass(frozen=True, order=True)
class Complaint:
    """An error in a migration, with its place and rule."""

    path: Path
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {self.rule}: {self.text}"


def render(versions: Path, database_url: str) -> list[Rendered]:
    """Run the migrations of a folder, oldest first, on an empty database, and return the statements of each."""
    options = runner.config(Settings(RuntimeSettings(environment="test"), DatabaseSettings(url=database_url)))
    options.set_main_option("version_locations", str(versions).replace("%", "%%"))
    options.set_main_option("path_separator", "newline")
    scripts = list(ScriptDirectory.from_config(options).walk_revisions())[::-1]
    return [_render(script, options) for script in scripts]


def _render(script: Script, options: Any) -> Rendered:
    rendered = Rendered(Path(script.path))
    try:
        with _recorded(rendered):
            command.upgrade(options, script.revision)
    except SQLAlchemyError as error:
        said = getattr(error, "orig", None) or error
        raise MigrationFailed(f"{rendered.path.name} does not run on an empty database: {said}") from error
    return rendered


@contextmanager
def _recorded(rendered: Rendered) -> Iterator[None]:
    def write_down(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if (frame := _frame_in(rendered.path)) is not None:
            autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
            rendered.statements.append(Statement(statement, not autocommit, *_lines_of_call(frame)))

    event.listen(Engine, "before_cursor_execute", write_down)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", write_down)


def _frame_in(path: Path) -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None and Path(frame.f_code.co_filename) != path:
        frame = frame.f_back
    return frame


def _lines_of_call(frame: FrameType) -> tuple[int, int]:
    first, last, *_ = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    return first or frame.f_lineno, last or frame.f_lineno


def complaints(migrations: list[Rendered]) -> list[Complaint]:
    """Return statements without a justification that would lock or break a running service, and bad justifications."""
    found = sorted({*_squawk(migrations), *_ours(migrations)})
    sources = {migration.path: migration.path.read_text(encoding="utf-8").splitlines() for migration in migrations}
    ends = {(m.path, s.first_line): s.last_line for m in migrations for s in m.statements}
    used: set[tuple[Path, int, str]] = set()
    open_complaints = []
    for complaint in found:
        last = ends.get((complaint.path, complaint.line), complaint.line)
        justified = _justifications(sources[complaint.path], complaint.line, last)
        if line := justified.get(complaint.rule):
            used.add((complaint.path, line, complaint.rule))
        else:
            open_complaints.append(complaint)
    return sorted([*open_complaints, *_bad_justifications(sources, used)])


def _justifications(source: list[str], first: int, last: int) -> dict[str, int]:
    """Return the rules that comments in or right above these lines except, each with the comment's line."""
    while first > 1 and source[first - 2].lstrip().startswith("#"):
        first -= 1
    return {rule: line for line in range(first, last + 1) for rule in _allowed(source[line - 1])[0]}


def _allowed(line: str) -> tuple[list[str], bool]:
    """Return the rules that a line excepts, and whether it gives a reason."""
    if not (match := ALLOWED.search(line)):
        return [], False
    return re.split(r"[,\s]+", match["rules"]), bool(match["reason"])


def _bad_justifications(sources: dict[Path, list[str]], used: set[tuple[Path, int, str]]) -> Iterator[Complaint]:
    for path, source in sources.items():
        for number, line in enumerate(source, 1):
            rules, reason = _allowed(line)
            for rule in rules:
                if not reason:
                    yield Complaint(path, number, "no-reason", f"says that {rule} may be, and not why")
                elif (path, number, rule) not in used:
                    yield Complaint(path, number, "unused", f"lets {rule} pass, and nothing here breaks that rule")


def _squawk(migrations: list[Rendered]) -> Iterator[Complaint]:
    with scratch_directory() as directory:
        files = {str(directory / f"{m.path.stem}.sql"): m for m in migrations if m.statements}
        for file, migration in files.items():
            Path(file).write_text(migration.sql(), encoding="utf-8")
        options = ["--reporter", "json", "--pg-version", OLDEST_POSTGRES, "--exclude", ",".join(STYLE_ONLY)]
        result = subprocess.run([SQUAWK, *options, *files], capture_output=True, text=True, check=False)
    if result.returncode not in {0, 1} or not result.stdout.strip():
        raise ServerError(f"squawk: {result.stderr.strip()}")
    for violation in json.loads(result.stdout):
        migration = files[violation["file"]]
        text = " ".join(filter(None, (violation["message"], violation.get("help"))))
        yield Complaint(migration.path, migration.at(violation["line"]).first_line, violation["rule_name"], text)


def _ours(migrations: list[Rendered]) -> Iterator[Complaint]:
    for migration in migrations:
        new: set[str] = set()
        for statement in migration.statements:
            if created := CREATED.match(statement.sql):
                new.add(created["table"])
            if WHOLE_TABLE.match(statement.sql):
                text = "No request can read or write the table until this is done."
                yield Complaint(migration.path, statement.first_line, "whole-table-lock", text)
            if statement.in_transaction and DATA.match(statement.sql):
                for table in {match["table"] for match in WRITTEN.finditer(statement.sql)} - new:
                    text = f"Rows of {table} stay locked until the migration commits. Move them in batches, each a"
                    text += " transaction of its own, in an autocommit_block, as 0004 does."
                    yield Complaint(migration.path, statement.first_line, "data-in-transaction", text)


def main() -> None:
    """Lint the project's migrations, or those of a given folder."""
    versions = Path(sys.argv[1]).resolve() if sys.argv[1:] else runner.VERSIONS
    exit_on_sigterm()
    try:
        with scratch_directory() as directory, EmbeddedPostgres(directory / "postgres", throwaway=True) as postgres:
            migrations = render(versions, postgres.create_database("lint"))
        found = complaints(migrations)
    except (ServerError, MigrationFailed) as error:
        sys.exit(str(error))
    if found:
        print(*found, sep="\n", file=sys.stderr)
        sys.exit("docs/migrations.md says how each of these is written so that no request waits.")
    print(f"{len(migrations)} migrations block no reads or writes.")


if __name__ == "__main__":
    main()
