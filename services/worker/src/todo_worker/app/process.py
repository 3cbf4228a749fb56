"""Holds the runtime of this process: Celery's tasks and signals have no other way to find it."""

from celery import Celery

from todo_core.settings import Settings
from todo_worker.app.peer_notifier import CeleryPeerNotifier
from todo_worker.runtime import Runtime


class _Process:
    """Holds the runtime, once `start` has made it."""

    runtime: Runtime | None = None


def start(settings: Settings, app: Celery) -> None:
    """Start this process's runtime."""
    if _Process.runtime is None:
        _Process.runtime = Runtime(settings, CeleryPeerNotifier(app))
        _Process.runtime.start()


def stop() -> None:
    """Stop this process's runtime, if it has one."""
    if _Process.runtime is not None:
        _Process.runtime.stop()
        _Process.runtime = None


def current() -> Runtime:
    """Return this process's runtime."""
    if _Process.runtime is None:
        raise RuntimeError("this process has no runtime: it is no worker")
    return _Process.runtime
