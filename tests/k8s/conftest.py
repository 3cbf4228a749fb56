"""The ring of the Kubernetes manifests: what is rendered is checked (seconds), and then run on the Docker engine."""

from __future__ import annotations

import pytest

from tests.k8s.manifests import KUBECTL


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of what needs the engine."""
    config.addinivalue_line("markers", "engine: runs containers (make k8s-pods)")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once what is missing."""
    if not KUBECTL.exists():
        pytest.exit("There is no .venv-k8s: run `make k8s-check`, or `make .venv-k8s/.ready` once.", returncode=2)
