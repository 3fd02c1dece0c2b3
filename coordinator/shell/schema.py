"""The tables, and how those of an older program become today's."""

import sqlite3

from coordinator.shell.search_index import prepare_index

SCHEMA_VERSION = 3

# Turns that stopped to ask: the state that the next leg begins with, and what is asked. An ask stays when it is
# answered, so that whoever comes later is told by whom.
ASKS = """
CREATE TABLE legs (
    session TEXT NOT NULL REFERENCES sessions (id), seq INTEGER NOT NULL, turn_id TEXT NOT NULL, leg INTEGER NOT NULL,
    state BLOB NOT NULL, said TEXT NOT NULL, pieces INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, begun INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE TABLE asks (
    id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions (id), seq INTEGER NOT NULL, leg INTEGER NOT NULL,
    n INTEGER NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL, tool TEXT NOT NULL, argv TEXT NOT NULL,
    text TEXT NOT NULL, digest TEXT NOT NULL, since REAL NOT NULL,
    outcome TEXT, why TEXT, answered_by TEXT, idem TEXT, at REAL
) WITHOUT ROWID;
CREATE INDEX asks_of_turns ON asks (session, seq, leg);
"""
# What an import has handed over so far; the session is made of it in one step, so that there is never half of one.
STAGED = """
CREATE TABLE staged (
    batch TEXT NOT NULL, seq INTEGER NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL, reply_to INTEGER,
    turn_id TEXT, stop_reason TEXT, error TEXT, at REAL NOT NULL, PRIMARY KEY (batch, seq)
) WITHOUT ROWID;
"""
# The images of prompts. They are read when a prompt is delivered, and never with the conversation.
IMAGES = """
CREATE TABLE images (
    session TEXT NOT NULL REFERENCES sessions (id), seq INTEGER NOT NULL, n INTEGER NOT NULL, media_type TEXT NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (session, seq, n)
);
"""

SCHEMA = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, model TEXT NOT NULL,
    system TEXT, cwd TEXT NOT NULL, env TEXT NOT NULL,
    epoch INTEGER NOT NULL, token_sha256 BLOB NOT NULL, pid INTEGER, start_ticks INTEGER,
    closed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, unread INTEGER NOT NULL DEFAULT 0,
    exit_card TEXT, created_at REAL NOT NULL, last_active_at REAL NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0, draft TEXT NOT NULL DEFAULT '',
    grp TEXT, template TEXT, named INTEGER NOT NULL DEFAULT 1, proposed_type TEXT,
    parent TEXT, parent_seq INTEGER, origin TEXT, temperature REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX names ON sessions (name) WHERE NOT closed;
CREATE TABLE messages (
    session TEXT NOT NULL REFERENCES sessions (id), seq INTEGER NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL,
    idem TEXT, reply_to INTEGER, turn_id TEXT, stop_reason TEXT, error TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0, resumed INTEGER NOT NULL DEFAULT 0, model TEXT,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX idems ON messages (session, idem) WHERE idem IS NOT NULL;
CREATE UNIQUE INDEX replies ON messages (session, reply_to) WHERE reply_to IS NOT NULL;
CREATE TABLE exits (session TEXT NOT NULL, epoch INTEGER NOT NULL, card TEXT NOT NULL);
CREATE TABLE snapshots (
    session TEXT NOT NULL REFERENCES sessions (id), epoch INTEGER NOT NULL, through_seq INTEGER NOT NULL,
    data BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (session, epoch)
);
CREATE TABLE active (client TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID;
"""
    + ASKS
    + STAGED
    + IMAGES
)
# What turns the schema of a version into that of the next.
MIGRATIONS = {
    1: "ALTER TABLE messages ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE messages ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0;",
    2: "ALTER TABLE sessions ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE sessions ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE sessions ADD COLUMN draft TEXT NOT NULL DEFAULT '';"
    " ALTER TABLE sessions ADD COLUMN grp TEXT; ALTER TABLE sessions ADD COLUMN template TEXT;"
    " ALTER TABLE sessions ADD COLUMN named INTEGER NOT NULL DEFAULT 1;"
    " ALTER TABLE sessions ADD COLUMN proposed_type TEXT;"
    " CREATE TABLE snapshots (session TEXT NOT NULL REFERENCES sessions (id), epoch INTEGER NOT NULL,"
    " through_seq INTEGER NOT NULL, data BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (session, epoch));"
    " ALTER TABLE sessions ADD COLUMN parent TEXT;"
    " ALTER TABLE sessions ADD COLUMN parent_seq INTEGER;"
    " ALTER TABLE sessions ADD COLUMN origin TEXT;"
    " ALTER TABLE sessions ADD COLUMN temperature REAL;"
    " ALTER TABLE messages ADD COLUMN model TEXT;" + ASKS + STAGED + IMAGES,
}
# Every version has had these; a database without them is not ours.
TABLES = frozenset({"meta", "sessions", "messages", "active"})


class NewerSchema(sqlite3.DatabaseError):
    """A newer program wrote this database."""


def version_of(db: sqlite3.Connection) -> int:
    """Return the schema's version, 0 for an empty database.

    Raises:
        sqlite3.DatabaseError: the database is damaged, foreign, or newer than this program.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if (version or tables) and not tables >= TABLES:
        raise sqlite3.DatabaseError("it is a database of another program")
    if version > SCHEMA_VERSION:
        raise NewerSchema(f"its schema is version {version}, this program knows up to {SCHEMA_VERSION}")
    if tables and version not in {*MIGRATIONS, SCHEMA_VERSION}:
        raise sqlite3.DatabaseError(f"its schema has the version {version}, which no program of ours ever wrote")
    return version


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables in a new database; bring those of an older program up to date, in one transaction.

    Raises:
        sqlite3.DatabaseError: the database is damaged, foreign, or newer than this program; nothing was changed.
    """
    version = version_of(db)
    if version != SCHEMA_VERSION:
        steps = SCHEMA if version == 0 else "".join(MIGRATIONS[v] for v in range(version, SCHEMA_VERSION))
        db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    prepare_index(db)
