"""Why the database cannot be used or written, in words: from SQLite's result codes to a sentence and to what helps."""

import errno
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from coordinator.shell.schema import NewerSchema
from coordinator.shell.store_check import DamageFound
from protocol.errors import StoreFailed

# An extended result code keeps its kind in the low byte.
KIND = 0xFF
RESCUE = (
    "What was acknowledged before is in the file. Stop the coordinator, then `chat-coord export --all DIR` saves what"
    " can be read and `chat-coord restore FILE` puts a backup in its place."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason without its full stop, and a hint. ``lasts``: trying again would not help, or would harm."""

    reason: str
    hint: str
    lasts: bool = False


def fault_of(error: sqlite3.Error | OSError, path: Path) -> Fault:
    """Return what is wrong with the database at the path."""
    if isinstance(error, OSError):
        return _of_system(error, path)
    if isinstance(error, DamageFound):
        return Fault(f"{path} is {error}", RESCUE, lasts=True)
    home = path.parent
    match _kind(error):
        case sqlite3.SQLITE_FULL:
            fault = _full(path, error)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            hint = f"End what else has {path.name} open (a sqlite3 shell?); the coordinator then goes on by itself."
            fault = Fault(f"another program holds a lock on {path}", hint)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            fault = Fault(f"{path} is damaged ({error})", RESCUE, lasts=True)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            hint = f"Check owner, mode and mount of {home}; the coordinator then goes on by itself."
            fault = Fault(f"{path} cannot be written ({error})", hint)
        case sqlite3.SQLITE_IOERR:
            hint = f"Check the disk, quota and file size limit of {home}; the coordinator tries again by itself."
            fault = Fault(f"the disk refused {path} ({error})", hint)
        case _:
            hint = "The coordinator tries again by itself; see coordinator.log in the logs folder."
            fault = Fault(f"{path} gave an error ({error})", hint)
    return fault


def _kind(error: BaseException) -> int | None:
    """Return SQLite's result code without its extension; None for an error that is not SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & KIND


def moved(path: Path) -> Fault:
    """Return the fault of a database whose file is not at its place any more."""
    return Fault(
        f"{path} or its write-ahead log was moved, replaced or deleted",
        "Put both back if you can, stop the coordinator with `chat-coord stop --now` and start it again.",
        lasts=True,
    )


def _of_system(error: OSError, path: Path) -> Fault:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _full(path, error)
    hint = f"Check owner, mode and mount of {path.parent}."
    return Fault(f"{error.filename or path} cannot be used ({error.strerror or error})", hint)


def _full(path: Path, error: Exception) -> Fault:
    hint = f"Make room on the disk of {path.parent}; the coordinator then goes on by itself within seconds."
    return Fault(f"no room is left for {path} ({error})", hint)


def refusal_of(error: sqlite3.Error | OSError | TimeoutError, path: Path) -> StoreFailed:
    """Return the refusal of a start with the database at the path."""
    kind = _kind(error)
    what, hint = str(error), f"Nothing was changed. Keep a copy of {path.name}* before you try anything."
    if isinstance(error, sqlite3.DatabaseError) and kind in {None, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        hint = (
            "Nothing was changed. `chat-coord export --all DIR` saves what can be read of it; `chat-coord restore FILE`"
            " puts a backup in its place and keeps this one."
        )
        if kind == sqlite3.SQLITE_CORRUPT:
            what = f"it is damaged ({error})"
        if isinstance(error, NewerSchema):
            hint = "Nothing was changed. Install the chat-coord that wrote it, or a newer one."
    elif kind in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        what = f"another program holds a lock on it ({error})"
        hint = f"Nothing was changed. End what else has {path.name} open (a sqlite3 shell?), then start again."
    elif kind is not None or isinstance(error, OSError):
        what = (error.strerror or what) if isinstance(error, OSError) else what
        hint = f"Nothing was changed. Check room, owner, mode and mount of {path.parent}, then start again."
    return StoreFailed(f"The database {path} cannot be used: {what}.", hint=hint)
