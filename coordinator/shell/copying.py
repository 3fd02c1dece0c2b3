"""New sessions that begin with a conversation: forked from another one within the store, or imported.

What they took over was paid for elsewhere: its tokens are not counted again. Every prompt gets a key of its own and
every message a new seq without holes, so that nothing of the source's is mixed up with them.
"""

import hashlib
import secrets
import sqlite3

import msgspec

from coordinator.core.effects import InsertFork, InsertImported, StageRows
from coordinator.core.events import Outcome

TOKEN_BYTES = 32
# A turn is a prompt with the reply to it, and both are there.
TURNS = (
    "SELECT p.seq AS prompt, r.seq AS reply FROM messages AS p JOIN messages AS r"
    " ON r.session = p.session AND r.reply_to = p.seq WHERE p.session = :source AND p.role = 'user' AND p.seq <= :last"
)
# The k-th turn: its prompt becomes message 2k - 1, its reply message 2k.
COPY = (
    "WITH turns AS (SELECT prompt, reply, row_number() OVER (ORDER BY prompt) AS k FROM"  # noqa: S608 - our own words
    f" ({TURNS}))"
    " INSERT INTO messages (session, seq, role, text, idem, reply_to, turn_id, stop_reason, error, at, model)"
    " SELECT :session, 2 * k - 1, p.role, p.text, 'fork-' || k, NULL, p.turn_id, NULL, NULL, p.at, p.model FROM turns"
    " JOIN messages AS p ON p.session = :source AND p.seq = prompt UNION ALL"
    " SELECT :session, 2 * k, r.role, r.text, NULL, 2 * k - 1, r.turn_id, r.stop_reason, r.error, r.at, r.model"
    " FROM turns JOIN messages AS r ON r.session = :source AND r.seq = reply"
)
COPY_IMAGES = (
    "WITH turns AS (SELECT prompt, row_number() OVER (ORDER BY prompt) AS k FROM"  # noqa: S608 - our own words
    f" ({TURNS}))"
    " INSERT INTO images (session, seq, n, media_type, data)"
    " SELECT :session, 2 * k - 1, i.n, i.media_type, i.data FROM turns JOIN images AS i"
    " ON i.session = :source AND i.seq = prompt"
)
OWN = "type, model, system, cwd, env"
OF_SOURCE = f"{OWN}, grp, template, temperature"
# What is wrong with the rows of an import, each as a question that finds it.
FAULTS = {
    "A message is missing": (
        "SELECT 1 FROM (SELECT count(*) AS n, coalesce(max(seq), 0) AS last FROM staged WHERE batch = :batch)"
        " WHERE n <> :n OR last <> :n"
    ),
    "A reply belongs to no prompt before it": (
        "SELECT 1 FROM staged AS r WHERE r.batch = :batch AND r.role = 'assistant' AND NOT EXISTS (SELECT 1 FROM"
        " staged AS p WHERE p.batch = :batch AND p.seq = r.reply_to AND p.role = 'user' AND p.seq < r.seq)"
    ),
    "A prompt has two replies": (
        "SELECT 1 FROM staged WHERE batch = :batch AND reply_to IS NOT NULL GROUP BY reply_to HAVING count(*) > 1"
    ),
    "A prompt has no reply": (
        "SELECT 1 WHERE (SELECT count(*) FROM staged WHERE batch = :batch AND role = 'user')"
        " <> (SELECT count(*) FROM staged WHERE batch = :batch AND role = 'assistant')"
    ),
}


def fork(change: InsertFork, db: sqlite3.Connection) -> Outcome:
    """Make a session of the finished turns of another."""
    last = 1 << 62
    if change.at_seq is not None:
        turn = _turn_of(db, change.source, change.at_seq)
        if turn is None:
            return Outcome(refusal=f"Message {change.at_seq} is not there, or its turn has no end yet")
        last = turn
    digest = hashlib.sha256(secrets.token_bytes(TOKEN_BYTES)).digest()
    names = {"session": change.session, "source": change.source, "last": last}
    (parent_seq,) = db.execute(f"SELECT coalesce(max(reply), 0) FROM ({TURNS})", names).fetchone()  # noqa: S608 - our own words
    db.execute(
        f"INSERT INTO sessions (id, name, number, {OF_SOURCE}, epoch, token_sha256, created_at, last_active_at,"  # noqa: S608 - our own words
        f" parent, parent_seq) SELECT ?, ?, ?, {OF_SOURCE}, 0, ?, ?, ?, id, ? FROM sessions WHERE id = ?",
        (change.session, change.name, change.number, digest, change.at, change.at, parent_seq, change.source),
    )
    db.execute(COPY, names)
    db.execute(COPY_IMAGES, names)
    (copied,) = db.execute("SELECT count(*) FROM messages WHERE session = ?", (change.session,)).fetchone()
    return Outcome(token_sha256=digest, messages=copied, parent_seq=parent_seq)


def _turn_of(db: sqlite3.Connection, source: str, seq: int) -> int | None:
    """Return the prompt of a message's turn, 0 for the beginning; None when that has no end."""
    if seq == 0:
        return 0
    found = db.execute(
        "SELECT p.seq FROM messages AS m JOIN messages AS p ON p.session = m.session"
        " AND p.seq = coalesce(m.reply_to, m.seq) WHERE m.session = ? AND m.seq = ? AND EXISTS"
        " (SELECT 1 FROM messages AS r WHERE r.session = p.session AND r.reply_to = p.seq)",
        (source, seq),
    ).fetchone()
    return None if found is None else int(found["seq"])


def stage(change: StageRows, db: sqlite3.Connection) -> Outcome:
    """Keep a part of an import aside."""
    db.executemany(
        "INSERT OR IGNORE INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                change.batch,
                row.seq,
                row.role,
                row.text,
                row.reply_to,
                row.turn_id,
                row.stop_reason,
                None if row.error is None else msgspec.json.encode(row.error).decode(),
                row.at,
            )
            for row in change.rows
        ],
    )
    return Outcome()


def take_in(change: InsertImported, db: sqlite3.Connection) -> Outcome:
    """Make a session of what was staged for it, if that is a whole conversation."""
    names = {"batch": change.batch, "n": change.messages}
    refusal = next((what for what, query in FAULTS.items() if db.execute(query, names).fetchone() is not None), "")
    digest = hashlib.sha256(secrets.token_bytes(TOKEN_BYTES)).digest()
    # Beyond those of every session that was deleted, whose id this one may have.
    (epoch,) = db.execute("SELECT coalesce(max(value), 0) FROM meta WHERE key = 'epochs'").fetchone()
    if not refusal:
        db.execute(
            f"INSERT INTO sessions (id, name, number, {OWN}, epoch, token_sha256, closed, archived, created_at,"  # noqa: S608 - our own words
            " last_active_at, parent, parent_seq, origin, grp, template, temperature)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(change.session, change.name, change.number, change.type, change.model, change.system, change.cwd),
                *(msgspec.json.encode(change.env).decode(), epoch, digest, change.closed, change.archived),
                *(change.created_at, change.last_active_at),
                *((None, None) if change.parent is None else (change.parent.session, change.parent.seq)),
                *(change.origin, change.group, change.template, change.temperature),
            ),
        )
        db.execute(
            "INSERT INTO messages (session, seq, role, text, idem, reply_to, turn_id, stop_reason, error, at)"
            " SELECT ?, seq, role, text, CASE role WHEN 'user' THEN 'import-' || seq END, reply_to, turn_id,"
            " stop_reason, error, at FROM staged WHERE batch = ? ORDER BY seq",
            (change.session, change.batch),
        )
    db.execute("DELETE FROM staged WHERE batch = ?", (change.batch,))
    return Outcome(epoch=int(epoch), token_sha256=digest, refusal=refusal)
