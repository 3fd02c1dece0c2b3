"""A look at the database while no coordinator runs, which changes nothing on the disk, not even by a lock.

Opening a database in WAL mode makes files beside it, also for reading. Two ways make none: without a write-ahead log
the file counts as immutable; with one (its coordinator was killed) the log's index is kept in memory, which SQLite
does in exclusive mode, and locks, which a read-only file cannot take, are left out with the VFS ``unix-none``.
"""

import contextlib
import sqlite3
import stat
import time
from pathlib import Path

from coordinator.shell.records import SCHEMA_VERSION

LOOK_S = 10.0
# Between two looks at the clock: some milliseconds of work.
STEPS = 10_000


def version() -> str:
    """Return SQLite's version."""
    return sqlite3.sqlite_version


def can_serve() -> bool:
    """Say whether SQLite knows every statement that is used; RETURNING came with 3.35."""
    return sqlite3.sqlite_version_info >= (3, 35, 0)


def look(path: Path) -> tuple[bool, str]:
    """Look a database through.

    Args:
        path: the file; no coordinator may have it open.

    Returns:
        Whether it can be used, and what was found.
    """
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            return False, f"{path} is no plain file"
        with contextlib.closing(_open(path)) as db:
            return _checked(db, facts.st_size)
    except (sqlite3.Error, OSError) as error:
        return False, f"{path} cannot be read: {error}"


def _open(path: Path) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    way = "mode=ro&vfs=unix-none" if has_log else "mode=ro&immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{way}", uri=True, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def _checked(db: sqlite3.Connection, size_bytes: int) -> tuple[bool, str]:
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema > SCHEMA_VERSION:
        return False, f"its schema is version {schema}, this program knows up to {SCHEMA_VERSION}"
    deadline_s = time.monotonic() + LOOK_S
    db.set_progress_handler(lambda: time.monotonic() > deadline_s, STEPS)
    size = f"{size_bytes / 1e6:.1f} MB"
    try:
        said = [row[0] for row in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if str(error) != "interrupted":
            raise
        return True, f"{size}; no damage in what could be read within {LOOK_S:.0f} s"
    if said != ["ok"]:
        return False, f"{size}, damaged: {'; '.join(said)}"
    return True, f"{size}, quick_check is ok"
