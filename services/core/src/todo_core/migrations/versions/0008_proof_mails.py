"""When an account asked for mails to unproven addresses, so that it can ask for only a few a day."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; without a default, so that no row is written."""
    op.add_column("accounts", sa.Column("proof_mails_at", postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("accounts", "proof_mails_at")
