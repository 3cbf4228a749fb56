"""Removes rows that are not needed any more, in short statements that block no request."""

from datetime import timedelta

from todo_core.database import StatementPool

KEEP_DELIVERIES = timedelta(days=90)
KEEP_VERIFICATIONS = timedelta(days=90)
KEEP_MAILED_ADDRESSES = timedelta(days=7)
"""As long as RATE_LIMIT_MAIL_PAUSE_SECONDS can be."""

# A table is walked by its key, so that each statement reads no more than it says, with no index of its own for this.
# Rows are found by arrays of keys: a join would read the whole table for each batch, as a LIMIT that the plan does not
# know counts as a tenth of it.
_WALK = """
WITH batch AS MATERIALIZED (
    SELECT {key}, {outdated} AS outdated FROM {table} t WHERE {key} > $1 ORDER BY {key} LIMIT $2
), outdated AS (
    SELECT {key} FROM {table} t WHERE {key} = ANY (ARRAY(SELECT {key} FROM batch WHERE outdated)) AND {outdated}
    ORDER BY {key} FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM {table} WHERE {key} = ANY (ARRAY(SELECT {key} FROM outdated)) RETURNING {key}
)
SELECT max({key}::text) AS last, (SELECT count(*) FROM removed) AS removed FROM batch
"""
# How far a reminder got is worked out from its deliveries. Before they go, it is written into its row.
_NOTE_ENDS = """
WITH batch AS MATERIALIZED (
    SELECT id, reminder_id, occurrence, state <> 'pending' AND settled_at < now() - $3::interval AS outdated
    FROM deliveries WHERE id > $1 ORDER BY id LIMIT $2
), going AS MATERIALIZED (
    SELECT DISTINCT reminder_id, occurrence FROM batch WHERE outdated
), ended AS (
    SELECT r.id, bool_or(d.state = 'sent') AS sent, bool_or(d.state = 'dead') AS dead
    FROM going g
    JOIN reminders r ON r.id = g.reminder_id AND r.occurrence = g.occurrence AND r.claimed_at IS NOT NULL
    JOIN deliveries d ON d.reminder_id = r.id AND d.occurrence = r.occurrence
    WHERE r.id = ANY (ARRAY(SELECT reminder_id FROM going))
    AND d.reminder_id = ANY (ARRAY(SELECT reminder_id FROM going))
    GROUP BY r.id
), locked AS (
    SELECT r.id FROM reminders r JOIN ended USING (id)
    WHERE r.id = ANY (ARRAY(SELECT id FROM ended)) AND r.state <> 'sent' AND (r.state = 'claimed' OR ended.sent)
    ORDER BY r.id FOR UPDATE OF r
), noted AS (
    UPDATE reminders r SET state = CASE WHEN e.sent THEN 'sent' WHEN e.dead THEN 'failed' ELSE 'cancelled' END
    FROM ended e JOIN locked USING (id) WHERE r.id = e.id AND r.id = ANY (ARRAY(SELECT id FROM locked)) RETURNING r.id
)
SELECT max(id::text) AS last, (SELECT count(*) FROM noted) AS removed FROM batch
"""
_REFRESH_TOKENS = _WALK.format(table="refresh_tokens", key="id", outdated="t.expires_at < now() - $3::interval")
_DELIVERIES = _WALK.format(
    table="deliveries", key="id", outdated="t.state <> 'pending' AND t.settled_at < now() - $3::interval"
)
_VERIFICATIONS = _WALK.format(table="email_verifications", key="id", outdated="t.created_at < now() - $3::interval")
_MAILED_ADDRESSES = _WALK.format(table="mailed_addresses", key="digest", outdated="t.mailed_at < now() - $3::interval")

_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_BATCH = 2_000


class Purge:
    """The statements, on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def refresh_tokens(self) -> int:
        """Remove those that have expired; how many there were."""
        return await self._walk(_REFRESH_TOKENS, timedelta())

    async def deliveries(self) -> int:
        """Remove those that were settled long ago; how many there were."""
        # A statement of its own: it locks reminders alone, as the removal locks deliveries alone.
        await self._walk(_NOTE_ENDS, KEEP_DELIVERIES)
        return await self._walk(_DELIVERIES, KEEP_DELIVERIES)

    async def verifications(self) -> int:
        """Remove the proofs of e-mail addresses that were asked for long ago; how many there were."""
        return await self._walk(_VERIFICATIONS, KEEP_VERIFICATIONS)

    async def mailed_addresses(self) -> int:
        """Remove the traces of addresses that may be written to again; how many there were."""
        return await self._walk(_MAILED_ADDRESSES, KEEP_MAILED_ADDRESSES, first="")

    async def _walk(self, statement: str, keep: timedelta, first: str = _FIRST_ID) -> int:
        last: str | None = first
        removed = 0
        while last is not None:
            row = await self._statements.fetchrow(statement, last, _BATCH, keep)
            last = None if row is None else row["last"]
            removed += 0 if row is None else row["removed"]
        return removed
