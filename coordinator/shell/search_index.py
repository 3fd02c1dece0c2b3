"""The index over every message (SQLite's FTS5), kept by triggers: whatever adds or removes a message keeps it too.

FTS5 wants row numbers, which our tables do not have, so ``docs`` gives each message one, in the order of arrival. The
index stands beside the schema instead of in it: a SQLite without FTS5 serves everything but the search, and one that
has it again builds the index anew.
"""

import logging
import sqlite3

# The index over docs begins with seq, not with the session: a row that begins with an id and has three columns is taken
# for an index over messages when a damaged database is read page by page (carve). A number is never given twice: one
# between ``index_next`` and ``index_end`` (meta) has no words yet, every other one has.
INDEX = """
CREATE TABLE docs (doc INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE UNIQUE INDEX docs_of ON docs (seq, session);
CREATE VIEW documents AS SELECT d.doc AS doc, m.text AS text FROM docs AS d
    JOIN messages AS m ON m.session = d.session AND m.seq = d.seq;
CREATE VIRTUAL TABLE words USING fts5(
    text, content = 'documents', content_rowid = 'doc', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO docs (session, seq) SELECT session, seq FROM messages ORDER BY at, session, seq;
INSERT OR REPLACE INTO meta SELECT 'index_next', min(doc) FROM docs HAVING count(*) > 0;
INSERT OR REPLACE INTO meta SELECT 'index_end', max(doc) FROM docs HAVING count(*) > 0;
CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
    INSERT INTO docs (session, seq) VALUES (new.session, new.seq);
    INSERT INTO words (rowid, text) SELECT doc, new.text FROM docs WHERE seq = new.seq AND session = new.session;
END;
CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
    INSERT INTO words (words, rowid, text)
        SELECT 'delete', doc, old.text FROM docs WHERE seq = old.seq AND session = old.session AND NOT EXISTS (
            SELECT 1 FROM meta AS n, meta AS e WHERE n.key = 'index_next' AND e.key = 'index_end'
            AND doc BETWEEN n.value AND e.value
        );
    DELETE FROM docs WHERE seq = old.seq AND session = old.session;
END;
"""
NO_MARKS = "DELETE FROM meta WHERE key IN ('index_next', 'index_end');"
# Of one step: a few hundredths of a second, for which a commit may have to wait.
STEP_ROWS, STEP_CHARS = 200, 200_000
TRIGGERS = "DROP TRIGGER IF EXISTS message_added; DROP TRIGGER IF EXISTS message_removed;"
LEFT = "DROP TABLE IF EXISTS words; DROP VIEW IF EXISTS documents; DROP TABLE IF EXISTS docs;"

log = logging.getLogger(__name__)


def has_fts(db: sqlite3.Connection) -> bool:
    """Say whether this SQLite can search."""
    return db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def is_kept(db: sqlite3.Connection) -> bool:
    """Say whether there is an index that knows every message."""
    names = "('message_added', 'message_removed')"
    found = db.execute(f"SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name IN {names}")  # noqa: S608 - our own words
    return int(found.fetchone()[0]) == 2  # noqa: PLR2004 - both


def prepare_index(db: sqlite3.Connection) -> None:
    """Make the index of a store that has none, in one transaction; let go of one that could not be kept.

    The messages that are there already get their words later, step by step: a large store would not start for minutes.

    Raises:
        sqlite3.Error: it could not be made; nothing was changed.
    """
    if has_fts(db):
        if not is_kept(db):
            db.executescript(f"BEGIN IMMEDIATE; {TRIGGERS} {LEFT} {NO_MARKS} {INDEX} COMMIT;")
    elif is_kept(db):
        log.warning("this SQLite has no FTS5: messages cannot be searched until one has it")
        db.executescript(f"BEGIN IMMEDIATE; {TRIGGERS} COMMIT;")


def is_unfinished(db: sqlite3.Connection) -> bool:
    """Say whether there are messages whose words are not in the index yet."""
    return has_fts(db) and is_kept(db) and _next(db) is not None


def index_some(db: sqlite3.Connection) -> None:
    """Take one step, within the open transaction."""
    at = _next(db)
    if at is None:
        return
    chars = 0
    rows = db.execute(
        "SELECT doc, text FROM documents WHERE doc BETWEEN ? AND (SELECT value FROM meta WHERE key = 'index_end')"
        " ORDER BY doc LIMIT ?",
        (at, STEP_ROWS),
    )
    found = rows.fetchall()
    for doc, text in found:
        if chars > STEP_CHARS:
            break
        db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (doc, text))
        at, chars = int(doc) + 1, chars + len(text)
    if not found or at > int(db.execute("SELECT value FROM meta WHERE key = 'index_end'").fetchone()[0]):
        db.execute(NO_MARKS)
    else:
        db.execute("UPDATE meta SET value = ? WHERE key = 'index_next'", (at,))


def _next(db: sqlite3.Connection) -> int | None:
    found = db.execute("SELECT value FROM meta WHERE key = 'index_next'").fetchone()
    return None if found is None else int(found[0])
