"""Which process is which, and where its standard streams go. A pid is reused; a pid with its start time is not.

The start time is in clock ticks since the machine's boot, so that a change of the wall clock does not move it.
"""

import os
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Return when a running process started, in clock ticks since boot; None when there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name may hold anything, also spaces and brackets; the fields behind it begin after the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def is_running(pid: int, ticks: int) -> bool:
    """Say whether the process that started then still runs."""
    return start_ticks(pid) == ticks


def thread_count() -> int:
    """Return how many threads this process has, also those that libraries started without Python's knowledge."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are enough


def open_log(path: str | Path, keep_bytes: int = 0) -> int:
    """Return a descriptor for a process's standard output and error; nowhere if it cannot be written.

    Args:
        path: the file.
        keep_bytes: what an earlier process wrote is kept when it is no more than this, else the file begins anew.
    """
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(log).st_size > keep_bytes:
            os.ftruncate(log, 0)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
    return log


def redirect_stdio(log: str | Path, keep_bytes: int = 0) -> None:
    """Standard input from nowhere, output and error to the process's own file (``open_log``)."""
    null, out = os.open(os.devnull, os.O_RDONLY), open_log(log, keep_bytes)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)
