"""The state of the whole service, as an operator asks for it."""

from typing import Any

from redis.exceptions import RedisError

from todo_core import redis_client
from todo_core.database import StatementPool, migration_revision
from todo_core.migrations import revisions
from todo_core.reminders.dispatch import Dispatch
from todo_core.settings import Settings

_LATE_SECONDS = 60
_MAIL_LATE_SECONDS = 300
_COUNTS = """
SELECT (SELECT count(*) FROM accounts) AS accounts,
       (SELECT count(*) FROM accounts WHERE disabled_at IS NOT NULL) AS accounts_disabled,
       (SELECT count(*) FROM todos) AS todos,
       (SELECT count(*) FROM reminders WHERE state = 'scheduled') AS reminders_scheduled,
       (SELECT count(*) FROM deliveries WHERE state = 'pending') AS deliveries_pending,
       (SELECT count(*) FROM deliveries WHERE state = 'dead') AS deliveries_given_up,
       (SELECT count(*) FROM email_verifications WHERE sent_at IS NULL) AS mails_waiting,
       coalesce((SELECT extract(epoch FROM now() - min(created_at)) FROM email_verifications WHERE sent_at IS NULL), 0)
           ::float8 AS oldest_mail_seconds
"""


async def status(settings: Settings, statements: StatementPool) -> tuple[dict[str, Any], list[str]]:
    """Return what there is, by name, and a sentence for each thing that is wrong."""
    wrong = []
    revision = await migration_revision(statements)
    seen: dict[str, Any] = {"revision": revision, "newest_revision": revisions.head()}
    if not revisions.is_current_or_newer(revision):
        wrong.append(f"The database is at revision {revision}, the code needs {revisions.head()}: todo-admin migrate.")
        return seen, wrong
    redis = redis_client.connect(settings.redis)
    try:
        await redis.ping()
        seen["redis"] = "answers"
    except (RedisError, OSError) as error:
        seen["redis"] = "down"
        wrong.append(f"Redis does not answer ({type(error).__name__}): check REDIS_URL. Lists are slower meanwhile.")
    finally:
        await redis.aclose()
    backlog = await Dispatch(statements).backlog()
    seen["oldest_reminder_seconds"] = round(backlog.oldest_reminder_seconds, 1)
    seen["oldest_delivery_seconds"] = round(backlog.oldest_delivery_seconds, 1)
    for row in await statements.fetch(_COUNTS):
        seen |= dict(row)
    seen["oldest_mail_seconds"] = round(seen["oldest_mail_seconds"], 1)
    late = max(backlog.oldest_reminder_seconds, backlog.oldest_delivery_seconds)
    if late > _LATE_SECONDS:
        wrong.append(f"The oldest reminder is {late:.0f} s late: look whether a worker runs, and at its log.")
    if seen["oldest_mail_seconds"] > _MAIL_LATE_SECONDS:
        wrong.append(f"A mail waits for {seen['oldest_mail_seconds']:.0f} s: look at the worker's log and SMTP_HOST.")
    return seen, wrong
