"""Lists this code's migrations, and compares a database's revision with them.

It reads the names of the files, each of which begins with its revision: Alembic would take 10 MB of every API process
to answer /readyz.
"""

from functools import lru_cache
from pathlib import Path

_VERSIONS = Path(__file__).parent / "versions"


@lru_cache(maxsize=1)
def known() -> tuple[str, ...]:
    """Return the revisions of this code, in order."""
    return tuple(sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py")))


def head() -> str:
    """Return the newest revision of this code."""
    return known()[-1]


def is_newer(revision: str | None) -> bool:
    """Tell whether a newer release made the revision, so that this code does not know it.

    The previous release still runs on each migration (expand, then contract), so that deploying and rolling back need
    no downtime.
    """
    return revision is not None and revision not in known()


def is_current_or_newer(revision: str | None) -> bool:
    """Tell whether this code runs on a database at this revision."""
    return revision == head() or is_newer(revision)
