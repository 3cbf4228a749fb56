"""Looks up other processes on the same machine."""

import os


def is_running(pid: int) -> bool:
    """Tell whether a process of this number exists, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
