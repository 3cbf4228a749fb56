"""What a webhook's body says of its todo, kept while the delivery is tried again. Two columns that may be null."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("deliveries", sa.Column("webhook_title", sa.String(), nullable=True))
    op.add_column("deliveries", sa.Column("webhook_due_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("deliveries", "webhook_due_at")
    op.drop_column("deliveries", "webhook_title")
