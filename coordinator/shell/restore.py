"""A backup becomes the store. The old one is kept whole in a dated folder beside it; nothing of it is ever deleted.

A restored store is of the past, and workers, clients and outboxes of what came after it may still be there. So its
boot is higher than any that was, every session gets a new epoch and a token that nobody has, and the roster is empty.
"""

import contextlib
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from coordinator.shell import backup, store_check
from coordinator.shell.backup import sync_folder
from coordinator.shell.schema import NewerSchema, prepare
from protocol.errors import StoreRefused
from protocol.paths import Home, read_discovery

CHECK_S = 600.0
# Where the old store cannot be read, its numbers are not known: these are beyond what counting ever reaches.
FAR = 1_000_000
# A worker that still runs may note a reply after this: under a number that means another prompt here. What is noted
# under an epoch up to ``resumed`` is not taken in.
OLD_OUTBOXES = """
UPDATE messages AS p SET resumed = (SELECT epoch - 1 FROM sessions WHERE id = p.session)
WHERE role = 'user' AND NOT EXISTS (SELECT 1 FROM messages AS r WHERE r.session = p.session AND r.reply_to = p.seq)
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. ``kept`` is the folder with the old store, None when there was none."""

    sessions: int
    bytes: int
    kept: str | None


def restore(home: Home, file: Path) -> Restored:
    """Put a backup, which was checked, in the store's place; the caller holds the home's lock.

    Raises:
        StoreRefused: it cannot be read, or there is no room; nothing was changed.
    """
    scratch = backup.begin(home.database.with_name(f"{home.database.name}.restored"))
    try:
        with contextlib.closing(store_check.open_unchanged(file)) as source:
            backup.copy(source, scratch, lambda: None)
        with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
            prepare(db)
            sessions = _renumber(db, home)
        size = backup.sync(scratch)
        kept = _put_in_place(home, scratch)
    except (sqlite3.Error, OSError) as error:
        raise StoreRefused(
            f"{file} could not be restored: {error}.", hint="The store is as it was; make room and try again."
        ) from error
    finally:
        backup.discard(scratch)
    return Restored(sessions, size, None if kept is None else str(kept))


def check(home: Home, file: Path) -> None:
    """Look a backup through before anything is touched.

    Raises:
        StoreRefused: it is missing, damaged, foreign, newer than this program, or the store itself.
    """
    hint = "The store is as it was. Give a file that `chat-coord backup` made."
    try:
        if home.database.exists() and file.samefile(home.database):
            raise StoreRefused(f"{file} is the store itself.", hint=hint)
        if not file.stat().st_size:
            raise StoreRefused(f"{file} is empty.", hint=hint)
        store_check.examine(file, CHECK_S)
    except NewerSchema as error:
        hint = "The store is as it was. Install the chat-coord that made the file, or a newer one."
        raise StoreRefused(f"{file} cannot be restored: {error}.", hint=hint) from error
    except (sqlite3.Error, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StoreRefused(f"{file} cannot be restored: {why}.", hint=hint) from error


def _renumber(db: sqlite3.Connection, home: Home) -> int:
    """Set what tells the restored store from what came after it; return how many sessions it has."""
    boot, epochs, is_known = _numbers_of_old(home)
    far = 0 if is_known else FAR
    (own,) = db.execute("SELECT coalesce(max(value), 0) FROM meta WHERE key = 'boot'").fetchone()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (max(own, boot) + far,))
    for session, epoch in db.execute("SELECT id, epoch FROM sessions").fetchall():
        db.execute(
            "UPDATE sessions SET epoch = ?, token_sha256 = randomblob(32), pid = NULL, start_ticks = NULL WHERE id = ?",
            (max(epoch, epochs.get(session, 0)) + far + 1, session),
        )
    db.execute(OLD_OUTBOXES)
    db.execute("COMMIT")
    return int(db.execute("SELECT count(*) FROM sessions").fetchone()[0])


def _numbers_of_old(home: Home) -> tuple[int, dict[str, int], bool]:
    """Return the highest boot and epochs that are known, and whether they are all."""
    discovery = read_discovery(home)
    boot = discovery.boot if discovery else 0
    if not home.database.exists():
        return boot, {}, discovery is None
    try:
        with contextlib.closing(store_check.open_unchanged(home.database)) as db:
            (old,) = db.execute("SELECT coalesce(max(value), 0) FROM meta WHERE key = 'boot'").fetchone()
            return max(boot, int(old)), dict(db.execute("SELECT id, epoch FROM sessions")), True
    except (sqlite3.Error, OSError, TypeError, ValueError):
        return boot, {}, False


def _put_in_place(home: Home, scratch: Path) -> Path | None:
    """Keep the old store, then replace it in one step. Killed anywhere, there is one whole store or the old files.

    A log would be taken for the new database's, so it must be gone before: a sound old database takes its own in first.
    """
    log = home.database.with_name(f"{home.database.name}-wal")
    index = home.database.with_name(f"{home.database.name}-shm")
    outbox = home.outboxes
    kept = None
    if home.database.exists() or log.exists() or any(outbox.glob("*")):
        kept = _new_folder(home.root)
        _take_log_in(home.database)
        for path in (home.database, log):
            if path.exists():
                _keep(path, kept / path.name)
        sync_folder(kept)
        if outbox.exists():
            outbox.rename(kept / outbox.name)
        for path in (log, index):
            path.unlink(missing_ok=True)
    os.replace(scratch, home.database)  # noqa: PTH105 - the step
    sync_folder(home.root)
    return kept


def _take_log_in(database: Path) -> None:
    """Let a sound database take in its own log, as its next start would have done."""
    if database.exists() and store_check.look(database)[0]:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
        backup.sync(kept)


def _new_folder(root: Path) -> Path:
    name = f"store-before-restore-{time.strftime('%Y%m%d-%H%M%S')}"
    for end in ("", *(f"-{i}" for i in range(2, 100))):
        with contextlib.suppress(FileExistsError):
            folder = root / f"{name}{end}"
            folder.mkdir(mode=0o700)
            return folder
    raise OSError(f"there is no free name for {root / name}")
