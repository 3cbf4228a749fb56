"""No instant is stored that Python cannot read: in the years before 1, from 10000 on, or infinite.

The first and the last microsecond of Python's calendar are among them, because asyncpg writes them as infinite. What is
stored of these already becomes the nearest that can be read. Only such rows are locked and changed (a client sent
0001-01-01T00:00:00Z or 9999-12-31T23:59:59.999999Z, or they were written by hand): so each table is one statement. Run
again after a failure, all of it starts over.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = (("todos", "due_at"), ("reminders", "at"), ("reminders", "remind_at"), ("notifications", "due_at"))
_READABLE = "({0} > '0001-01-01 00:00:00+00' AND {0} < '9999-12-31 23:59:59.999999+00')"
_NEAREST = "least(greatest({0}, '0001-01-01 00:00:00.000001+00'), '9999-12-31 23:59:59.999998+00')"
# As every change of a todo: the account is locked first, and its counter raised, or cached lists would be stale.
_MEND = (
    """
    WITH owner AS MATERIALIZED (
        SELECT id FROM accounts WHERE id IN (SELECT owner_id FROM todos WHERE NOT {readable[due_at]})
        ORDER BY id FOR NO KEY UPDATE
    ), raised AS (
        UPDATE accounts SET change_seq = change_seq + 1 WHERE id IN (SELECT id FROM owner)
    )
    UPDATE todos SET due_at = {nearest[due_at]}, version = version + 1
    FROM owner WHERE owner_id = owner.id AND NOT {readable[due_at]}
    """,
    """
    UPDATE reminders
    SET at = CASE WHEN NOT {readable[at]} THEN {nearest[at]} ELSE at END,
        remind_at = CASE WHEN NOT {readable[remind_at]} THEN {nearest[remind_at]} ELSE remind_at END
    WHERE NOT {readable[at]} OR NOT {readable[remind_at]}
    """,
    "UPDATE notifications SET due_at = {nearest[due_at]} WHERE NOT {readable[due_at]}",
)


def upgrade() -> None:
    """Refuse new ones, move those that are there, then look at every row once."""
    readable, nearest = ({name: text.format(name) for _, name in _COLUMNS} for text in (_READABLE, _NEAREST))
    with op.get_context().autocommit_block():
        for table, column in _COLUMNS:
            name = f"ck_{table}_{column}_readable"
            # migration-lint: ban-drop-constraint - only what a failed run of this migration left
            op.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},"
                f" ADD CONSTRAINT {name} CHECK {readable[column]} NOT VALID"
            )
        for statement in _MEND:
            op.execute(statement.format(readable=readable, nearest=nearest))
        for table, column in _COLUMNS:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{column}_readable")


def downgrade() -> None:
    """Drop the constraints."""
    for table, column in _COLUMNS:
        op.drop_constraint(op.f(f"ck_{table}_{column}_readable"), table)
