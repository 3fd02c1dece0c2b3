"""What the operating system says about processes and memory: the only door to psutil.

Resident memory (RSS) is a line of /proc and costs about 10 µs. What a process has for itself (USS) and its share of
what it has with others (PSS) cost the kernel a walk over its page tables, a hundred times that. So RSS is read each
second, and the rest seldom: when RSS moved, when it comes near a limit, which it is always above, and now and then. One
thread does it, and its scheduled readings take at most ``BUDGET_S`` of a processor each second, however many workers
there are.
"""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from coordinator.core.events import DescriptorsCounted, Event, MemorySampled, SystemSampled
from coordinator.shell.supervisor import Running
from protocol.processes import children_of, descendants_of, start_ticks
from protocol.settings import Settings
from protocol.views import ChildMemory, Memory, TreeMemory

ROUND_S = 1.0
# A worker is read again when its RSS moved and this is over, and after REST_S in any case: pages that it shared with
# the zygote become its own without a change of RSS.
READ_S, REST_S = 5.0, 60.0
BUDGET_S = 0.02
# Read at once: after such a growth, or from this part of a limit on.
GROWTH_BYTES, NEAR = 8 << 20, 0.9
# Of a worker's tree so many are read in full; of what is beyond, RSS has to do.
MOST_CHILDREN = 64
PAGE_BYTES = resource.getpagesize()
HAS_PROC = Path("/proc/self/smaps_rollup").exists()
PRESSURE = Path("/proc/pressure/memory")
CGROUPS = Path("/sys/fs/cgroup")


class Reading(NamedTuple):
    """One process's memory in bytes."""

    rss: int
    uss: int
    pss: int
    swap: int


class Helpers(NamedTuple):
    """The processes that are no workers."""

    zygotes: tuple[int, ...] = ()
    model_servers: tuple[int, ...] = ()


@dataclass(slots=True)
class Known:
    """What was read of a worker last, and when."""

    read_s: float
    rss: int
    uss: int
    has_children: bool


# ---- one process


def rss_bytes(pid: int) -> int | None:
    """Return a process's resident memory; None when it is gone."""
    try:
        if HAS_PROC:
            with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:  # noqa: PTH123 - each second, for every worker
                return int(file.read().split()[1]) * PAGE_BYTES
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, IndexError, psutil.Error):
        return None


def read(pid: int) -> Reading | None:
    """Return a process's memory; None when it is gone, or not ours to look into."""
    try:
        if HAS_PROC:
            with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:  # noqa: PTH123
                return _parsed(file.read())
        facts = psutil.Process(pid).memory_full_info()
    except (OSError, IndexError, ValueError, psutil.Error):
        return None
    return Reading(facts.rss, facts.uss, getattr(facts, "pss", facts.uss), getattr(facts, "swap", 0))


def _parsed(text: bytes) -> Reading | None:
    found: dict[bytes, int] = {}
    for line in text.splitlines()[1:]:
        key, value = line.split()[:2]
        found[key] = int(value) << 10
    if b"Rss:" not in found:  # it ended while it was read
        return None
    uss = found.get(b"Private_Clean:", 0) + found.get(b"Private_Dirty:", 0) + found.get(b"Private_Hugetlb:", 0)
    return Reading(found[b"Rss:"], uss, found.get(b"Pss:", uss), found.get(b"Swap:", 0))


def read_tree(worker: Running) -> MemorySampled | None:
    """Return what a worker and everything below it have; None when it is gone, also when its pid is another's now."""
    own = read(worker.pid)
    if own is None or own.rss == 0:
        return None
    children: list[ChildMemory] = []
    tree_uss = own.uss
    for n, (pid, _) in enumerate(descendants_of(worker.pid)):
        reading = read(pid) if n < MOST_CHILDREN else None
        if reading is None:
            rss = rss_bytes(pid) or 0
            reading = Reading(rss, rss, rss, 0)
        tree_uss += reading.uss
        children.append(ChildMemory(pid=pid, name=_name(pid), pss_bytes=reading.pss))
    if start_ticks(worker.pid) != worker.ticks:
        return None
    tree = TreeMemory(
        pss_bytes=own.pss,
        swap_bytes=own.swap,
        tree_uss_bytes=tree_uss,
        tree_pss_bytes=own.pss + sum(child.pss_bytes for child in children),
        children=tuple(children),
    )
    return MemorySampled(worker.session, worker.epoch, Memory(uss_bytes=own.uss, rss_bytes=own.rss), tree)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def own_rss_bytes() -> int:
    """Return this process's resident memory."""
    return rss_bytes(os.getpid()) or 0


def descriptors() -> DescriptorsCounted | None:
    """Return how many file descriptors this process has open and may have; None where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return None
    return DescriptorsCounted(psutil.Process().num_fds(), limit)


# ---- the machine


def machine() -> tuple[int, int]:
    """Return how much memory may be used at all, and how much is still to be had; a control group's limit counts."""
    facts = psutil.virtual_memory()
    total, available = facts.total, facts.available
    for group in _groups():
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max", or it is not there
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            used = int((group / "memory.current").read_text(encoding="ascii")) - int(stat["inactive_file"])
            total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _groups() -> Iterable[Path]:
    """Yield this process's control group (version 2) and those around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::"):
            own = CGROUPS / line.removeprefix("0::").lstrip("/")
            yield from (group for group in (own, *own.parents) if group.is_relative_to(CGROUPS))


def pressure_percent() -> float | None:
    """Return the kernel's PSI for memory, "some avg10"; None where it has none."""
    try:
        words = PRESSURE.read_text(encoding="ascii").split()
        return float(next(word for word in words if word.startswith("avg10=")).removeprefix("avg10="))
    except (OSError, ValueError, StopIteration):
        return None


# ---- all of them, again and again


class Reader:
    """Decides whom to read in a round, reads, and knows what it read. Lives in one thread.

    Args:
        settings: the limits, which are worth a closer look when memory comes near them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, int], Known] = {}
        self._helpers: dict[int, tuple[float, Reading]] = {}
        self._rounds = 0

    def round(self, workers: Iterable[Running], helpers: Helpers, now_s: float) -> list[Event]:
        """Return what is new.

        Args:
            workers: those that run now.
            helpers: our other processes.
            now_s: monotonic time in seconds.
        """
        self._rounds += 1
        total, available = machine()
        tool_limit = self._settings.tool_memory_bytes or total // 4
        urgent: list[Running] = []
        due: list[tuple[float, Running]] = []
        running = list(workers)
        for worker in running:
            rss = rss_bytes(worker.pid)
            known = self._known.get((worker.session, worker.epoch))
            if rss is None:
                continue
            if known is None or self._is_urgent(worker, known, rss, tool_limit):
                urgent.append(worker)
            elif self._is_due(known, rss, now_s):
                due.append((known.read_s, worker))
        events: list[Event] = [*self._read(urgent, now_s), *self._read_some(due, now_s)]
        alive = {(worker.session, worker.epoch) for worker in running}
        self._known = {key: known for key, known in self._known.items() if key in alive}
        events.append(self._system(helpers, {worker.pid for worker in running}, total, available, now_s))
        return events

    def _is_urgent(self, worker: Running, known: Known, rss: int, tool_limit: int) -> bool:
        if rss - known.rss >= GROWTH_BYTES or rss >= NEAR * self._settings.memory_hard_bytes:
            return True
        if known.has_children:
            below = sum(rss_bytes(pid) or 0 for pid, _ in descendants_of(worker.pid))
            return below >= NEAR * tool_limit
        is_its_turn = (self._rounds + worker.pid) % int(READ_S / ROUND_S) == 0
        return is_its_turn and bool(children_of(worker.pid))

    def _is_due(self, known: Known, rss: int, now_s: float) -> bool:
        age_s = now_s - known.read_s
        is_interesting = rss != known.rss or known.has_children or known.uss > self._settings.memory_soft_bytes
        return age_s >= REST_S or (is_interesting and age_s >= READ_S)

    def _read(self, workers: Iterable[Running], now_s: float) -> Iterable[MemorySampled]:
        for worker in workers:
            event = read_tree(worker)
            if event is not None:
                rss, uss = event.memory.rss_bytes or 0, event.memory.uss_bytes or 0
                known = Known(now_s, rss, uss, bool(event.tree.children))
                self._known[worker.session, worker.epoch] = known
                yield event

    def _read_some(self, due: list[tuple[float, Running]], now_s: float) -> Iterable[MemorySampled]:
        """Read as many as the budget allows, those first that were not read for longest."""
        begun_s = time.thread_time()
        for _, worker in sorted(due, key=lambda pair: pair[0]):
            yield from self._read([worker], now_s)
            if time.thread_time() - begun_s > BUDGET_S:
                return

    # ---- what is no worker

    def _system(self, helpers: Helpers, workers: set[int], total: int, available: int, now_s: float) -> SystemSampled:
        own = os.getpid()
        spares = {pid for zygote in helpers.zygotes for pid in children_of(zygote)} - workers
        ours = (own, *helpers.zygotes, *helpers.model_servers, *spares)
        self._helpers = {pid: self._helper(pid, now_s) for pid in ours}

        def rss(pids: Iterable[int]) -> int | None:
            found = [self._helpers[pid][1].rss for pid in pids]
            return sum(found) if found else None

        return SystemSampled(
            machine_bytes=total,
            available_bytes=available,
            pressure_percent=pressure_percent(),
            coordinator_rss_bytes=self._helpers[own][1].rss,
            zygote_rss_bytes=rss(helpers.zygotes),
            model_server_rss_bytes=rss(helpers.model_servers),
            helpers_pss_bytes=sum(reading.pss for _, reading in self._helpers.values()),
        )

    def _helper(self, pid: int, now_s: float) -> tuple[float, Reading]:
        rss = rss_bytes(pid) or 0
        read_s, known = self._helpers.get(pid, (0.0, None))
        if known is None or abs(rss - known.rss) >= GROWTH_BYTES or now_s - read_s >= REST_S:
            return now_s, read(pid) or Reading(rss, rss, rss, 0)
        return read_s, known._replace(rss=rss)


async def sample_forever(
    settings: Settings,
    workers: Callable[[], Iterable[Running]],
    helpers: Callable[[], Helpers],
    post: Callable[[Event], None],
) -> None:
    """Read memory each second, in a thread, and post what was read.

    Args:
        settings: the limits.
        workers: gives the workers that run now.
        helpers: gives our other processes.
        post: takes the events.
    """
    reader = Reader(settings)
    while True:
        events = await asyncio.to_thread(reader.round, list(workers()), helpers(), time.monotonic())
        for event in events:
            post(event)
        await asyncio.sleep(ROUND_S)
