"""Which process is which, and where its standard streams go. A pid is reused; a pid with its start time is not.

The start time is in clock ticks since the machine's boot, so that a change of the wall clock does not move it.
"""

import contextlib
import ctypes
import functools
import os
import signal
import time
from pathlib import Path

# prctl(2): orphans below this process become its children instead of init's, so that none of them gets out of sight.
PR_SET_CHILD_SUBREAPER = 36
# A tree may grow while it is killed, and the killed take a moment to die: so many looks, further and further apart.
KILL_PASSES = 12
# The variable that marks every process which a call of a tool started: ``session.epoch.call``.
TOOL_MARK = "CHAT_COORD_TOOL"


def start_ticks(pid: int) -> int | None:
    """Return when a running process started, in clock ticks since boot; None when there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name may hold anything, also spaces and brackets; the fields behind it begin after the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def is_running(pid: int, ticks: int) -> bool:
    """Say whether the process that started then still runs."""
    return start_ticks(pid) == ticks


def read_raw(path: str) -> bytes:
    """Return what a file of the kernel says, with four calls of the system: for what is read each second.

    Raises:
        OSError: it is gone, or not ours to read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = more = os.read(file, 4_096)
        while more:
            more = os.read(file, 4_096)
            data += more
        return data
    finally:
        os.close(file)


def children_of(pid: int) -> list[int]:
    """Return a process's children, zombies too; none when it is gone. Each of its threads has its own."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are enough
            with contextlib.suppress(OSError):
                found += map(int, read_raw(f"/proc/{pid}/task/{thread}/children").split())
    return found


def descendants_of(pid: int) -> list[tuple[int, int]]:
    """Return pid and start time of everything that runs below a process, parents before their children."""
    found: list[tuple[int, int]] = []
    seen = {pid}
    line = children_of(pid)
    while line:
        child = line.pop(0)
        if child not in seen:
            seen.add(child)
            ticks = start_ticks(child)
            if ticks is not None:
                found.append((child, ticks))
            line += children_of(child)
    return found


def kill(pid: int, ticks: int) -> bool:
    """SIGKILL the process that started then, and no other that has its pid now; say whether it was there."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_ticks(pid) != ticks:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:  # it is dead already, or another's
        return False
    finally:
        os.close(pidfd)
    return True


def kill_tree_below(pid: int) -> set[tuple[int, int]]:
    """SIGKILL everything that is below a process now; return pid and start time of what that was."""
    return {process for process in descendants_of(pid) if kill(*process)}


def kill_below(pid: int) -> int:
    """SIGKILL everything below a process until nothing is there, for a third of a second; return how many that were."""
    killed: set[tuple[int, int]] = set()
    for n in range(KILL_PASSES):
        found = kill_tree_below(pid)
        if not found:
            break
        killed |= found
        time.sleep(min(0.001 * 2**n, 0.05))
    return len(killed)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it. Where the system has no such thing, nothing happens."""
    with contextlib.suppress(AttributeError, OSError):
        _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


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
