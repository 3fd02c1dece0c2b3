"""A store with its thread and a real file, without a coordinator; and databases in every state of repair."""

import queue
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.shell.store import Contents, Store
from protocol.views import Usage

WAIT_S = 60.0


class Opened:
    """A store, the events that it posts, and its answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: queue.SimpleQueue[ev.Event] = queue.SimpleQueue()
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.store = Store(path, self.events.put, self.calls.put)
        self.contents: Contents = self.store.open()

    def commit(self, change: e.Change) -> ev.Event:
        """Commit and return what was told of that change."""
        self.store.commit(change)
        return self.told(lambda event: getattr(event, "change", None) is change)

    def told(self, wanted: Callable[[ev.Event], bool]) -> ev.Event:
        """Return the next event that is wanted."""
        while True:
            event = self.events.get(timeout=WAIT_S)
            if wanted(event):
                return event

    def turned(self) -> ev.StoreTurned:
        """Return the next change of whether it can be written."""
        event = self.told(lambda event: isinstance(event, ev.StoreTurned))
        assert isinstance(event, ev.StoreTurned)
        return event

    def ask(self, question: Callable[[sqlite3.Connection], object]) -> object:
        """Ask and return the answer, or the reason why there is none."""
        got: list[object] = []
        self.store.ask(question, got.append, got.append)
        while not got:
            self.calls.get(timeout=WAIT_S)()
        return got[0]


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    found = Opened(path)
    try:
        yield found
    finally:
        found.store.close()


def session(number: int) -> e.InsertSession:
    return e.InsertSession(f"{number:016x}", f"s{number}", number, "debug", "m", None, "/", {}, 1.0, b"p", 1)


def prompt(number: int, key: str, text: str | None = None) -> e.InsertPrompt:
    return e.InsertPrompt(f"{number:016x}", key, text or key, 2.0, b"p", 1, False)


def reply(number: int, seq: int, text: str) -> e.InsertReply:
    return e.InsertReply(f"{number:016x}", seq, f"t{seq}", text, "completed", Usage(), None, False, 3.0)


def fill(path: Path, *, sessions: int, turns: int, text: str = "word " * 200) -> None:
    """Make a database with conversations."""
    with opened(path) as store:
        for number in range(1, sessions + 1):
            store.commit(session(number))
            for turn in range(turns):
                told = store.commit(prompt(number, f"k{turn}", f"{text}{turn}"))
                assert isinstance(told, ev.Committed)
                store.store.commit(reply(number, told.outcome.seq, f"{text}{turn}"))
        store.commit(prompt(1, "last"))


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def lengthen(path: Path, session: str, messages: int, text: str) -> None:
    """Make the conversation of a session that has one exchange as long as that; nobody may have the database open."""
    with closing(sqlite3.connect(path)) as db, db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(messages)")]
        found = db.execute("SELECT * FROM messages WHERE session = ? ORDER BY seq", (session,)).fetchall()
        first = [dict(zip(columns, row, strict=True)) for row in found]
        marks = ",".join("?" * len(columns))
        for seq in range(3, messages + 1, 2):
            for row, own in (
                (first[0], {"seq": seq, "idem": f"k{seq}"}),
                (first[1], {"seq": seq + 1, "reply_to": seq}),
            ):
                db.execute(f"INSERT INTO messages VALUES ({marks})", list((row | own | {"text": text}).values()))
