"""The migration linter of `make check`: what would keep a running service waiting is refused by name."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

from dev.migration_lint import Complaint, MigrationFailed, complaints, render
from tests.conftest import in_thread
from todo_core.migrations import runner

ROOT = Path(__file__).resolve().parents[2]
HEAD = '''"""Badly."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do it."""
'''
TAIL = '''

def downgrade() -> None:
    """Nothing."""
'''
FIRST_LINE = HEAD.count("\n") + 1


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A folder of migrations that begins as the product's does."""
    folder = tmp_path / "versions"
    folder.mkdir()
    shutil.copy(next(runner.VERSIONS.glob("0001_*.py")), folder)
    return folder


async def lint(versions: Path, database: str, *body: str) -> list[Complaint]:
    """Return the complaints about a second migration with this body."""
    lines = "".join(f"    {line}\n" for line in body)
    (versions / "0002_badly.py").write_text(HEAD + lines + TAIL, encoding="utf-8")
    return complaints(await in_thread(render, versions, database))


BAD = {
    "adding-field-with-default": 'op.execute("ALTER TABLE todos ADD x uuid DEFAULT gen_random_uuid() NOT NULL")',
    "adding-required-field": 'op.add_column("todos", sa.Column("colour", sa.String(), nullable=False))',
    "require-concurrent-index-creation": 'op.create_index("ix", "todos", ["title"])',
    "require-concurrent-index-deletion": 'op.drop_index("ix_refresh_tokens_family_id", "refresh_tokens")',
    "changing-column-type": 'op.alter_column("todos", "version", type_=sa.BigInteger())',
    "adding-not-nullable-field": 'op.alter_column("todos", "due_at", nullable=False)',
    "constraint-missing-not-valid": 'op.create_check_constraint("ck", "todos", "version > 0")',
    "disallowed-unique-constraint": 'op.create_unique_constraint("uq", "todos", ["title"])',
    "renaming-column": 'op.alter_column("todos", "title", new_column_name="name")',
    "renaming-table": 'op.rename_table("todos", "tasks")',
    "ban-drop-column": 'op.drop_column("todos", "description")',
    "ban-drop-table": 'op.drop_table("todos")',
    "whole-table-lock": 'op.execute("LOCK TABLE todos IN EXCLUSIVE MODE")',
    "data-in-transaction": "op.execute(\"UPDATE todos SET description = '' WHERE description IS NULL\")",
}


@pytest.mark.parametrize(("rule", "statement"), BAD.items(), ids=BAD.keys())
async def test_a_migration_that_would_lock_or_break_a_running_service_is_refused_by_name_and_line(
    versions: Path, empty_database: str, rule: str, statement: str
) -> None:
    found = await lint(versions, empty_database, statement)
    assert (rule, FIRST_LINE) in {(complaint.rule, complaint.line) for complaint in found}
    assert {complaint.path.name for complaint in found} == {"0002_badly.py"}


async def test_what_a_loop_or_a_helper_sends_is_judged_at_the_line_that_sends_it(
    versions: Path, empty_database: str
) -> None:
    found = await lint(
        versions,
        empty_database,
        'for key in ("title", "due_at"):',
        "    op.create_index(",
        '        f"ix_{key}",',
        '        "todos",',
        "        [key],",
        "    )",
    )
    assert [(complaint.rule, complaint.line) for complaint in found] == [
        ("require-concurrent-index-creation", FIRST_LINE + 1)
    ]


async def test_indices_built_concurrently_data_moved_in_batches_and_new_tables_are_no_trouble(
    versions: Path, empty_database: str
) -> None:
    found = await lint(
        versions,
        empty_database,
        'op.add_column("todos", sa.Column("colour", sa.String(), server_default="red", nullable=False))',
        'op.execute("ALTER TABLE todos ADD CONSTRAINT ck CHECK (version > 0) NOT VALID")',
        'op.create_table("lists", sa.Column("id", sa.Uuid(), primary_key=True), sa.Column("name", sa.String()))',
        'op.create_index("ix_lists_name", "lists", ["name"])',
        "op.execute(\"INSERT INTO lists SELECT gen_random_uuid(), 'first'\")",
        "with op.get_context().autocommit_block():",
        '    op.create_index("ix_todos_colour", "todos", ["colour"], postgresql_concurrently=True)',
        "    op.execute(\"UPDATE todos SET colour = 'blue' WHERE id IN (SELECT id FROM todos LIMIT 1000)\")",
        '    op.execute("ALTER TABLE todos VALIDATE CONSTRAINT ck")',
    )
    assert found == []


async def test_a_reason_beside_the_call_lets_it_pass(versions: Path, empty_database: str) -> None:
    found = await lint(
        versions,
        empty_database,
        "# migration-lint: ban-drop-column - no release has read it since 0001,",
        "# and nobody wrote it either.",
        'op.drop_column("todos", "description")',
    )
    assert found == []


async def test_a_reason_covers_its_own_call_and_rule_only(versions: Path, empty_database: str) -> None:
    found = await lint(
        versions,
        empty_database,
        'op.drop_column("todos", "description")  # migration-lint: ban-drop-column - nobody reads it',
        'op.drop_column("todos", "due_at")',
        'op.create_index("ix", "todos", ["title"])  # migration-lint: ban-drop-table - another rule',
    )
    assert [(complaint.rule, complaint.line - FIRST_LINE) for complaint in found] == [
        ("ban-drop-column", 1),
        ("require-concurrent-index-creation", 2),
        ("unused", 2),
    ]


async def test_an_exception_without_a_reason_is_refused(versions: Path, empty_database: str) -> None:
    found = await lint(versions, empty_database, 'op.drop_table("todos")  # migration-lint: ban-drop-table')
    assert [complaint.rule for complaint in found] == ["no-reason"]


async def test_an_exception_that_excepts_nothing_is_refused(versions: Path, empty_database: str) -> None:
    found = await lint(versions, empty_database, 'op.execute("SELECT 1")  # migration-lint: ban-drop-table - once so')
    assert [complaint.rule for complaint in found] == ["unused"]


async def test_the_command_names_the_file_on_standard_error_and_fails(versions: Path) -> None:
    (versions / "0002_badly.py").write_text(f"{HEAD}    op.drop_table('todos')\n{TAIL}", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dev.migration_lint",
        str(versions),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert errors.decode().startswith(f"0002_badly.py:{FIRST_LINE}: ban-drop-table: ")
    assert "docs/migrations.md" in errors.decode()


async def test_a_migration_that_cannot_run_is_named(versions: Path, empty_database: str) -> None:
    with pytest.raises(MigrationFailed, match=r'^0002_badly\.py does not run .*column "colour" does not exist'):
        await lint(versions, empty_database, 'op.execute("SELECT colour FROM todos")')


async def test_a_column_becomes_not_null_by_a_constraint_that_was_validated_before(
    versions: Path, empty_database: str
) -> None:
    found = await lint(
        versions,
        empty_database,
        'name = op.f("ck_todos_description_present")',
        'op.create_check_constraint(name, "todos", "description IS NOT NULL", postgresql_not_valid=True)',
        "with op.get_context().autocommit_block():",
        '    op.execute(f"ALTER TABLE todos VALIDATE CONSTRAINT {name}")',
        'op.alter_column("todos", "description", nullable=False)',
        "# migration-lint: ban-drop-constraint - the column itself says so now",
        'op.drop_constraint(name, "todos")',
    )
    assert found == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
async def test_the_worked_example_of_the_readme_keeps_nobody_waiting(
    versions: Path, empty_database: str, page: str
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n# \S+/versions/NNNN_\w+\.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    head = HEAD.partition("\n\ndef upgrade")[0]
    (versions / "0002_as_the_readme_says.py").write_text(f"{head}\n\n{example}", encoding="utf-8")
    assert complaints(await in_thread(render, versions, empty_database)) == []


async def test_the_products_own_migrations_keep_nobody_waiting(empty_database: str) -> None:
    migrations = await in_thread(render, runner.VERSIONS, empty_database)
    assert migrations[0].path.name.startswith("0001")
    assert all(migration.statements for migration in migrations)
    assert complaints(migrations) == []
