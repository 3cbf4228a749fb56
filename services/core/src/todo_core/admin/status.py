"""The state of the whole service, as an operator asks for it."""

from typing import Any

from redis.exceptions import RedisError

from todo_core import redis_client
from todo_core.accounts.links import VERIFICATION_LIFETIME
from todo_core.database import StatementPool, is_outage, migration_revision
from todo_core.migrations import revisions
from todo_core.reminders.dispatch import Dispatch
from todo_core.settings import Settings

# As the alerts have it (monitoring/prometheus/rules/reminders.yml).
_REMINDER_LATE_SECONDS = 60
_DELIVERY_LATE_SECONDS = 900
_MAIL_LATE_SECONDS = 300
# A mail that waited longer than its link lives is never sent, and is purged later.
_MAILS = "FROM email_verifications WHERE sent_at IS NULL AND used_at IS NULL AND created_at > now() - $1::interval"
_COUNTS = f"""
SELECT (SELECT count(*) FROM accounts) AS accounts,
       (SELECT count(*) FROM accounts WHERE disabled_at IS NOT NULL) AS accounts_disabled,
       (SELECT count(*) FROM todos) AS todos,
       (SELECT count(*) FROM reminders WHERE state = 'scheduled') AS reminders_scheduled,
       (SELECT count(*) FROM deliveries WHERE state = 'pending') AS deliveries_pending,
       (SELECT count(*) FROM deliveries WHERE state = 'dead') AS deliveries_given_up,
       (SELECT count(*) {_MAILS}) AS mails_waiting,
       coalesce((SELECT extract(epoch FROM now() - min(created_at)) {_MAILS}), 0)::float8 AS oldest_mail_seconds
"""  # noqa: S608 - a constant


async def status(settings: Settings, statements: StatementPool) -> tuple[dict[str, Any], list[str]]:
    """Return what there is, by name, and a sentence for each thing that is wrong."""
    seen: dict[str, Any] = {}
    wrong: list[str] = []
    try:
        revision = await migration_revision(statements)
    except Exception as error:
        if not is_outage(error):
            raise
        seen["database"] = "down"
        wrong.append(f"PostgreSQL does not answer as it should ({type(error).__name__}: {error}): check DATABASE_URL.")
        await _look_at_redis(settings, seen, wrong)
        return seen, wrong
    seen |= {"database": "answers", "revision": revision, "newest_revision": revisions.head()}
    await _look_at_redis(settings, seen, wrong)
    if revisions.is_current_or_newer(revision):
        await _look_at_work(settings, statements, seen, wrong)
    else:
        wrong.append(f"The database is at revision {revision}, the code needs {revisions.head()}: todo-admin migrate.")
    return seen, wrong


async def _look_at_redis(settings: Settings, seen: dict[str, Any], wrong: list[str]) -> None:
    redis = redis_client.connect(settings.redis)
    try:
        await redis.ping()
        seen["redis"] = "answers"
    except (RedisError, OSError) as error:
        seen["redis"] = "down"
        wrong.append(f"Redis does not answer ({type(error).__name__}): check REDIS_URL. Lists are slower meanwhile.")
    finally:
        await redis.aclose()


async def _look_at_work(settings: Settings, statements: StatementPool, seen: dict[str, Any], wrong: list[str]) -> None:
    dispatch = Dispatch(statements)
    heartbeat = await dispatch.worker_seen_seconds()
    backlog = await dispatch.backlog()
    counts = await statements.fetchrow(_COUNTS, VERIFICATION_LIFETIME)
    seen |= {
        "worker_seen_seconds_ago": heartbeat,
        "oldest_reminder_seconds": backlog.oldest_reminder_seconds,
        "oldest_delivery_seconds": backlog.oldest_delivery_seconds,
        **(counts or {}),
    }
    if heartbeat is None:
        wrong.append("No worker is connected to the database: no reminder goes out. Start one, or look at its log.")
    elif heartbeat > settings.worker.alive_seconds:
        wrong.append(f"The worker has asked the database nothing for {heartbeat:.0f} s: look at its log.")
    for name, most, sentence in (
        (
            "oldest_reminder_seconds",
            _REMINDER_LATE_SECONDS,
            "The oldest reminder is {:.0f} s late: look at the worker's log.",
        ),
        (
            "oldest_delivery_seconds",
            _DELIVERY_LATE_SECONDS,
            "A delivery has waited for {:.0f} s: look at the worker's log.",
        ),
        (
            "oldest_mail_seconds",
            _MAIL_LATE_SECONDS,
            "A mail has waited for {:.0f} s: look at the worker's log and EMAIL_HOST.",
        ),
    ):
        if seen[name] > most:
            wrong.append(sentence.format(seen[name]))
