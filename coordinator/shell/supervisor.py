"""Watches worker processes by pidfd: a death is an event within a millisecond, and a reused pid is never signalled."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from coordinator.core.events import Event, WorkerExited, WorkerSpawned
from coordinator.shell.trees import Dead, Sweeper
from protocol.failpoints import hit
from protocol.outbox import Record, read_outbox
from protocol.processes import is_running, start_ticks

# The zygote reaps and reports within a millisecond, on a busy machine within this. Where nobody reports, nobody waits.
STATUS_WAIT_S = 2.0
TAIL_BYTES = 4_096
TAIL_LINES = 20

log = logging.getLogger(__name__)


class Running(NamedTuple):
    """A worker process that lives; ``ticks`` is when it started, so that another with its pid is not taken for it."""

    session: str
    epoch: int
    pid: int
    ticks: int


@dataclass(slots=True)
class Watched:
    """A worker process."""

    session: str
    epoch: int
    pid: int
    ticks: int
    pidfd: int
    reap: Callable[[], int | None] | None = None
    is_reported: bool = False
    status: int | None = None
    is_dead: bool = False


class Supervisor:
    """Knows every worker process of this coordinator.

    Args:
        post: takes events.
        log_of: gives the file with a worker's standard error.
        outboxes: the folder with what workers noted.
    """

    def __init__(self, post: Callable[[Event], None], log_of: Callable[[str], Path], outboxes: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._post = post
        self._log_of = log_of
        self._outboxes = outboxes
        self._watched: dict[tuple[str, int], Watched] = {}
        self._sweeper = Sweeper()

    def watch(
        self, session: str, epoch: int, pid: int, pidfd: int, reap: Callable[[], int | None] | None = None
    ) -> None:
        """Take charge of a process that was just started; the pidfd becomes ours.

        Args:
            session: whose worker it is.
            epoch: which of its workers.
            pid: the process.
            pidfd: the same process, whatever becomes of its pid.
            reap: reaps it once it is dead and gives its status; None when somebody else reaps and reports.
        """
        ticks = start_ticks(pid) or 0
        self._add(Watched(session, epoch, pid, ticks, pidfd, reap, is_reported=reap is None))
        hit("supervisor.spawned")
        self._post(WorkerSpawned(session, epoch, pid, ticks))

    def adopt(self, session: str, epoch: int, pid: int, ticks: int) -> bool:
        """Take charge of a worker of an earlier coordinator; False when that process is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        if not is_running(pid, ticks):
            os.close(pidfd)
            return False
        self._add(Watched(session, epoch, pid, ticks, pidfd))
        return True

    def end_what_is_left(self, dead: Iterable[Dead]) -> None:
        """End what workers left that died while no coordinator ran."""
        self._sweeper.sweep_marked(list(dead))

    def end_tools(self, session: str, epoch: int) -> None:
        """Kill everything below a worker; the worker stays."""
        watched = self._watched.get((session, epoch))
        if watched is not None and not watched.is_dead:
            self._sweeper.end_tools(_identity(watched))

    def signal(self, session: str, epoch: int, name: str) -> None:
        """Send a signal to exactly that process; one that is dead already is no error."""
        watched = self._watched.get((session, epoch))
        if watched is not None and not watched.is_dead:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(watched.pidfd, signal.Signals[name])

    def reaped(self, session: str, epoch: int, status: int) -> None:
        """The zygote tells how a worker ended."""
        watched = self._watched.get((session, epoch))
        if watched is not None:
            watched.status = status
            if watched.is_dead:
                self._report(watched)

    def reporter_lost(self) -> None:
        """The zygote is dead: how its workers end will not be known, so their ends are told without waiting for it."""
        for watched in list(self._watched.values()):
            watched.is_reported = False
            if watched.is_dead:
                self._report(watched)

    def running(self) -> Iterable[Running]:
        """Yield every process that lives."""
        living = (w for w in list(self._watched.values()) if not w.is_dead)
        return (Running(w.session, w.epoch, w.pid, w.ticks) for w in living)

    def find(self, session: str, epoch: int) -> Running | None:
        """Return a process that lives; None when it does not."""
        found = self._watched.get((session, epoch))
        return None if found is None or found.is_dead else Running(session, epoch, found.pid, found.ticks)

    def close(self) -> None:
        """Stop watching; processes go on."""
        for watched in self._watched.values():
            if not watched.is_dead:
                self._loop.remove_reader(watched.pidfd)
                os.close(watched.pidfd)
        self._watched.clear()
        self._sweeper.close()

    def _add(self, watched: Watched) -> None:
        self._watched[watched.session, watched.epoch] = watched
        self._loop.add_reader(watched.pidfd, self._died, watched)

    def _died(self, watched: Watched) -> None:
        self._loop.remove_reader(watched.pidfd)
        os.close(watched.pidfd)
        watched.is_dead = True
        hit("supervisor.died")
        if watched.reap is not None:
            watched.status = watched.reap()
        if watched.status is None and watched.is_reported:
            self._loop.call_later(STATUS_WAIT_S, self._report, watched)
        else:
            self._report(watched)

    def _report(self, watched: Watched) -> None:
        """Tell of a death, when nothing of the worker's is left: it or the zygote saw to that, or we do now."""
        if self._watched.pop((watched.session, watched.epoch), None) is None:
            return
        left_by_itself = watched.status is not None and watched.status >= 0
        seen_by_zygote = watched.status is not None and watched.reap is None
        if left_by_itself or seen_by_zygote:
            self._tell(watched)
        else:
            self._sweeper.sweep(_identity(watched), lambda: self._tell(watched))

    def _tell(self, watched: Watched) -> None:
        status = watched.status
        kind: Literal["exited", "signaled", "unknown"] = "unknown"
        if status is not None:
            kind = "signaled" if status < 0 else "exited"
        self._post(
            WorkerExited(
                session=watched.session,
                epoch=watched.epoch,
                kind=kind,
                signal=signal_name(-status) if status is not None and status < 0 else None,
                exit_code=status if status is not None and status >= 0 else None,
                stderr_tail=tail(self._log_of(watched.session)),
                outbox=self._noted(watched),
            )
        )

    def _noted(self, watched: Watched) -> tuple[Record, ...] | None:
        try:
            return read_outbox(self._outboxes, watched.session, watched.epoch)
        except OSError as error:  # it stays there, for the next coordinator to read
            facts = {"session": watched.session, "epoch": watched.epoch, "reason": str(error)}
            log.error("outbox cannot be read", extra=facts)  # noqa: TRY400 - the reason says it all
            return None


def _identity(watched: Watched) -> Dead:
    return Dead(watched.session, watched.epoch, watched.pid, watched.ticks)


def signal_name(number: int) -> str:
    """Return the name that people know a signal by."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def tail(path: Path, since: int = 0) -> str:
    """Return the last lines of a process's standard error, of what was written behind ``since`` bytes."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(since if since <= size else 0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])
