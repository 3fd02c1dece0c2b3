"""Statements about turns that stopped to ask. Runs in the store's thread, on its connection."""

import functools
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from coordinator.core import effects as e
from coordinator.core.events import StoredAsk, StoredLeg
from protocol.messages import Continue, Decision
from protocol.views import StopReason, Usage

APPROVED = "approved"
ANSWERED = "answered"
DENIED = "denied"
YES = frozenset({APPROVED, ANSWERED})
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an ask that waits no more."""

    id: str
    session: str
    tool: str
    outcome: str | None
    by: str
    why: str
    idem: str


def load_legs(db: sqlite3.Connection) -> dict[str, StoredLeg]:
    """Return by session the turn that stopped to ask and is not over."""
    legs = {}
    for row in db.execute("SELECT * FROM legs ORDER BY session, seq"):
        asks = db.execute(
            "SELECT * FROM asks WHERE session = ? AND seq = ? AND leg = ? ORDER BY n",
            (row["session"], row["seq"], row["leg"]),
        )
        legs[row["session"]] = StoredLeg(
            seq=row["seq"],
            turn_id=row["turn_id"],
            leg=row["leg"] + bool(row["begun"]),
            said=row["said"],
            pieces=row["pieces"],
            asks=tuple(_stored(ask) for ask in asks),
            has_begun=bool(row["begun"]),
            usage=Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"]),
        )
    return legs


def _stored(row: sqlite3.Row) -> StoredAsk:
    return StoredAsk(
        id=row["id"],
        call=row["call"],
        kind=row["kind"],
        tool=row["tool"],
        argv=json.loads(row["argv"]),
        text=row["text"],
        digest=row["digest"],
        since=row["since"],
        approved=None if row["outcome"] is None else row["outcome"] in YES,
        by=row["answered_by"] or "",
    )


def insert(db: sqlite3.Connection, change: e.InsertAsks) -> None:
    """Keep what a leg asks, and the state for the next one, which replaces that of the leg before."""
    report = change.report
    db.execute(
        "INSERT OR REPLACE INTO legs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            change.session,
            change.seq,
            report.turn_id,
            report.leg,
            report.state,
            report.text,
            report.pieces,
            report.usage.input_tokens,
            report.usage.output_tokens,
        ),
    )
    db.execute(
        "UPDATE messages SET turn_id = ? WHERE session = ? AND seq = ?", (report.turn_id, change.session, change.seq)
    )
    for n, ask in enumerate(report.asks):
        db.execute(
            "INSERT INTO asks (id, session, seq, leg, n, call, kind, tool, argv, text, digest, since)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                ask.id,
                change.session,
                change.seq,
                report.leg,
                n,
                ask.call,
                ask.kind,
                ask.tool,
                json.dumps(ask.argv),
                ask.text,
                ask.digest,
                change.at,
            ),
        )


def decide(db: sqlite3.Connection, change: e.SaveDecision) -> None:
    """Answer an ask, once."""
    yes = ANSWERED if change.is_words else APPROVED
    db.execute(
        "UPDATE asks SET outcome = ?, why = ?, answered_by = ?, idem = ?, at = ? WHERE id = ? AND outcome IS NULL",
        (yes if change.approved else DENIED, change.why, change.by, change.idem, change.at, change.ask),
    )


def begin_leg(db: sqlite3.Connection, session: str, seq: int, leg: int) -> None:
    """A worker went on with the turn: what was kept for that must not be used a second time."""
    db.execute("UPDATE legs SET begun = 1 WHERE session = ? AND seq = ? AND leg < ?", (session, seq, leg))


def close_turn(db: sqlite3.Connection, session: str, seq: int, at: float) -> None:
    """The turn is over: its state is not needed, and what it still asked ends with it."""
    db.execute("DELETE FROM legs WHERE session = ? AND seq = ?", (session, seq))
    db.execute(
        "UPDATE asks SET outcome = ?, answered_by = 'the end of its turn', at = ?"
        " WHERE session = ? AND seq = ? AND outcome IS NULL",
        (CANCELLED, at, session, seq),
    )


# ---- questions


def state_of(session: str, seq: int, leg: int) -> Callable[[sqlite3.Connection], Continue | None]:
    """Ask for everything that the leg begins with; None when the turn is over, or has gone on."""
    return functools.partial(_state_of, session=session, seq=seq, leg=leg)


def _state_of(db: sqlite3.Connection, *, session: str, seq: int, leg: int) -> Continue | None:
    row = db.execute(
        "SELECT legs.*, messages.text FROM legs JOIN messages USING (session, seq)"
        " WHERE session = ? AND seq = ? AND leg = ? AND NOT begun",
        (session, seq, leg - 1),
    ).fetchone()
    if row is None:
        return None
    asks = db.execute(
        "SELECT * FROM asks WHERE session = ? AND seq = ? AND leg = ? ORDER BY n", (session, seq, leg - 1)
    ).fetchall()
    if any(ask["outcome"] not in YES | {DENIED} for ask in asks):
        return None
    return Continue(
        seq=seq,
        turn_id=row["turn_id"],
        leg=leg,
        text=row["text"],
        state=row["state"],
        said=row["said"],
        pieces=row["pieces"],
        usage=Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"]),
        decisions=[
            Decision(call=ask["call"], approved=ask["outcome"] in YES, why=ask["why"] or "", digest=ask["digest"])
            for ask in asks
        ],
    )


def fate_of(text: str) -> Callable[[sqlite3.Connection], list[Fate]]:
    """Ask for what became of the asks whose id begins so; two are as many as anybody needs."""
    return functools.partial(_fate_of, text=text)


def _fate_of(db: sqlite3.Connection, *, text: str) -> list[Fate]:
    rows = db.execute("SELECT * FROM asks WHERE substr(id, 1, ?) = ? LIMIT 2", (len(text), text)) if text else []
    return [
        Fate(
            row["id"],
            row["session"],
            row["tool"],
            row["outcome"],
            row["answered_by"] or "",
            row["why"] or "",
            row["idem"] or "",
        )
        for row in rows
    ]


def end_of(session: str, seq: int) -> Callable[[sqlite3.Connection], StopReason | None]:
    """Ask how a turn ended; None while it has not."""
    return functools.partial(_end_of, session=session, seq=seq)


def _end_of(db: sqlite3.Connection, *, session: str, seq: int) -> StopReason | None:
    row = db.execute("SELECT stop_reason FROM messages WHERE session = ? AND reply_to = ?", (session, seq)).fetchone()
    reason: StopReason | None = None if row is None else row["stop_reason"]
    return reason
