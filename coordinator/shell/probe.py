"""What /proc says of one worker just now, cheap enough to be asked of each of them every second.

The walk over a process's page tables (USS, PSS) is what costs, about a hundred times all the rest. So a reading is used
again for as long as it cannot be wrong by more than ``DRIFT``: memory becomes a process's own by a fault, one page at a
time, and faults are counted; what it gives back shows in its RSS.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from coordinator.core.events import MemorySampled
from coordinator.shell.monitor import PAGE_BYTES, read_tree
from coordinator.shell.supervisor import Running
from protocol.processes import children_of, read_raw
from protocol.views import ChildMemory

# By this part of what a worker has for itself a reading that is used again may be wrong; and the oldest that is.
DRIFT, OLDEST_S = 0.02, 60.0
# What is below a worker is not counted so: a reading with children is used again for this long. Nearly always it is the
# main thread that starts something, so of the others the children are looked for no more often than this either.
CHILDREN_S = 5.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
STATES = {"R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped", "t": "being traced"}


class Stat(NamedTuple):
    """A line of /proc/PID/stat."""

    state: str
    faults: int
    threads: int
    ticks: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found; None where the system does not tell."""

    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    swap_bytes: int
    tree_uss_bytes: int
    uptime_s: float
    threads: int
    open_files: int | None
    children: tuple[ChildMemory, ...]


@dataclass(slots=True)
class _Reading:
    read_s: float
    stat: Stat
    sample: MemorySampled
    children: list[int]
    of_main_thread: bytes
    threads_s: float


def stat_of(pid: int) -> Stat | None:
    """Return what the kernel counts of a process; None when it is gone, or a zombie."""
    try:
        fields = read_raw(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        state = fields[0].decode()
        if state in {"Z", "X"}:
            return None
        return Stat(state, int(fields[7]), int(fields[17]), int(fields[19]), int(fields[21]) * PAGE_BYTES)
    except (OSError, IndexError, ValueError):
        return None


def cpu_ns(pid: int) -> int | None:
    """Return the processor time that a process has used with all its threads, in nanoseconds; None when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have
    except (OSError, OverflowError):
        return None


def open_files(pid: int) -> int | None:
    """Return how many descriptors a process has open; None when it is gone, or not ours."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are enough
    except OSError:
        return None


class Probe:
    """Reads processes, and knows what it read of each."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Reading] = {}

    def look(self, worker: Running, *, may_walk: bool = True) -> Facts | None:
        """Return the facts of a worker; None when it is gone, also when its pid is another's now.

        Args:
            worker: which.
            may_walk: whether its page tables may be walked through, which takes time; if not, and that is needed, None.
        """
        stat = stat_of(worker.pid)
        if stat is None or stat.ticks != worker.ticks:
            self._known.pop((worker.session, worker.epoch), None)
            return None
        reading = self._reading(worker, stat, may_walk=may_walk)
        if reading is None:
            return None
        files = open_files(worker.pid)
        sample, is_fresh = reading.sample, reading.stat is stat
        rss = sample.memory.rss_bytes if is_fresh else stat.rss_bytes
        return Facts(
            rss_bytes=rss or 0,
            uss_bytes=sample.memory.uss_bytes or 0,
            pss_bytes=sample.tree.pss_bytes,
            swap_bytes=sample.tree.swap_bytes,
            tree_uss_bytes=sample.tree.tree_uss_bytes,
            uptime_s=round(time.clock_gettime(time.CLOCK_BOOTTIME) - stat.ticks / CLOCK_TICKS, 2),
            threads=stat.threads,
            open_files=files,
            children=sample.tree.children,
        )

    def forget_others(self, running: set[tuple[str, int]]) -> None:
        """Forget what was read of workers that do not run any more."""
        for key in [key for key in list(self._known) if key not in running]:
            self._known.pop(key, None)

    def _reading(self, worker: Running, stat: Stat, *, may_walk: bool) -> _Reading | None:
        known = self._known.get((worker.session, worker.epoch))
        now_s = time.monotonic()
        of_main_thread = _children_of_main_thread(worker.pid)
        if known is not None and known.of_main_thread == of_main_thread and _holds(known, worker.pid, stat, now_s):
            return known
        children = children_of(worker.pid)
        sample = read_tree(worker) if may_walk else None
        if sample is None:
            return None
        reading = _Reading(now_s, stat, sample, children, of_main_thread, now_s)
        self._known[worker.session, worker.epoch] = reading
        return reading


def _children_of_main_thread(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return read_raw(f"/proc/{pid}/task/{pid}/children")
    return b""


def _holds(known: _Reading, pid: int, stat: Stat, now_s: float) -> bool:
    faulted = (stat.faults - known.stat.faults) * PAGE_BYTES
    drift = abs(stat.rss_bytes - known.stat.rss_bytes) + faulted
    oldest_s = CHILDREN_S if known.children else OLDEST_S
    if now_s - known.read_s > oldest_s or drift > DRIFT * (known.sample.memory.uss_bytes or 0):
        return False
    if now_s - known.threads_s > CHILDREN_S:
        known.threads_s = now_s
        return children_of(pid) == known.children
    return True


# ---- stacks


def catches(pid: int, signal: int) -> bool:
    """Say whether a process has a handler for a signal, so that it does not die of it."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        mask = next(line for line in lines if line.startswith("SigCgt:")).split()[1]
        return bool(int(mask, 16) >> (signal - 1) & 1)
    return False


def open_file_named(pid: int, name: str) -> int | None:
    """Open the file without a path that a process made under this name; None when it has none."""
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names are enough
            with contextlib.suppress(OSError):
                link = Path(f"/proc/{pid}/fd/{number}")
                if str(link.readlink()).startswith(f"/memfd:{name} "):
                    return os.open(link, os.O_RDWR | os.O_CLOEXEC)
    return None
