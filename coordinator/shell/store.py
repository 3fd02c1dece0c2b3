"""The database: one SQLite connection in one thread. Commits are grouped, and told only when they are durable.

The main loop never waits here: a change goes into a queue, and ``Committed`` comes back as an event. What has gathered
in the queue while the disk was busy goes into one transaction (group commit). One connection only: SQLite up to 3.51.2
has a WAL-reset bug that needs two.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coordinator.core.effects import Change
from coordinator.core.events import CommitFailed, Committed, Event, StoredSession, StoreEnded
from coordinator.shell import records
from protocol.errors import StoreFailed
from protocol.failpoints import hit

T = TypeVar("T")

# Messages of one transaction at most.
GROUP = 64
BUSY_MS = 2_000
OPEN_S = 30.0
CLOSE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """What the store held when it was opened."""

    boot: int
    sessions: tuple[StoredSession, ...]
    active: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Question:
    ask: Callable[[sqlite3.Connection], Any]
    answer: Callable[[Any], None]
    failed: Callable[[str], None]


class Store:
    """Takes changes and questions from the main loop.

    Args:
        path: the database file.
        post: takes events, from any thread.
        call: runs a callback in the main loop, from any thread.
    """

    def __init__(self, path: Path, post: Callable[[Event], None], call: Callable[[Callable[[], None]], None]) -> None:
        self._path = path
        self._post = post
        self._call = call
        self._jobs: queue.SimpleQueue[Change | _Question | None] = queue.SimpleQueue()
        self._opened: queue.SimpleQueue[Contents | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self.is_writable = True

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
        if isinstance(result, Exception):
            hint = f"Nothing was changed. Keep a copy of {self._path.name}* before you try anything."
            raise StoreFailed(f"The database {self._path} cannot be used: {result}.", hint=hint) from result
        return result

    def commit(self, change: Change) -> None:
        """Queue a change; Committed or CommitFailed follows."""
        self._jobs.put(change)

    def ask(
        self, question: Callable[[sqlite3.Connection], T], answer: Callable[[T], None], failed: Callable[[str], None]
    ) -> None:
        """Queue a question; one of the two is called in the main loop, after all changes queued before it."""
        self._jobs.put(_Question(question, answer, failed))

    def close(self) -> None:
        """Commit what is queued and close the database."""
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    @property
    def size_bytes(self) -> int:
        """The database's size on disk, its write-ahead log included."""
        size = 0
        for path in (self._path, self._path.with_name(self._path.name + "-wal")):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        return size

    # ---- in the thread

    def _run(self) -> None:
        try:
            db = self._connect()
        except (sqlite3.Error, OSError, ValueError) as error:
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

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_MS / 1000)
        try:
            db.row_factory = sqlite3.Row
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            records.prepare(db)
            contents = Contents(records.next_boot(db), records.load_sessions(db), records.load_active(db))
        except BaseException:
            db.close()
            raise
        self._opened.put(contents)
        return db

    def _serve(self, db: sqlite3.Connection) -> None:
        while True:
            group: list[Change] = []
            job = self._jobs.get()
            while job is not None and not isinstance(job, _Question):
                group.append(job)
                if len(group) == GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(db, group)
            if isinstance(job, _Question):
                self._answer(db, job)
            if job is None:
                return

    def _commit(self, db: sqlite3.Connection, group: list[Change]) -> None:
        """One transaction for all; a change that cannot be is left out without harm to the others."""
        events: list[Event] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            hit("store.begun")
            events.extend(self._apply(db, change) for change in group)
            hit("store.applied")
            db.execute("COMMIT")
            hit("store.committed")
        except (sqlite3.Error, OSError) as error:
            log.exception("commit failed")
            self.is_writable = False
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            events = [CommitFailed(change, str(error)) for change in group]
        else:
            self.is_writable = True
        for event in events:
            self._post(event)

    def _apply(self, db: sqlite3.Connection, change: Change) -> Event:
        db.execute("SAVEPOINT one")
        try:
            outcome = records.apply(change, db)
        except (sqlite3.IntegrityError, TypeError) as error:
            db.execute("ROLLBACK TO one")
            log.exception("change refused", extra={"change": type(change).__name__})
            return CommitFailed(change, str(error))
        finally:
            db.execute("RELEASE one")
        return Committed(change, outcome)

    def _answer(self, db: sqlite3.Connection, question: _Question) -> None:
        try:
            result = question.ask(db)
        except sqlite3.Error as error:
            log.exception("question failed")
            reason = str(error)
            self._call(lambda: question.failed(reason))
            return
        self._call(lambda: question.answer(result))
