"""A reminder at the due time of each open todo that is due in the future: the default of an account.

In batches, each a short transaction of its own that locks nothing that anybody waits for. Todos are walked by their
key, so a batch reads only itself. Run again after a failure, it starts over and adds nothing twice.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 5_000
_PLAN = sa.text(
    """
    WITH batch AS MATERIALIZED (
        SELECT id, owner_id, due_at, completed_at FROM todos WHERE id > CAST(:last AS uuid) ORDER BY id LIMIT :size
    ), planned AS (
        INSERT INTO reminders (id, account_id, todo_id, before_days, before_seconds, remind_at, state)
        SELECT gen_random_uuid(), b.owner_id, b.id, 0, 0, b.due_at, 'scheduled' FROM batch b
        WHERE b.due_at > now() AND b.completed_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM reminders r WHERE r.todo_id = b.id)
    )
    SELECT max(CAST(id AS text)) FROM batch
    """
)


def upgrade() -> None:
    """Plan them."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        last: str | None = "00000000-0000-0000-0000-000000000000"
        while last is not None:
            last = connection.execute(_PLAN, {"last": last, "size": _BATCH}).scalar()
        # Or what is asked next would be planned for a table that is nearly empty, until autovacuum comes by.
        connection.execute(sa.text("ANALYZE reminders"))


def downgrade() -> None:
    """Nothing to take back: the reminders go with their table."""
