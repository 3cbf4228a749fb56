"""One index for each order that todos are listed in.

Built concurrently, as every index on a table in use must be: reads and writes go on meanwhile.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SORT_KEYS = ("created_at", "due_at", "updated_at", "title_key")


def upgrade() -> None:
    """Build the indices. A build that failed half-way leaves an invalid index, so each starts from nothing."""
    with op.get_context().autocommit_block():
        for key in _SORT_KEYS:
            name = op.f(f"ix_todos_owner_id_completed_{key}_id")
            op.drop_index(name, "todos", postgresql_concurrently=True, if_exists=True)
            op.create_index(name, "todos", ["owner_id", "completed", key, "id"], postgresql_concurrently=True)


def downgrade() -> None:
    """Drop them."""
    with op.get_context().autocommit_block():
        for key in _SORT_KEYS:
            op.drop_index(
                op.f(f"ix_todos_owner_id_completed_{key}_id"), "todos", postgresql_concurrently=True, if_exists=True
            )
