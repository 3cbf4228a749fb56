"""When an operator disabled an account."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; without a default, so that no row is written."""
    op.add_column("accounts", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Drop it: disabled accounts can sign in again."""
    op.drop_column("accounts", "disabled_at")
