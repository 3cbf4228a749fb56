"""Which addresses were written to, so that strangers are not written to again and again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "mailed_addresses",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("mailed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_mailed_addresses")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("mailed_addresses")
