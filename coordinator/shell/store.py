"""The database: one SQLite connection in one thread. Commits are grouped, and told only when they are durable.

The main loop never waits here: a change goes into a queue, and ``Committed`` comes back as an event. What has gathered
in the queue while the disk was busy goes into one transaction (group commit). One connection only: SQLite up to 3.51.2
has a WAL-reset bug that needs two.

What cannot be written makes the store read-only: changes fail at once, questions are answered, and it tries again by
itself until it can write (``faults`` has the reasons). How its files are kept is in ``durable``.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coordinator.core.effects import Change
from coordinator.core.events import CommitFailed, Committed, Event, StoredSession, StoreEnded, StoreTurned
from coordinator.shell import backup, faults, records, search_index
from coordinator.shell.durable import BUSY_MS, Files
from coordinator.shell.faults import Fault
from protocol.errors import ChatCoordError
from protocol.failpoints import hit

T = TypeVar("T")

# Messages of one transaction at most.
GROUP = 64
OPEN_S = 30.0
CLOSE_S = 30.0
# While it cannot write: changes that come are tried after the shorter time, and without any, room is tried for after
# the longer. Every second the core offers again what waits, so that what is tried is what has to fit.
TRY_CHANGES_S = 0.5
TRY_ROOM_S = 1.5
# A little more than a prompt may have.
ROOM_BYTES = 320 << 10
# For a lock of another program, while it is known to hold one: questions are answered in between.
BUSY_READ_ONLY_MS = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """What the store held when it was opened."""

    boot: int
    sessions: tuple[StoredSession, ...]
    active: dict[str, str]
    tokens_spent: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    ask: Callable[[sqlite3.Connection], Any]
    answer: Callable[[Any], None]
    failed: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Copy:
    scratch: Path
    answer: Callable[[None], None]
    failed: Callable[[str], None]


class _Ending(Exception):
    """The store is being closed in the middle of a copy."""


class Store:
    """Takes changes and questions from the main loop.

    Args:
        path: the database file.
        post: takes events, from any thread.
        call: runs a callback in the main loop, from any thread.
    """

    def __init__(self, path: Path, post: Callable[[Event], None], call: Callable[[Callable[[], None]], None]) -> None:
        self._path = path
        self._files = Files(path)
        self._post = post
        self._call = call
        self._jobs: queue.SimpleQueue[Change | _Question | _Copy | None] = queue.SimpleQueue()
        self._copies: deque[_Copy] = deque()
        self._opened: queue.SimpleQueue[Contents | sqlite3.Error | OSError | ChatCoordError] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._tried_s = 0.0
        self._is_indexing = False
        self.fault: Fault | None = None

    def open(self) -> Contents:
        """Start the thread and return what the database holds.

        Raises:
            StoreFailed: it cannot be used; nothing was changed.
        """
        self._thread.start()
        try:
            result = self._opened.get(timeout=OPEN_S)
        except queue.Empty:
            result = TimeoutError(f"it did not open within {OPEN_S:.0f} s")
        if isinstance(result, ChatCoordError):
            raise result
        if isinstance(result, (sqlite3.Error, OSError)):
            raise faults.refusal_of(result, self._path) from result
        return result

    def commit(self, change: Change) -> None:
        """Queue a change; Committed or CommitFailed follows."""
        self._jobs.put(change)

    def ask(
        self, question: Callable[[sqlite3.Connection], T], answer: Callable[[T], None], failed: Callable[[str], None]
    ) -> None:
        """Queue a question; one of the two is called in the main loop, after all changes queued before it."""
        self._jobs.put(_Question(question, answer, failed))

    def copy(self, scratch: Path, answer: Callable[[None], None], failed: Callable[[str], None]) -> None:
        """Queue a copy into a file of ours; changes are committed and questions answered while it is made."""
        self._jobs.put(_Copy(scratch, answer, failed))

    def close(self) -> None:
        """Commit what is queued and close the database."""
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    @property
    def size_bytes(self) -> int:
        """The database's size on disk, its write-ahead log included."""
        return self._files.size_bytes

    @property
    def notice(self) -> str | None:
        """What people must be told of the database since this start; None when there is nothing."""
        return self._files.notice

    # ---- in the thread

    def _run(self) -> None:
        try:
            db = self._open()
        except (sqlite3.Error, OSError, ChatCoordError) as error:
            self._opened.put(error)
            return
        try:
            self._serve(db)
        except BaseException as error:  # our bug: without a store nothing can be promised, so the process must end
            log.exception("store ended")
            self._post(StoreEnded(repr(error)))
            raise
        finally:
            db.close()

    def _open(self) -> sqlite3.Connection:
        db = self._files.open()
        try:
            boot, spent = records.next_boot(db), records.load_spent(db)
            contents = Contents(boot, records.load_sessions(db), records.load_active(db), spent)
            self._files.settle(db)
        except BaseException:
            db.close()
            raise
        self._is_indexing = search_index.is_unfinished(db)
        self._opened.put(contents)
        return db

    def _serve(self, db: sqlite3.Connection) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._patience_s())
            except queue.Empty:
                if self.fault is None:
                    self._index(db)
                else:
                    self._try_room(db)
                continue
            if not self._take(db, job):
                return
            try:
                while self._copies:
                    self._copy(db, self._copies.popleft())
            except _Ending:
                return

    def _take(self, db: sqlite3.Connection, job: Change | _Question | _Copy | None) -> bool:
        """Take a job, and the changes that wait behind it as one group; False at the end."""
        group: list[Change] = []
        while job is not None and not isinstance(job, _Question | _Copy):
            group.append(job)
            if len(group) == GROUP:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        if group:
            self._commit(db, group, is_last=job is None)
        if isinstance(job, _Question):
            self._answer(db, job)
        elif isinstance(job, _Copy):
            self._copies.append(job)
        return job is not None

    # ---- changes

    def _commit(self, db: sqlite3.Connection, group: list[Change], *, is_last: bool) -> None:
        """One transaction for all; a change that cannot be is left out without harm to the others."""
        events: list[Event] = []
        if not self._may_try(is_last=is_last):
            reason = self.fault.reason if self.fault else ""
            events = [CommitFailed(change, reason) for change in group]
        else:
            self._tried_s = time.monotonic()
            try:
                with _transaction(db):
                    hit("store.begun")
                    events.extend(self._apply(db, change) for change in group)
                    hit("store.applied")
                hit("store.committed")
                fault = None if self._files.are_in_place() else faults.moved(self._path)
            except (sqlite3.Error, OSError) as error:
                log.exception("commit failed")
                fault = faults.fault_of(error, self._path)
            if fault is not None:
                events = [CommitFailed(change, fault.reason) for change in group]
            self._turn(db, fault)
        for event in events:
            self._post(event)
        if self.fault is None:
            self._files.keep_small(db)

    def _apply(self, db: sqlite3.Connection, change: Change) -> Event:
        db.execute("SAVEPOINT one")
        try:
            outcome = records.apply(change, db)
        except (sqlite3.IntegrityError, TypeError) as error:
            db.execute("ROLLBACK TO one")
            log.exception("change refused", extra={"change": type(change).__name__})
            return CommitFailed(change, str(error), is_final=True)
        finally:
            if db.in_transaction:  # a disk that is full ends the transaction by itself
                db.execute("RELEASE one")
        return Committed(change, outcome)

    # ---- writable or not

    def _may_try(self, *, is_last: bool) -> bool:
        if self.fault is None:
            return True
        is_time = time.monotonic() - self._tried_s >= TRY_CHANGES_S
        return not self.fault.lasts and (is_time or is_last)

    def _patience_s(self) -> float | None:
        """How long to wait for a job before room is tried for; None: for ever."""
        if self.fault is None:
            return 0.0 if self._is_indexing else None
        if self.fault.lasts:
            return None
        return max(0.0, self._tried_s + TRY_ROOM_S - time.monotonic())

    def _try_room(self, db: sqlite3.Connection) -> None:
        """Write as much as a prompt needs, and take it away again."""
        self._tried_s = time.monotonic()
        fault = None
        try:
            with _transaction(db):
                db.execute("INSERT OR REPLACE INTO meta VALUES ('room', zeroblob(?))", (ROOM_BYTES,))
            with _transaction(db):
                db.execute("DELETE FROM meta WHERE key = 'room'")
        except (sqlite3.Error, OSError) as error:
            fault = faults.fault_of(error, self._path)
        self._turn(db, fault)

    def _index(self, db: sqlite3.Connection) -> None:
        """When there is nothing else to do: a step towards an index over everything that is searched."""
        fault = None
        try:
            with _transaction(db):
                search_index.index_some(db)
            self._is_indexing = search_index.is_unfinished(db)
        except (sqlite3.Error, OSError) as error:
            log.exception("indexing failed")
            fault = faults.fault_of(error, self._path)
        self._turn(db, fault)
        if fault is None:
            self._files.keep_small(db)

    def _turn(self, db: sqlite3.Connection, fault: Fault | None) -> None:
        """Tell the core when the store stops or begins to take changes, and when the reason is another."""
        if fault == self.fault:
            return
        self.fault = fault
        db.execute(f"PRAGMA busy_timeout = {BUSY_READ_ONLY_MS if fault else BUSY_MS}")
        self._post(StoreTurned(None) if fault is None else StoreTurned(fault.reason, fault.hint))

    # ---- questions and copies

    def _answer(self, db: sqlite3.Connection, question: _Question) -> None:
        try:
            result = question.ask(db)
        except sqlite3.Error as error:
            log.exception("question failed")
            fault = faults.fault_of(error, self._path)
            if fault.lasts:  # what is damaged is not written any more
                self._turn(db, fault)
            self._call(lambda: question.failed(fault.reason))
            return
        self._call(lambda: question.answer(result))

    def _copy(self, db: sqlite3.Connection, order: _Copy) -> None:
        try:
            backup.copy(db, order.scratch, lambda: self._serve_waiting(db))
        except (sqlite3.Error, OSError) as error:
            reason = backup.reason_of(error, self._path, order.scratch)
            self._call(lambda: order.failed(reason))
        except _Ending:
            self._call(lambda: order.failed("the coordinator is stopping"))
            raise
        else:
            self._call(lambda: order.answer(None))

    def _serve_waiting(self, db: sqlite3.Connection) -> None:
        """Between two steps of a copy: take one job, if there is any."""
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return
        if not self._take(db, job):
            raise _Ending


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise
