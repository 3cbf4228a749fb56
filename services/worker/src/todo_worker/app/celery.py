"""The Celery app: `celery -A todo_worker.app worker` and `celery -A todo_worker.app beat`.

    celery -A todo_worker.app worker --concurrency 2 --without-gossip --without-mingle --without-heartbeat
    celery -A todo_worker.app beat

Celery moves wake-ups, and nothing but wake-ups: each expires, none is waited for, and PostgreSQL knows what is to do.
There is no result backend, no ETA and no countdown (with Redis those run again after the visibility timeout).
"""

import logging
from importlib import import_module
from typing import Any

from celery import Celery, signals

from todo_core import logs
from todo_core.metrics_server import MetricsServer
from todo_core.settings import ConfigurationError, Settings
from todo_worker.app.broker import broker_options, broker_url

_TICK_SECONDS = 1.0
_PURGE_SECONDS = 3_600.0


def create_app(settings: Settings) -> Celery:
    """Build the app, without any connection."""
    app = Celery("todo", broker=broker_url(settings.redis), include=["todo_worker.app.tasks"])
    app.conf.update(
        todo_settings=settings,
        task_default_queue="reminders",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        timezone="UTC",
        enable_utc=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # Redis may be away at the start or at any time. Tasks are short, so cancelling them then loses nothing.
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        beat_scheduler="todo_worker.app.beat:Scheduler",
        beat_schedule={
            "dispatch_due": {
                "task": "todo.dispatch_due",
                "schedule": _TICK_SECONDS,
                "options": {"expires": 2 * _TICK_SECONDS, "retry": False, "ignore_result": True},
            },
            "purge": {
                "task": "todo.purge",
                "schedule": _PURGE_SECONDS,
                "options": {"expires": _PURGE_SECONDS, "retry": False, "ignore_result": True},
            },
        },
        **broker_options(settings.redis),
    )
    return app


def _load() -> Settings:
    try:
        return Settings.load()
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None


settings = _load()
metrics_server = MetricsServer(
    settings.worker.state_dir / "metrics", settings.worker.metrics_host, settings.worker.metrics_port
)
metrics_server.choose()
app = create_app(settings)


@signals.setup_logging.connect
def _log_as_json(**_: Any) -> None:
    logs.configure(settings.runtime)
    # Two lines a second about ticks, from every worker, would bury the other lines.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect
def _count_from_here(**_: Any) -> None:
    metrics_server.join()  # the processes that are forked from this one inherit it
    import_module("todo_worker.app.process")  # imported once, and shared by all of them


@signals.worker_ready.connect
def _serve_metrics(**_: Any) -> None:
    metrics_server.serve()


@signals.worker_process_init.connect
def _start(**_: Any) -> None:
    from todo_worker.app import process  # noqa: PLC0415 - it brings prometheus_client: see MetricsServer.choose

    process.start(settings, app)


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    from todo_worker.app import process  # noqa: PLC0415

    process.stop()
