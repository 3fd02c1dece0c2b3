"""A copy of the database: made in steps beside other work, checked, and put in place whole or not at all."""

import contextlib
import errno
import os
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coordinator.shell.faults import fault_of
from coordinator.shell.store_check import DamageFound, deadline, quick_check
from protocol.errors import StoreRefused

# A quarter of a megabyte: about a millisecond, so that a commit that comes meanwhile does not wait longer.
STEP_PAGES = 64
CHECK_S = 300.0
RESCUE = "Nothing was written. `chat-coord export --all DIR` saves what can be read."


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that is whole and on the disk."""

    bytes: int
    sessions: int


def begin(target: Path) -> Path:
    """Make an empty scratch file beside the target, for the user alone, and return it.

    Raises:
        StoreRefused: the target exists, or nothing can be written there.
    """
    if os.path.lexists(target):
        raise StoreRefused(f"{target} is there already.", hint="Choose another name; nothing is ever overwritten.")
    scratch = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        hint = "Give a file in a folder that exists and can be written."
        raise StoreRefused(f"{target} cannot be written: {error.strerror}.", hint=hint) from error
    return scratch


def copy(source: sqlite3.Connection, scratch: Path, between: Callable[[], None]) -> None:
    """Copy a database, page by page; what the same connection commits between two steps gets into the copy.

    Raises:
        sqlite3.Error: one of the two cannot be read or written.
    """
    with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # it is on the disk before it gets its name: publish
        source.backup(db, pages=STEP_PAGES, progress=lambda *_: between())


def publish(scratch: Path, target: Path, is_over: Callable[[], bool] = lambda: False) -> Copied:
    """Check the copy, put it on the disk, and give it its name; the scratch file is gone in any case.

    Raises:
        StoreRefused: the copy is damaged, or the target was made meanwhile.
    """
    is_late = deadline(CHECK_S)
    try:
        with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            if not quick_check(db, lambda: is_over() or is_late()):
                raise StoreRefused("The copy could not be checked in time.", hint="Nothing was written; try again.")
            (sessions,) = db.execute("SELECT count(*) FROM sessions").fetchone()
        size = sync(scratch)
        give_name(scratch, target)
    except DamageFound as error:
        raise StoreRefused(f"What was copied is {error}.", hint=RESCUE) from error
    except (sqlite3.Error, OSError) as error:
        raise refused(error, scratch, target) from error
    finally:
        discard(scratch)
    return Copied(size, sessions)


def refused(error: sqlite3.Error | OSError, source: Path, target: Path) -> StoreRefused:
    """Return the refusal of a copy that could not be made."""
    return StoreRefused(f"The copy {target} could not be made: {reason_of(error, source, target)}.", hint=RESCUE)


def reason_of(error: sqlite3.Error | OSError, source: Path, target: Path) -> str:
    """Return why a copy could not be made: what is damaged is the source, what cannot be written is the copy."""
    fault = fault_of(error, target)
    return fault_of(error, source).reason if fault.lasts else fault.reason


def sync(path: Path) -> int:
    """Put a file on the disk; return its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def give_name(scratch: Path, target: Path) -> None:
    """Give a file its final name, unless that is taken.

    Raises:
        StoreRefused: it is taken.
    """
    try:
        os.link(scratch, target)
    except FileExistsError:
        hint = "Choose another name; nothing is ever overwritten."
        raise StoreRefused(f"{target} is there already.", hint=hint) from None
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP} or os.path.lexists(target):
            raise
        scratch.rename(target)  # a file system without hard links
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(scratch: Path) -> None:
    """Remove a scratch file and what SQLite made beside it; gone already is no error."""
    for end in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            scratch.with_name(scratch.name + end).unlink()
