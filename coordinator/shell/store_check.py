"""A look at the database that changes nothing on the disk, not even by a lock; no coordinator may have it open.

Opening a database in WAL mode makes files beside it, also for reading. Two ways make none: without a write-ahead log
the file counts as immutable; with one (its coordinator was killed) the log's index is kept in memory, which SQLite
does in exclusive mode, and locks, which a read-only file cannot take, are left out with the VFS ``unix-none``.
"""

import contextlib
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from coordinator.shell.schema import NewerSchema, version_of
from coordinator.shell.wal import has_commit
from protocol.paths import Home

LOOK_S = 10.0
# Between two looks at the clock: some milliseconds of work, by SQLite's steps and in seconds.
STEPS = 10_000
GLANCE_S = 0.02
# https://sqlite.org/fileformat2.html, section 1.3.
HEAD_BYTES = 100
PAGE_BYTES_AT = slice(16, 18)
MAGIC = b"SQLite format 3\0"


class DamageFound(sqlite3.DatabaseError):
    """Something is as it must not be; the text begins with ``damaged``."""


def version() -> str:
    """Return SQLite's version."""
    return sqlite3.sqlite_version


def can_serve() -> bool:
    """Say whether SQLite knows every statement that is used; RETURNING came with 3.35."""
    return sqlite3.sqlite_version_info >= (3, 35, 0)


def look(path: Path) -> tuple[bool, str]:
    """Look a database through.

    Args:
        path: the file.

    Returns:
        Whether it can be used, and what was found.
    """
    try:
        return True, examine(path, LOOK_S)
    except DamageFound as error:
        return False, f"{path.stat().st_size / 1e6 if path.exists() else 0:.1f} MB, {error}"
    except (sqlite3.Error, OSError) as error:
        return False, f"{path} cannot be read: {error}"


def examine(path: Path, within_s: float) -> str:
    """Return what was found of a database that can be used.

    Args:
        path: the file.
        within_s: what was not looked at by then is not looked at.

    Raises:
        DamageFound: the quick check found damage.
        sqlite3.Error: it is damaged beyond that, foreign, or newer than this program.
        OSError: it cannot be read.
    """
    _check_ends(path)
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError("it is no plain file")
    size = f"{facts.st_size / 1e6:.1f} MB"
    with contextlib.closing(open_unchanged(path)) as db:
        version_of(db)
        if quick_check(db, deadline(within_s)):
            return f"{size}, quick_check is ok"
        return f"{size}; no damage in what could be read within {within_s:g} s"


def is_newer(path: Path) -> bool:
    """Say whether a newer program wrote this database."""
    try:
        with contextlib.closing(open_unchanged(path)) as db:
            version_of(db)
    except NewerSchema:
        return True
    except (sqlite3.Error, OSError):
        pass
    return False


def is_there(path: Path) -> bool:
    """Say whether there is a database, or a write-ahead log that is left of one."""
    return has_commit(_log_of(path)) or (path.exists() and path.stat().st_size > 0)


def open_unchanged(path: Path) -> sqlite3.Connection:
    """Open a database to read it without a trace; a write-ahead log beside it is read too.

    Raises:
        DamageFound: it was cut off in a way that SQLite does not notice.
    """
    _check_ends(path)
    way = "mode=ro&vfs=unix-none" if has_commit(_log_of(path)) else "mode=ro&immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{way}", uri=True, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _check_ends(path: Path) -> None:
    """Find what SQLite makes worse: it deletes the log of an empty database, and fills up a page that was cut.

    Raises:
        DamageFound: the file was cut off.
    """
    size = path.stat().st_size if path.is_file() else 0
    if has_commit(_log_of(path)):  # a page may be incomplete that the log has whole
        if not size:
            raise DamageFound("damaged: the file is empty or gone, and its write-ahead log is not")
    elif size:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        page_bytes = int.from_bytes(head[PAGE_BYTES_AT], "big")
        if head.startswith(MAGIC) and page_bytes > 1 and size % page_bytes:
            raise DamageFound("damaged: the file ends in the middle of a page")
    elif path.is_file() and any(Home(path.parent).logs.glob("*.jsonl")):
        raise DamageFound("damaged: the file is empty, and this home has had sessions; delete it to begin anew")


def quick_check(db: sqlite3.Connection, is_over: Callable[[], bool]) -> bool:
    """Check the structure of a database; False when it was over before the end.

    Raises:
        DamageFound: and where.
    """
    try:
        with ended_when(db, is_over):
            said = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if str(error) != "interrupted":
            raise
        return False
    if said != ["ok"]:
        words = " ".join("; ".join(said).split()).removeprefix("*** in database main *** ")
        raise DamageFound(f"damaged: {words}")
    return True


@contextlib.contextmanager
def ended_when(db: sqlite3.Connection, is_over: Callable[[], bool]) -> Iterator[None]:
    """End what the connection does when it is over.

    Before SQLite 3.41 the check of a tree calls no progress handler; an interrupt from another thread ends it.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(GLANCE_S):
            if is_over():
                db.interrupt()

    watcher = threading.Thread(target=watch, name="check", daemon=True)
    watcher.start()
    db.set_progress_handler(is_over, STEPS)
    try:
        yield
    finally:
        done.set()
        watcher.join()
        db.set_progress_handler(None, 0)


def deadline(within_s: float) -> Callable[[], bool]:
    """Return what says whether that time is over."""
    end_s = time.monotonic() + within_s
    return lambda: time.monotonic() > end_s
