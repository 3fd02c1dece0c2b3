"""Everything that can be read of a database, session by session, however damaged it is; nothing is written to it.

A sound database is read by its tables. In a damaged one a tree that breaks off is read from both ends, the rest is
looked for on the pages themselves (``carve``), and what the indexes know to exist and nobody could read is named.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coordinator.core.copying import foreign
from coordinator.shell.carve import Carver
from coordinator.shell.schema import TABLES
from coordinator.shell.store_check import DamageFound, deadline, is_there, open_unchanged, quick_check
from protocol.errors import StoreRefused
from protocol.views import ErrorView, Exported, HistoryRow, ParentView

LOOK_S = 10.0
NAME_QUERY = "SELECT id, name FROM sessions INDEXED BY names WHERE NOT closed"
ID_QUERIES = (
    "SELECT DISTINCT session FROM messages",
    "SELECT DISTINCT session FROM messages INDEXED BY idems WHERE idem IS NOT NULL",
    "SELECT DISTINCT session FROM messages INDEXED BY replies WHERE reply_to IS NOT NULL",
)
# Every prompt is in the one index and every reply in the other: together they know the last message.
SEQ_QUERIES = (
    "SELECT coalesce(max(seq), 0) FROM messages INDEXED BY idems WHERE session = ? AND idem IS NOT NULL",
    "SELECT coalesce(max(seq), 0) FROM messages INDEXED BY replies WHERE session = ? AND reply_to IS NOT NULL",
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator["Remains"]:
    """What is left of a database.

    Raises:
        StoreRefused: there is none, it is another program's, or nothing of it can be read.
    """
    if not is_there(path):
        what = f"The database {path} is empty." if path.is_file() else f"There is no database {path}."
        raise StoreRefused(what, hint="Is --home or CHAT_COORD_HOME right?")
    with contextlib.ExitStack() as stack:
        found: list[str] = []
        db = None
        try:
            db = stack.enter_context(contextlib.closing(_connect(path)))
            quick_check(db, deadline(LOOK_S))
        except DamageFound as error:
            found.append(f"{path.name} is {error}")
        except (sqlite3.Error, OSError) as error:
            found.append(f"{path.name} is damaged: {error}")
        try:
            carver = Carver(path) if found else None
        except OSError as error:
            text = f"Nothing of {path} can be read: {error}."
            raise StoreRefused(text, hint="`chat-coord restore FILE` puts a backup in its place.") from error
        if db is None and carver is not None and not carver.ids():
            text = f"Nothing of {path} can be read: it is no database of ours, or damaged beyond help."
            raise StoreRefused(text, hint="`chat-coord restore FILE` puts a backup in its place.")
        yield Remains(db, carver, found)


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


class Remains:
    """A database as far as it can be read.

    Args:
        db: None when it cannot even be opened.
        carver: None when it is sound.
        found: what is wrong with it.
    """

    def __init__(self, db: sqlite3.Connection | None, carver: Carver | None, found: list[str]) -> None:
        self._db = db
        self._carver = carver
        self.found = found

    def sessions(self) -> Iterator[Exported]:
        """Yield every session that any part of the database knows, with what can be read of it."""
        for session, facts in self._facts().items():
            rows, missing = self._messages(session)
            if "epoch" not in facts:
                missing = ["its settings", *missing]
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
                system=_text(facts.get("system")),
                archived=bool(facts.get("archived", False)),
                parent=_parent(facts),
                origin=foreign(_text(facts.get("origin"))),
                group=_text(facts.get("grp")),
                template=_text(facts.get("template")),
                temperature=_number(facts["temperature"]) if facts.get("temperature") is not None else None,
            )

    def _select(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        if self._db is None:
            raise sqlite3.DatabaseError("it cannot be opened")
        yield from self._db.execute(query, values)

    def _facts(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows of all sessions by id; an empty one where the row cannot be read."""
        found: dict[str, Mapping[str, Any]] = {}
        for order in ("ASC", "DESC"):
            with contextlib.suppress(sqlite3.Error):
                for row in self._select(f"SELECT * FROM sessions ORDER BY id {order}"):  # noqa: S608 - our own words
                    found[str(row["id"])] = dict(row)
                break
        if self._carver is None:
            return found
        for query in ID_QUERIES:
            with contextlib.suppress(sqlite3.Error):
                for (session,) in self._select(query):
                    found.setdefault(str(session), {})
        for session in self._carver.ids():
            if not found.get(session):
                found[session] = self._carver.sessions.get(session, {})
        with contextlib.suppress(sqlite3.Error):
            for session, name in self._select(NAME_QUERY):
                if not found.get(session):
                    found[session] = {"name": name}
        return found

    def _messages(self, session: str) -> tuple[list[HistoryRow], list[str]]:
        """Return a conversation in the order of its turns, and in words what of it cannot be read."""
        rows: dict[int, HistoryRow] = {}
        is_whole = self._read(rows, session, "ASC")
        lowest = max(rows, default=0)
        if not is_whole:
            self._read(rows, session, "DESC")
        is_end_known = is_whole or max(rows, default=0) > lowest
        for seq in self._carver.seqs(session) if self._carver else ():
            row = self._carver.message(session, seq) if self._carver and seq not in rows else None
            if row is not None:
                rows[seq] = _row(row)
        last = max(rows, default=0)
        if self._carver is not None:
            last = max(last, self._carver.last.get(session, 0))
        try:
            last = max(last, *(int(next(self._select(query, session))[0]) for query in SEQ_QUERIES))
        except (sqlite3.Error, TypeError, ValueError, StopIteration):
            missing = [] if is_end_known or self._db is None else [f"what came after message {last}, if anything did"]
        else:
            missing = []
        missing = [*_ranges([seq for seq in range(1, last + 1) if seq not in rows]), *missing]
        return sorted(rows.values(), key=lambda row: (row.reply_to or row.seq, row.seq)), missing

    def _read(self, rows: dict[int, HistoryRow], session: str, order: str) -> bool:
        """Read messages until the tree breaks off; True when it did not."""
        query = f"SELECT * FROM messages WHERE session = ? ORDER BY seq {order}"  # noqa: S608 - our own words
        try:
            for row in self._select(query, session):
                rows[int(row["seq"])] = _row(row)
        except (sqlite3.Error, ValueError, TypeError):
            return False
        return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _parent(facts: Mapping[str, Any]) -> ParentView | None:
    parent, seq = facts.get("parent"), facts.get("parent_seq")
    return ParentView(session=parent, seq=seq) if isinstance(parent, str) and isinstance(seq, int) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _row(row: Mapping[str, Any] | sqlite3.Row) -> HistoryRow:
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
