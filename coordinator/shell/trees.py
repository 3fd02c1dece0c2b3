"""What a dead worker leaves behind is ended before anybody is told of its death.

A worker that leaves by itself ends everything below it first, and the zygote ends what a killed one leaves, for the
kernel gives it those orphans (``workers.zygote``). This here is for workers that neither sees to: those of an earlier
coordinator and of the launcher ``spawn``. What was below them is found by the session that they led, and by the mark
that their children inherit; one look at /proc serves all that died at the same time.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from protocol.launch import MARK, mark_of
from protocol.processes import kill, kill_below, kill_tree_below, start_ticks

# The death is told after this long, whatever is still there: nobody waits for a process that the kernel cannot end.
SWEEP_S = 2.0
# A tree may grow while it is ended, and the killed take a moment to die.
PASSES = 12

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dead:
    """A worker that is dead. ``pid`` is 0 when it died so long ago that its pid may be another's."""

    session: str
    epoch: int
    pid: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Found:
    """A process that runs."""

    pid: int
    ticks: int
    parent: int
    leader: int
    mark: str


def end_leftovers(dead: Iterable[Dead]) -> int:
    """Kill everything that these workers left until nothing is there; return how many processes that were."""
    workers = list(dead)
    killed: set[tuple[int, int]] = set()
    for n in range(PASSES):
        left = leftovers(workers, look())
        if not left:
            break
        for process in left:
            killed |= kill_tree_below(process.pid)
            if kill(process.pid, process.ticks):
                killed.add((process.pid, process.ticks))
        time.sleep(min(0.001 * 2**n, 0.1))
    return len(killed)


def leftovers(dead: list[Dead], processes: list[Found]) -> list[Found]:
    """Return the processes that belonged to a dead worker. What is older than the worker is somebody else's."""
    marks = {mark_of(w.session, w.epoch): w for w in dead}
    starts = {process.pid: process.ticks for process in processes}
    # A pid that runs again is another process, and the session of that number is its own.
    leaders = {w.pid: w for w in dead if w.pid and starts.get(w.pid, w.ticks) == w.ticks}
    found = []
    for process in processes:
        worker = marks.get(process.mark) or leaders.get(process.leader)
        if worker is not None and process.ticks >= worker.ticks:
            found.append(process)
    return found


def look() -> list[Found]:
    """Return every process of this user."""
    found = []
    uid = os.getuid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if entry.stat().st_uid == uid:
                        found.append(_look_at(int(entry.name)))
    return [process for process in found if process is not None]


def _look_at(pid: int) -> Found | None:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    mark = ""
    with contextlib.suppress(OSError):
        begin = f"{MARK}=".encode()
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(begin):
                mark = variable.removeprefix(begin).decode(errors="replace")
    return Found(pid, int(fields[19]), int(fields[1]), int(fields[3]), mark)


class Sweeper:
    """Ends trees in a thread of its own, so that the main loop never waits for /proc."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[Dead, Callable[[], None]]] = []
        self._is_busy = False

    def sweep(self, dead: Dead, then: Callable[[], None]) -> None:
        """End what a worker left, then call back: within SWEEP_S."""
        is_told = False

        def tell() -> None:
            nonlocal is_told
            deadline.cancel()
            if not is_told:
                is_told = True
                then()

        deadline = self._loop.call_later(SWEEP_S, tell)
        self._waiting.append((dead, tell))
        self._begin()

    def end_tools(self, worker: Dead) -> None:
        """End everything below a worker that lives."""
        if start_ticks(worker.pid) == worker.ticks:
            self._in_thread(kill_below, worker.pid)

    def sweep_marked(self, dead: list[Dead]) -> None:
        """End what workers left that died while no coordinator ran."""
        if dead:
            self._in_thread(end_leftovers, dead)

    def close(self) -> None:
        """Let go; what is under way is finished."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def _in_thread(self, do: Callable[..., int], *args: object) -> "asyncio.Future[int]":
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sweeper")
        return self._loop.run_in_executor(self._thread, do, *args)

    def _begin(self) -> None:
        if self._is_busy or not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._is_busy = True

        def done(future: "asyncio.Future[int]") -> None:
            self._is_busy = False
            if not future.cancelled() and future.exception() is None and future.result():
                log.info("leftovers ended", extra={"processes": future.result()})
            for _, tell in batch:
                tell()
            self._begin()

        self._in_thread(end_leftovers, [dead for dead, _ in batch]).add_done_callback(done)
