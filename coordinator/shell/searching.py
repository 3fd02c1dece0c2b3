"""Full text over all sessions: what a person typed becomes a question that SQLite cannot misread, and an answer."""

import functools
import sqlite3
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from coordinator.shell.search_index import has_fts, is_kept, is_unfinished
from protocol.views import FoundRow

# Letters around the first word that was found.
BEFORE, SNIPPET = 40, 160
# How far a word is looked for in one message, as it stands and with its accents taken off; the rest is too dear.
LOOK_CHARS, FOLD_CHARS = 1_000_000, 20_000
# Shorter words stand for themselves alone: "a*" would be half of all messages.
PREFIX_CHARS = 3

QUERY = (
    "SELECT d.session, s.name, d.seq, m.role, m.text, m.at FROM words JOIN docs AS d ON d.doc = words.rowid"
    " JOIN messages AS m ON m.session = d.session AND m.seq = d.seq JOIN sessions AS s ON s.id = d.session"
    " WHERE words MATCH ? ORDER BY words.rowid DESC LIMIT ?"
)
WITHOUT = "this SQLite was built without FTS5, so messages cannot be searched"


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found, the newest first. ``refusal`` says why nothing could be looked for."""

    rows: list[FoundRow]
    more: bool = False
    partial: bool = False
    refusal: str = ""


def search(text: str, limit: int) -> Callable[[sqlite3.Connection], Hits]:
    """Ask for the messages that have every word of a text."""
    return functools.partial(_search, words=text.split(), limit=limit)


def _search(db: sqlite3.Connection, *, words: list[str], limit: int) -> Hits:
    if not has_fts(db) or not is_kept(db):
        return Hits([], refusal=WITHOUT)
    query = quoted(words)
    if not query:
        return Hits([])
    found = db.execute(QUERY, (query, limit + 1)).fetchall()
    rows = [
        FoundRow(
            session=row["session"],
            name=row["name"],
            seq=row["seq"],
            role=row["role"],
            snippet=snippet(row["text"], words),
            at=row["at"],
        )
        for row in found[:limit]
    ]
    return Hits(rows, more=len(found) > limit, partial=is_unfinished(db))


def quoted(words: list[str]) -> str:
    """Return words as a query of FTS5 that has no operator in it; a longer word stands for its beginnings too."""
    terms = []
    for word in words:
        plain = word.replace("\0", " ")
        if any(c.isalnum() for c in plain):
            terms.append(f'"{plain.replace(chr(34), " ")}"{"*" if len(plain) >= PREFIX_CHARS else ""}')
    return " ".join(terms)


def snippet(text: str, words: list[str]) -> str:
    """Return the part of a text around the first of the words that is found, as one line."""
    at = _place(text, words)
    begin = max(0, at - BEFORE)
    part = " ".join(text[begin : begin + SNIPPET].split())
    return ("… " if begin else "") + part + (" …" if begin + SNIPPET < len(text) else "")


def _place(text: str, words: list[str]) -> int:
    wanted = ["".join(c for c in word if c.isalnum()) or word for word in words]
    plain = text[:LOOK_CHARS].lower()
    for word in (*words, *wanted):
        at = plain.find(word.lower())
        if at >= 0:
            return at
    bare = "".join(_bare(c) for c in text[:FOLD_CHARS])
    places = [bare.find("".join(_bare(c) for c in word)) for word in wanted]
    return min((at for at in places if at >= 0), default=0)


def _bare(char: str) -> str:
    """Return a letter without its accents, in one character, as the index sees it."""
    return unicodedata.normalize("NFD", char)[:1].lower()[:1] or char
