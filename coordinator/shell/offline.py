"""The verbs that need the store but no coordinator. Each holds the home's lock, so that none starts meanwhile."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from coordinator.shell import backup, rescue, restore, store_check
from coordinator.shell.singleton import own
from protocol.errors import HomeOwned, HomeUnsafe, StoreRefused
from protocol.paths import Home
from protocol.views import Exported


def back_up(home: Home, file: Path) -> dict[str, object]:
    """Copy the store into a new file.

    Raises:
        HomeOwned: a coordinator has the store.
        StoreRefused: there is none, it is damaged, or the file cannot be made.
    """
    with _held(home):
        if not store_check.is_there(home.database):
            raise StoreRefused(f"There is no database {home.database}.", hint="Is --home or CHAT_COORD_HOME right?")
        scratch = backup.begin(file)
        try:
            with contextlib.closing(store_check.open_unchanged(home.database)) as db:
                backup.copy(db, scratch, lambda: None)
            copied = backup.publish(scratch, file)
        except (sqlite3.Error, OSError) as error:
            raise backup.refused(error, home.database, file) from error
        finally:
            backup.discard(scratch)
    return {"file": str(file), "bytes": copied.bytes, "sessions": copied.sessions}


def put_back(home: Home, file: Path) -> dict[str, object]:
    """Put a backup in the store's place.

    Raises:
        HomeOwned: a coordinator has the store.
        StoreRefused: the file cannot be used; nothing was changed.
    """
    restore.check(home, file)
    home.prepare()
    try:
        lock = own(home)
    except HomeOwned as error:
        raise HomeOwned(error.message, hint="Stop it with `chat-coord stop`, then restore.") from None
    try:
        done = restore.restore(home, file)
    finally:
        os.close(lock)
    return {"file": str(file), "sessions": done.sessions, "bytes": done.bytes, "kept": done.kept}


def export(home: Home) -> Iterator[Exported | list[str]]:
    """Yield each session with what can be read of it, and at the end what was found to be wrong with the store.

    Raises:
        HomeOwned: a coordinator has the store.
        StoreRefused: there is none, or nothing of it can be read.
    """
    with _held(home), rescue.opened(home.database) as remains:
        yield from remains.sessions()
        yield remains.found


@contextlib.contextmanager
def _held(home: Home) -> Iterator[None]:
    """Hold the lock while the store is read. Where no lock can be made, no coordinator can have one either."""
    lock = None
    if home.root.is_dir():
        with contextlib.suppress(HomeUnsafe):
            lock = own(home)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
