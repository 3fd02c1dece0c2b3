"""The statement for each change and each question. Runs in the store's thread, on its connection."""

import dataclasses
import functools
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from coordinator.core import effects as e
from coordinator.core.events import Outcome, StoredPrompt, StoredSession
from coordinator.shell import ask_records, copying, images
from protocol.limits import BODY_BYTES, PAGE_BYTES
from protocol.views import ErrorView, ExitCard, HistoryRow, ParentView

TOKEN_BYTES = 32
# Rows of one page at most, however small they are.
PAGE_ROWS = 500
# The newest snapshot and the one before it.
SNAPSHOTS_KEPT = 2
# A snapshot and a page go to the worker in one message, with room for what is around the texts.
RESTORED_BYTES = BODY_BYTES - (512 << 10)
# What ``named`` of a session says: it has its name for good, or one of the words of its prompts.
FINALLY, BY_WORDS = 1, 2
# Tables that have rows of sessions.
OF_SESSIONS = ("messages", "exits", "snapshots", "asks", "legs", "active", "images")


# ---- birth


def next_boot(db: sqlite3.Connection) -> int:
    """Count this start of the coordinator, and forget what an import that never ended had handed over."""
    db.execute("DELETE FROM staged")
    db.execute("INSERT INTO meta VALUES ('boot', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1")
    return int(db.execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()[0])


def load_sessions(db: sqlite3.Connection) -> tuple[StoredSession, ...]:
    """Return every session with its unanswered prompts."""
    totals = {
        row["session"]: (row["messages"], row["tokens"])
        for row in db.execute(
            "SELECT session, count(*) AS messages, sum(input_tokens + output_tokens) AS tokens"
            " FROM messages GROUP BY session"
        )
    }
    unanswered: dict[str, list[StoredPrompt]] = {}
    for row in db.execute(
        "SELECT session, seq, text, turn_id, crashes, resumed, EXISTS (SELECT 1 FROM images AS i"
        " WHERE i.session = p.session AND i.seq = p.seq) AS has_images"
        " FROM messages AS p WHERE role = 'user' AND NOT EXISTS"
        " (SELECT 1 FROM messages AS r WHERE r.session = p.session AND r.reply_to = p.seq) ORDER BY session, seq"
    ):
        facts = (row["seq"], row["text"], row["turn_id"], row["crashes"], row["resumed"], bool(row["has_images"]))
        prompt = StoredPrompt(*facts)
        unanswered.setdefault(row["session"], []).append(prompt)
    legs = ask_records.load_legs(db)
    # Most sessions have the environment of one of a few terminals: kept once.
    environment = functools.cache(json.loads)
    return tuple(
        StoredSession(
            id=row["id"],
            name=row["name"],
            number=row["number"],
            type=row["type"],
            model=row["model"],
            system=row["system"],
            cwd=row["cwd"],
            env=environment(row["env"]),
            epoch=row["epoch"],
            token_sha256=row["token_sha256"],
            closed=bool(row["closed"]),
            failed=bool(row["failed"]),
            unread=bool(row["unread"]),
            messages=totals.get(row["id"], (0, 0))[0],
            tokens=totals.get(row["id"], (0, 0))[1],
            created_at=row["created_at"],
            last_active_at=row["last_active_at"],
            exit_card=None if row["exit_card"] is None else msgspec.json.decode(row["exit_card"], type=ExitCard),
            unanswered=tuple(unanswered.get(row["id"], [])),
            pid=row["pid"],
            start_ticks=row["start_ticks"],
            leg=legs.get(row["id"]),
            pinned=bool(row["pinned"]),
            archived=bool(row["archived"]),
            draft=row["draft"],
            parent=None if row["parent"] is None else ParentView(session=row["parent"], seq=row["parent_seq"]),
            origin=row["origin"],
            group=row["grp"],
            template=row["template"],
            is_named=bool(row["named"]),
            has_words_for_name=row["named"] == BY_WORDS,
            proposed_type=row["proposed_type"],
            temperature=row["temperature"],
        )
        for row in db.execute("SELECT * FROM sessions ORDER BY created_at")
    )


def load_spent(db: sqlite3.Connection) -> int:
    """Return what all sessions ever cost, in tokens, deleted ones too; counted from the replies at first."""
    db.execute(
        "INSERT OR IGNORE INTO meta SELECT 'tokens', coalesce(sum(input_tokens + output_tokens), 0) FROM messages"
    )
    return int(db.execute("SELECT value FROM meta WHERE key = 'tokens'").fetchone()[0])


def load_active(db: sqlite3.Connection) -> dict[str, str]:
    """Return the active session of each client that is remembered."""
    return {row["client"]: row["session"] for row in db.execute("SELECT client, session FROM active")}


# ---- changes


@functools.singledispatch
def apply(change: object, db: sqlite3.Connection) -> Outcome:
    """Carry out one change within the open transaction."""
    raise TypeError(f"no statement for {type(change).__name__} on {db}")


@apply.register
def _(change: e.InsertSession, db: sqlite3.Connection) -> Outcome:
    token = secrets.token_bytes(TOKEN_BYTES)
    digest = hashlib.sha256(token).digest()
    db.execute(
        "INSERT INTO sessions (id, name, number, type, model, system, cwd, env, epoch, token_sha256, created_at,"
        " last_active_at, grp, template, named, temperature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            change.session,
            change.name,
            change.number,
            change.type,
            change.model,
            change.system,
            change.cwd,
            json.dumps(change.env),
            int(change.starts),
            digest,
            change.at,
            change.at,
            change.group,
            change.template,
            change.is_named,
            change.temperature,
        ),
    )
    return Outcome(epoch=int(change.starts), token=token, token_sha256=digest)


@apply.register
def _(change: e.InsertFork, db: sqlite3.Connection) -> Outcome:
    return copying.fork(change, db)


@apply.register
def _(change: e.StageRows, db: sqlite3.Connection) -> Outcome:
    return copying.stage(change, db)


@apply.register
def _(change: e.InsertImported, db: sqlite3.Connection) -> Outcome:
    return copying.take_in(change, db)


@apply.register
def _(change: e.BumpEpoch, db: sqlite3.Connection) -> Outcome:
    return _next_epoch(db, change.session)


def _next_epoch(db: sqlite3.Connection, session: str) -> Outcome:
    token = secrets.token_bytes(TOKEN_BYTES)
    digest = hashlib.sha256(token).digest()
    (epoch,) = db.execute(
        "UPDATE sessions SET epoch = epoch + 1, token_sha256 = ?, pid = NULL, start_ticks = NULL WHERE id = ?"
        " RETURNING epoch",
        (digest, session),
    ).fetchone()
    return Outcome(epoch=epoch, token=token, token_sha256=digest)


@apply.register
def _(change: e.SaveSnapshot, db: sqlite3.Connection) -> Outcome:
    db.execute(
        "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)",
        (change.session, change.epoch, change.through_seq, change.data, change.at),
    )
    db.execute(
        "DELETE FROM snapshots WHERE session = ? AND epoch NOT IN"
        " (SELECT epoch FROM snapshots WHERE session = ? ORDER BY epoch DESC LIMIT ?)",
        (change.session, change.session, SNAPSHOTS_KEPT),
    )
    return _next_epoch(db, change.session)


_PROMPTS = (
    "SELECT p.seq, p.text, r.seq AS answered_by, r.stop_reason FROM messages AS p"
    " LEFT JOIN messages AS r ON r.session = p.session AND r.reply_to = p.seq WHERE p.session = ?"
)


@apply.register
def _(change: e.InsertPrompt, db: sqlite3.Connection) -> Outcome:
    known = db.execute(_PROMPTS + " AND p.idem = ?", (change.session, change.idem)).fetchone()
    if known is not None:
        is_other = known["text"] != change.text
        return Outcome(seq=known["seq"], is_new=False, conflict=is_other, answered_by=known["answered_by"])
    outcome = _insert_prompt(db, change, change.text)
    images.insert(db, change.session, outcome.seq, change.images)
    return outcome


@apply.register
def _(change: e.InsertRetry, db: sqlite3.Connection) -> Outcome:
    known = db.execute(_PROMPTS + " AND p.idem = ?", (change.session, change.idem)).fetchone()
    if known is not None:
        return Outcome(seq=known["seq"], is_new=False, answered_by=known["answered_by"])
    last = db.execute(_PROMPTS + " AND p.role = 'user' ORDER BY p.seq DESC LIMIT 1", (change.session,)).fetchone()
    if last is None or last["stop_reason"] in {None, "completed"}:
        return Outcome()
    outcome = _insert_prompt(db, change, last["text"])
    has_images = images.copy(db, change.session, last["seq"], outcome.seq)
    return dataclasses.replace(outcome, has_images=has_images)


def _insert_prompt(db: sqlite3.Connection, change: e.InsertPrompt | e.InsertRetry, text: str) -> Outcome:
    seq = _next_seq(db, change.session)
    db.execute(
        "INSERT INTO messages (session, seq, role, text, idem, at) VALUES (?, ?, 'user', ?, ?, ?)",
        (change.session, seq, text, change.idem, change.at),
    )
    db.execute("UPDATE sessions SET last_active_at = ?, unread = 0 WHERE id = ?", (change.at, change.session))
    return Outcome(seq=seq, text=text)


@apply.register
def _(change: e.InsertReply, db: sqlite3.Connection) -> Outcome:
    known = db.execute(
        "SELECT seq FROM messages WHERE session = ? AND reply_to = ?", (change.session, change.reply_to)
    ).fetchone()
    if known is not None:
        return Outcome(seq=known["seq"], is_new=False)
    seq = _next_seq(db, change.session)
    db.execute(
        "INSERT INTO messages (session, seq, role, text, reply_to, turn_id, stop_reason, error, input_tokens,"
        " output_tokens, at, model) VALUES (?, ?, 'assistant', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            change.session,
            seq,
            change.text,
            change.reply_to,
            change.turn_id,
            change.stop_reason,
            None if change.error is None else msgspec.json.encode(change.error).decode(),
            change.usage.input_tokens,
            change.usage.output_tokens,
            change.at,
            change.model,
        ),
    )
    db.execute(
        "UPDATE sessions SET last_active_at = ?, unread = ? WHERE id = ?", (change.at, change.unread, change.session)
    )
    ask_records.close_turn(db, change.session, change.reply_to, change.at)
    spent = change.usage.input_tokens + change.usage.output_tokens
    if spent:
        db.execute("UPDATE meta SET value = value + ? WHERE key = 'tokens'", (spent,))
    return Outcome(seq=seq)


@apply.register
def _(change: e.SaveStarted, db: sqlite3.Connection) -> Outcome:
    db.execute(
        "UPDATE messages SET turn_id = ? WHERE session = ? AND seq = ?", (change.turn_id, change.session, change.seq)
    )
    ask_records.begin_leg(db, change.session, change.seq, change.leg)
    return Outcome()


@apply.register
def _(change: e.InsertAsks, db: sqlite3.Connection) -> Outcome:
    ask_records.insert(db, change)
    return Outcome()


@apply.register
def _(change: e.SaveDecision, db: sqlite3.Connection) -> Outcome:
    ask_records.decide(db, change)
    return Outcome()


@apply.register
def _(change: e.SaveCrashes, db: sqlite3.Connection) -> Outcome:
    db.execute(
        "UPDATE messages SET crashes = ? WHERE session = ? AND seq = ?", (change.crashes, change.session, change.seq)
    )
    return Outcome()


@apply.register
def _(change: e.SaveResumed, db: sqlite3.Connection) -> Outcome:
    db.execute(
        "UPDATE messages SET resumed = ?, turn_id = NULL WHERE session = ? AND seq = ?",
        (change.epoch, change.session, change.seq),
    )
    return Outcome()


@apply.register
def _(change: e.SaveRoster, db: sqlite3.Connection) -> Outcome:
    db.execute(
        "UPDATE sessions SET pid = ?, start_ticks = ? WHERE id = ? AND epoch = ?",
        (change.pid, change.start_ticks, change.session, change.epoch),
    )
    return Outcome()


@apply.register
def _(change: e.SaveExit, db: sqlite3.Connection) -> Outcome:
    card = msgspec.json.encode(change.card).decode()
    db.execute("INSERT INTO exits VALUES (?, ?, ?)", (change.session, change.epoch, card))
    db.execute("UPDATE sessions SET exit_card = ? WHERE id = ?", (card, change.session))
    return Outcome()


@apply.register
def _(change: e.SaveName, db: sqlite3.Connection) -> Outcome:
    if change.is_final is not None:
        named = FINALLY if change.is_final else BY_WORDS
        db.execute("UPDATE sessions SET name = ?, named = ? WHERE id = ?", (change.name, named, change.session))
    usage = change.usage
    if usage is not None:
        db.execute(
            "UPDATE messages SET input_tokens = input_tokens + ?, output_tokens = output_tokens + ? WHERE session = ?"
            " AND seq = (SELECT max(seq) FROM messages WHERE session = ? AND reply_to IS NOT NULL)",
            (usage.input_tokens, usage.output_tokens, change.session, change.session),
        )
    return Outcome()


@apply.register
def _(change: e.SaveMark, db: sqlite3.Connection) -> Outcome:
    db.execute(f"UPDATE sessions SET {change.mark} = ? WHERE id = ?", (change.value, change.session))  # noqa: S608 - one of seven words
    if change.mark == "type":
        db.execute("UPDATE sessions SET proposed_type = NULL WHERE id = ?", (change.session,))
    return Outcome()


@apply.register
def _(change: e.DeleteSession, db: sqlite3.Connection) -> Outcome:
    # An import may bring the id back, and a worker is known by id and epoch: none of its epochs comes again.
    db.execute(
        "INSERT INTO meta SELECT 'epochs', epoch FROM sessions WHERE id = ?"
        " ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
        (change.session,),
    )
    for table in OF_SESSIONS:
        db.execute(f"DELETE FROM {table} WHERE session = ?", (change.session,))  # noqa: S608 - our own words
    db.execute("DELETE FROM sessions WHERE id = ?", (change.session,))
    return Outcome()


@apply.register
def _(change: e.SaveClosed, db: sqlite3.Connection) -> Outcome:
    db.execute("UPDATE sessions SET closed = 1 WHERE id = ?", (change.session,))
    return Outcome()


@apply.register
def _(change: e.SaveFailed, db: sqlite3.Connection) -> Outcome:
    db.execute("UPDATE sessions SET failed = ? WHERE id = ?", (change.failed, change.session))
    return Outcome()


@apply.register
def _(change: e.SaveSeen, db: sqlite3.Connection) -> Outcome:
    db.execute("UPDATE sessions SET unread = 0 WHERE id = ?", (change.session,))
    return Outcome()


@apply.register
def _(change: e.SaveActive, db: sqlite3.Connection) -> Outcome:
    if change.session is None:
        db.execute("DELETE FROM active WHERE client = ?", (change.client,))
    else:
        db.execute("INSERT OR REPLACE INTO active VALUES (?, ?)", (change.client, change.session))
    return Outcome()


def _next_seq(db: sqlite3.Connection, session: str) -> int:
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM messages WHERE session = ?", (session,)).fetchone()
    return int(last) + 1


# ---- questions


def history_after(session: str, after_seq: int) -> Callable[[sqlite3.Connection], tuple[list[HistoryRow], bool]]:
    """Ask for a page of history after a seq, oldest first, and whether there is more."""
    return functools.partial(_page, sql="seq > ? ORDER BY seq", session=session, bound=after_seq)


def history_before(
    session: str, before_seq: int | None
) -> Callable[[sqlite3.Connection], tuple[list[HistoryRow], bool]]:
    """Ask for the newest page of history before a seq, and whether there is more."""
    bound = (1 << 62) if before_seq is None else before_seq
    return functools.partial(_page, sql="seq < ? ORDER BY seq DESC", session=session, bound=bound)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a worker that wakes begins with: a snapshot and what came after it, or without one a page of history."""

    snapshot: bytes | None
    rows: list[HistoryRow]
    more: bool


def snapshot_bytes(session: str) -> Callable[[sqlite3.Connection], int | None]:
    """Return the question how large a session's newest snapshot is; None when it has none."""

    def ask(connection: sqlite3.Connection) -> int | None:
        row = connection.execute(
            "SELECT LENGTH(CAST(data AS BLOB)) FROM snapshots WHERE session = ? ORDER BY epoch DESC LIMIT 1", (session,)
        ).fetchone()
        return None if row is None else int(row[0])

    return ask


def restore(db: sqlite3.Connection, *, session: str, skip: int) -> Stored:
    """Ask for the newest snapshot but ``skip``, with the first page of what came after it.

    When both together are more than a message carries, history is enough.
    """
    found = db.execute(
        "SELECT through_seq, CAST(data AS BLOB) AS data FROM snapshots WHERE session = ?"
        " ORDER BY epoch DESC LIMIT 1 OFFSET ?",
        (session, skip),
    ).fetchone()
    if found is not None:
        rows, more = history_after(session, found["through_seq"])(db)
        if len(found["data"]) + sum(len(row.text.encode()) for row in rows) < RESTORED_BYTES:
            return Stored(found["data"], rows, more)
    return Stored(None, *history_before(session, None)(db))


def _page(db: sqlite3.Connection, *, sql: str, session: str, bound: int) -> tuple[list[HistoryRow], bool]:
    rows: list[HistoryRow] = []
    size = 0
    query = f"SELECT * FROM messages WHERE session = ? AND {sql} LIMIT {PAGE_ROWS + 1}"  # noqa: S608 - our own words
    for row in db.execute(query, (session, bound)):
        size += len(row["text"].encode())
        if rows and (size > PAGE_BYTES or len(rows) == PAGE_ROWS):
            return sorted(rows, key=lambda r: r.seq), True
        rows.append(
            HistoryRow(
                seq=row["seq"],
                role=row["role"],
                text=row["text"],
                turn_id=row["turn_id"],
                stop_reason=row["stop_reason"],
                at=row["at"],
                reply_to=row["reply_to"],
                error=None if row["error"] is None else msgspec.json.decode(row["error"], type=ErrorView),
            )
        )
    return sorted(rows, key=lambda r: r.seq), False
