"""Hypothesis: no deadline for one example, as a busy machine is no defect."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("todo", deadline=None)
settings.load_profile("todo")
