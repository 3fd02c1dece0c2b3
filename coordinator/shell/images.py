"""Statements about the images of prompts. Runs in the store's thread, on its connection."""

import functools
import sqlite3
from collections.abc import Callable, Sequence

from protocol.messages import Deliver, Image


def insert(db: sqlite3.Connection, session: str, seq: int, images: Sequence[Image]) -> None:
    """Keep what belongs to a prompt."""
    db.executemany(
        "INSERT INTO images (session, seq, n, media_type, data) VALUES (?, ?, ?, ?, ?)",
        [(session, seq, n, image.media_type, image.data) for n, image in enumerate(images)],
    )


def copy(db: sqlite3.Connection, session: str, source: int, seq: int) -> bool:
    """Give a prompt that is sent once more the images of the first time; say whether there are any."""
    done = db.execute(
        "INSERT INTO images (session, seq, n, media_type, data)"
        " SELECT session, ?, n, media_type, data FROM images WHERE session = ? AND seq = ?",
        (seq, session, source),
    )
    return done.rowcount > 0


def prompt_of(session: str, seq: int) -> Callable[[sqlite3.Connection], Deliver | None]:
    """Ask for a prompt with its images; None when it is gone."""
    return functools.partial(_prompt_of, session=session, seq=seq)


def _prompt_of(db: sqlite3.Connection, *, session: str, seq: int) -> Deliver | None:
    row = db.execute("SELECT text FROM messages WHERE session = ? AND seq = ?", (session, seq)).fetchone()
    if row is None:
        return None
    found = db.execute(
        "SELECT media_type, data FROM images WHERE session = ? AND seq = ? ORDER BY n", (session, seq)
    ).fetchall()
    images = [Image(media_type=image["media_type"], data=image["data"]) for image in found]
    return Deliver(seq=seq, text=row["text"], images=images)
