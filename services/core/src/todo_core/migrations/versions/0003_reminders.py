"""Reminders, deliveries, preferences, the inbox, webhooks and proofs of e-mail addresses.

New tables, and new columns whose default costs no rewrite: reads and writes of what is there wait for a moment only.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_NOW = sa.func.now()
_TRUE = sa.text("true")


def _owned(column: str, table: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], ondelete="CASCADE", name=op.f(f"fk_{table}_{column}_{target}")
    )


def upgrade() -> None:
    """Create them."""
    op.add_column("accounts", sa.Column("email_verified_at", _INSTANT, nullable=True))
    op.add_column("todos", sa.Column("own_reminders", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _create_reminders()
    _create_notifications()


def _create_reminders() -> None:
    op.create_table(
        "reminders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("todo_id", sa.Uuid(), nullable=False),
        sa.Column("before_days", sa.Integer(), nullable=True),
        sa.Column("before_seconds", sa.Integer(), nullable=True),
        sa.Column("at", _INSTANT, nullable=True),
        sa.Column("remind_at", _INSTANT, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("occurrence", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("claimed_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminders")),
        _owned("account_id", "reminders", "accounts"),
        _owned("todo_id", "reminders", "todos"),
        sa.CheckConstraint(
            "state IN ('scheduled', 'skipped', 'claimed', 'sent', 'cancelled', 'failed')",
            name=op.f("ck_reminders_state"),
        ),
        sa.CheckConstraint("(before_days IS NULL) = (before_seconds IS NULL)", name=op.f("ck_reminders_before_whole")),
        sa.CheckConstraint("before_days >= 0 AND before_seconds >= 0", name=op.f("ck_reminders_before_positive")),
        sa.CheckConstraint(
            "state <> 'scheduled' OR remind_at IS NOT NULL", name=op.f("ck_reminders_scheduled_has_time")
        ),
    )
    scheduled = sa.text("state = 'scheduled'")
    op.create_index(op.f("ix_reminders_todo_id"), "reminders", ["todo_id"])
    op.create_index(op.f("ix_reminders_account_id_state"), "reminders", ["account_id", "state"])
    op.create_index(op.f("ix_reminders_remind_at"), "reminders", ["remind_at"], postgresql_where=scheduled)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reminder_id", sa.Uuid(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=False),
        sa.Column("state", sa.String(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("lease_until", _INSTANT, nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("settled_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        _owned("reminder_id", "deliveries", "reminders"),
        sa.UniqueConstraint(
            "reminder_id",
            "occurrence",
            "channel",
            "endpoint_id",
            name=op.f("uq_deliveries_reminder_id_occurrence_channel_endpoint_id"),
        ),
        sa.CheckConstraint("state IN ('pending', 'sent', 'cancelled', 'dead')", name=op.f("ck_deliveries_state")),
    )
    op.create_index(
        op.f("ix_deliveries_next_attempt_at"),
        "deliveries",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        op.f("ix_deliveries_settled_at"), "deliveries", ["settled_at"], postgresql_where=sa.text("state = 'dead'")
    )


def _create_notifications() -> None:
    op.create_table(
        "preferences",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column(
            "default_reminders",
            postgresql.ARRAY(sa.String()),
            server_default=sa.text("'{PT0S}'"),
            nullable=False,
        ),
        sa.Column("inbox", sa.Boolean(), server_default=_TRUE, nullable=False),
        sa.Column("email", sa.Boolean(), server_default=_TRUE, nullable=False),
        sa.Column("webhook", sa.Boolean(), server_default=_TRUE, nullable=False),
        sa.Column("quiet_start", sa.Time(), nullable=True),
        sa.Column("quiet_end", sa.Time(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_preferences")),
        _owned("account_id", "preferences", "accounts"),
        sa.CheckConstraint(
            "(quiet_start IS NULL) = (quiet_end IS NULL)", name=op.f("ck_preferences_quiet_hours_whole")
        ),
        sa.CheckConstraint("cardinality(default_reminders) <= 10", name=op.f("ck_preferences_default_reminders_count")),
    )
    op.create_table(
        "inboxes",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_inboxes")),
        _owned("account_id", "inboxes", "accounts"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("todo_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("read_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        _owned("account_id", "notifications", "accounts"),
        sa.UniqueConstraint("account_id", "seq", name=op.f("uq_notifications_account_id_seq")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_notifications_delivery_id")),
    )
    op.create_index(
        op.f("ix_notifications_account_id_seq"),
        "notifications",
        ["account_id", "seq"],
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("previous_secret", sa.String(), nullable=True),
        sa.Column("previous_secret_until", _INSTANT, nullable=True),
        sa.Column("active", sa.Boolean(), server_default=_TRUE, nullable=False),
        sa.Column("failing_since", _INSTANT, nullable=True),
        sa.Column("disabled_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        _owned("account_id", "webhooks", "accounts"),
        sa.CheckConstraint("char_length(url) <= 2000", name=op.f("ck_webhooks_url_length")),
    )
    op.create_index(op.f("ix_webhooks_account_id"), "webhooks", ["account_id"])
    op.create_table(
        "email_verifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("email_key", sa.String(), nullable=False),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("sent_at", _INSTANT, nullable=True),
        sa.Column("used_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_verifications")),
        _owned("account_id", "email_verifications", "accounts"),
    )
    op.create_index(op.f("ix_email_verifications_account_id"), "email_verifications", ["account_id"])
    op.create_index(
        op.f("ix_email_verifications_email_key_created_at"), "email_verifications", ["email_key", "created_at"]
    )
    op.create_index(
        op.f("ix_email_verifications_created_at"),
        "email_verifications",
        ["created_at"],
        postgresql_where=sa.text("sent_at IS NULL"),
    )


def downgrade() -> None:
    """Drop them, and every reminder and notification in them."""
    for table in (
        "email_verifications",
        "webhooks",
        "notifications",
        "inboxes",
        "preferences",
        "deliveries",
        "reminders",
    ):
        op.drop_table(table)
    op.drop_column("todos", "own_reminders")
    op.drop_column("accounts", "email_verified_at")
