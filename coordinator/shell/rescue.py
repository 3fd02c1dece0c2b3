"""Everything that can be read of a database, session by session, however damaged it is; nothing is written to it.

A tree that breaks off in the middle is read from both ends, what lies between is asked for row by row, and what the
indexes know to exist and nobody could read is named. A damaged first page is replaced, in a copy, by that of an empty
database: our tables always begin at the same pages.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from coordinator.shell.schema import SCHEMA, SCHEMA_VERSION, TABLES
from coordinator.shell.store_check import DamageFound, deadline, open_unchanged, quick_check
from protocol.errors import StoreRefused
from protocol.views import ErrorView, Exported, HistoryRow

LOOK_S = 10.0
# Of one session, rows that are asked for one by one.
SINGLE_ROWS = 20_000
ID_QUERIES = (
    "SELECT id FROM sessions INDEXED BY names WHERE NOT closed",
    "SELECT DISTINCT session FROM messages",
    "SELECT DISTINCT session FROM messages INDEXED BY idems WHERE idem IS NOT NULL",
    "SELECT DISTINCT session FROM messages INDEXED BY replies WHERE reply_to IS NOT NULL",
)
SEQ_QUERIES = (
    "SELECT max(seq) FROM messages INDEXED BY idems WHERE session = ? AND idem IS NOT NULL",
    "SELECT max(seq) FROM messages INDEXED BY replies WHERE session = ? AND reply_to IS NOT NULL",
    "SELECT max(reply_to) FROM messages INDEXED BY replies WHERE session = ? AND reply_to IS NOT NULL",
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[sqlite3.Connection, list[str]]]:
    """A connection to what is left of a database, and what was found to be wrong with it.

    Raises:
        StoreRefused: there is none, or nothing of it can be read.
    """
    if not path.is_file():
        raise StoreRefused(f"There is no database {path}.", hint="Is --home or CHAT_COORD_HOME right?")
    with contextlib.ExitStack() as stack:
        found: list[str] = []
        try:
            db = stack.enter_context(contextlib.closing(_connect(path)))
        except (sqlite3.Error, OSError) as error:
            found.append(f"the first page of {path.name} is damaged ({error})")
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-coord-"))
            try:
                copy = _with_new_head(path, Path(folder))
                db = stack.enter_context(contextlib.closing(_connect(copy)))
            except (sqlite3.Error, OSError, ValueError) as worse:
                text = f"Nothing of {path} can be read: {error}."
                raise StoreRefused(text, hint="`chat-coord restore FILE` puts a backup in its place.") from worse
        try:
            quick_check(db, deadline(LOOK_S))
        except DamageFound as error:
            found.append(f"{path.name} is {error}")
        except sqlite3.Error as error:
            found.append(f"{path.name} is damaged: {error}")
        yield db, found


def sessions(db: sqlite3.Connection) -> Iterator[Exported]:
    """Yield every session that any part of the database knows, with what can be read of it."""
    for session, facts in _facts(db).items():
        rows, missing = _messages(db, session)
        missing = missing if facts else ["its name and settings", *missing]
        yield Exported(
            id=session,
            name=str(facts.get("name", f"rescued-{session}")),
            type=str(facts.get("type", "")),
            model=str(facts.get("model", "")),
            cwd=str(facts.get("cwd", "")),
            closed=bool(facts.get("closed", False)),
            created_at=_number(facts.get("created_at")),
            last_active_at=_number(facts.get("last_active_at")),
            messages=rows,
            missing=", ".join(missing) or None,
        )


def _connect(path: Path) -> sqlite3.Connection:
    db = open_unchanged(path)
    try:
        db.execute("PRAGMA writable_schema = ON")  # a file that was cut short is opened all the same
        db.text_factory = lambda raw: raw.decode(errors="replace")
        db.row_factory = sqlite3.Row
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except BaseException:
        db.close()
        raise
    if tables and not tables >= TABLES:
        db.close()
        raise StoreRefused(f"{path} is a database of another program.", hint="Is --home or CHAT_COORD_HOME right?")
    return db


def _with_new_head(path: Path, folder: Path) -> Path:
    """Return a copy whose first page is that of an empty database of ours."""
    empty, copy = folder / "empty.db", folder / path.name
    with contextlib.closing(sqlite3.connect(empty)) as db:
        db.executescript(f"{SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    pages = path.stat().st_size // page_bytes
    if pages < 2:  # noqa: PLR2004 - the first page and one with data
        raise ValueError("there is nothing behind its first page")
    head = bytearray(empty.read_bytes()[:page_bytes])
    head[28:32] = pages.to_bytes(4, "big")  # the size in pages, valid for the change counter that stands twice
    head[92:96] = head[24:28]
    with path.open("rb") as source, copy.open("wb") as file:
        file.write(head)
        source.seek(page_bytes)
        while block := source.read(1 << 20):
            file.write(block)
    return copy


# ---- sessions


def _facts(db: sqlite3.Connection) -> dict[str, dict[str, object]]:
    """Return the rows of all sessions by id; an empty one where the row cannot be read."""
    found: dict[str, dict[str, object]] = {}
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            for row in db.execute(f"SELECT * FROM sessions ORDER BY id {order}"):  # noqa: S608 - our own words
                found[str(row["id"])] = dict(row)
            break
    for query in ID_QUERIES:
        with contextlib.suppress(sqlite3.Error):
            for (session,) in db.execute(query):
                found.setdefault(str(session), {})
    for session in [s for s, facts in found.items() if not facts]:
        with contextlib.suppress(sqlite3.Error):
            row = db.execute("SELECT * FROM sessions WHERE id = ?", (session,)).fetchone()
            found[session] = dict(row) if row else {}
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


# ---- messages


def _messages(db: sqlite3.Connection, session: str) -> tuple[list[HistoryRow], list[str]]:
    """Return a conversation in the order of its turns, and in words what of it cannot be read."""
    rows: dict[int, HistoryRow] = {}
    is_whole = _read(db, rows, "ORDER BY seq", (session,))
    lowest = max(rows, default=0)
    if not is_whole:
        _read(db, rows, "ORDER BY seq DESC", (session,))
    is_end_known = is_whole or max(rows, default=0) > lowest
    last = max(rows, default=0)
    for query in SEQ_QUERIES:
        try:
            last = max(last, db.execute(query, (session,)).fetchone()[0] or 0)
        except (sqlite3.Error, TypeError):
            is_end_known = False
    gap = [seq for seq in range(1, last + 1) if seq not in rows]
    for seq in gap[:SINGLE_ROWS]:
        _read(db, rows, "AND seq = ?", (session, seq))
    missing = _ranges([seq for seq in gap if seq not in rows])
    if not is_end_known:
        missing.append(f"what came after message {last}, if anything did")
    return sorted(rows.values(), key=lambda row: (row.reply_to or row.seq, row.seq)), missing


def _read(db: sqlite3.Connection, rows: dict[int, HistoryRow], rest: str, values: tuple[object, ...]) -> bool:
    """Read messages until the tree breaks off; True when it did not."""
    try:
        for row in db.execute(f"SELECT * FROM messages WHERE session = ? {rest}", values):  # noqa: S608 - our own words
            rows[int(row["seq"])] = _row(row)
    except (sqlite3.Error, ValueError, TypeError):
        return False
    return True


def _row(row: sqlite3.Row) -> HistoryRow:
    error = None
    if row["error"] is not None:
        with contextlib.suppress(msgspec.MsgspecError, TypeError):
            error = msgspec.json.decode(row["error"], type=ErrorView)
    return HistoryRow(
        seq=int(row["seq"]),
        role=str(row["role"]),
        text=str(row["text"]),
        turn_id=None if row["turn_id"] is None else str(row["turn_id"]),
        stop_reason=None if row["stop_reason"] is None else str(row["stop_reason"]),
        at=_number(row["at"]),
        reply_to=None if row["reply_to"] is None else int(row["reply_to"]),
        error=error,
    )


def _ranges(seqs: list[int]) -> list[str]:
    """Return numbers in words: ``message 3``, ``messages 5 to 9``."""
    words, begin = [], 0
    for i, seq in enumerate(seqs):
        if i + 1 == len(seqs) or seqs[i + 1] != seq + 1:
            first = seqs[begin]
            words.append(f"message {first}" if first == seq else f"messages {first} to {seq}")
            begin = i + 1
    return words
