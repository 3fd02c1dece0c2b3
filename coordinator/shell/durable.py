"""How the database's files are opened and kept: looked through first, migrated beside a copy, checkpointed whole.

Checkpoints are our own: SQLite's go part of the way and leave the log in place, so that a log which is damaged later
would mix old pages into a newer database. Here the log is copied into the database whole and emptied, or not at all;
so whatever becomes of the log, what is left is an exact prefix of the commits.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
from pathlib import Path

from coordinator.shell import backup, store_check, wal
from coordinator.shell.schema import MIGRATIONS, prepare, version_of

# Of a start, for looking the database through; what is not seen by then has to wait for `chat-coord doctor`.
START_CHECK_S = 1.0
BUSY_MS = 2_000
CHECKPOINT_BYTES = 4 << 20

log = logging.getLogger(__name__)


class Files:
    """The database and its write-ahead log.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(path.name + "-wal")
        self._identity: tuple[tuple[int, int], ...] | None = None
        self._checkpoint_bytes = CHECKPOINT_BYTES
        # What people must be told of these files; None when there is nothing.
        self.notice: str | None = None

    def open(self) -> sqlite3.Connection:
        """Return the connection, its tables made or migrated.

        Raises:
            sqlite3.Error, OSError: it cannot be used; nothing was changed.
        """
        if self.path.exists() or store_check.is_there(self.path):
            log.info("database looked through", extra={"finding": store_check.examine(self.path, START_CHECK_S)})
        db = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_MS / 1000)
        try:
            self.path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            self._keep_damaged_log(db)  # before anything is written where the damage is
            self._keep_old(db)
            prepare(db)
            db.row_factory = sqlite3.Row
        except BaseException:
            db.close()
            raise
        return db

    def settle(self, db: sqlite3.Connection) -> None:
        """Empty the log that an earlier coordinator left, and remember which files these are."""
        self._checkpoint(db)
        self._identity = self._look()

    def _keep_damaged_log(self, db: sqlite3.Connection) -> None:
        """SQLite takes a log up to the first frame that is damaged and says nothing of what came after: we do."""
        _, whole, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        lost = wal.commits_behind(self._log, max(whole, 0))
        if not lost:
            return
        kept = self._log.with_name(f"{self._log.name}.damaged")
        with contextlib.suppress(OSError):
            shutil.copyfile(self._log, kept)
        self.notice = (
            f"The write-ahead log was damaged: {lost} transactions that stood behind the damage are not in the store,"
            f" though they may have been acknowledged. The log as it was is kept as {kept.name}."
        )
        log.error("write-ahead log damaged", extra={"transactions": lost, "kept": str(kept)})

    def are_in_place(self) -> bool:
        """Say whether the files that are written are still those at the path."""
        return self._look() == self._identity

    def keep_small(self, db: sqlite3.Connection) -> None:
        """Empty the log when it has grown. What is in it is durable already, so a failure is only noted."""
        size = 0
        with contextlib.suppress(OSError):
            size = self._log.stat().st_size
        if size < self._checkpoint_bytes:
            return
        if self._checkpoint(db):
            self._checkpoint_bytes = CHECKPOINT_BYTES
        else:
            self._checkpoint_bytes = size + CHECKPOINT_BYTES

    @property
    def size_bytes(self) -> int:
        """Size on disk, the log included."""
        size = 0
        for path in (self.path, self._log):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        return size

    def _look(self) -> tuple[tuple[int, int], ...] | None:
        try:
            facts = [path.stat() for path in (self.path, self._log)]
        except OSError:
            return None
        return tuple((f.st_dev, f.st_ino) for f in facts)

    def _checkpoint(self, db: sqlite3.Connection) -> bool:
        try:
            is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            log.exception("checkpoint failed")
            return False
        return not is_busy

    def _keep_old(self, db: sqlite3.Connection) -> None:
        """Before a migration, keep a copy of the database as it was."""
        version = version_of(db)
        if version not in MIGRATIONS:
            return
        kept = self.path.with_name(f"{self.path.name}.schema-{version}")
        scratch = backup.begin(kept.with_name(f"{kept.name}.new"))
        try:
            backup.copy(db, scratch, lambda: None)
            backup.sync(scratch)
            os.replace(scratch, kept)  # noqa: PTH105 - a copy of an earlier try is replaced
            backup.sync_folder(kept.parent)
        finally:
            backup.discard(scratch)
        log.info("schema migrated", extra={"from_version": version, "kept": str(kept)})
