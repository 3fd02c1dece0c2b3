"""A coordinator that is not there: it answers what a terminal asks, from a few sessions in memory.

For tests of the screen alone; what crosses a socket is tested with the real one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from protocol import messages as m
from protocol.errors import RemoteError
from protocol.views import AskView, HistoryRow, Memory, SessionView

NOW = 1_800_000_000.0


def a_session(name: str, number: int | None, **facts: object) -> SessionView:
    """Return a session; its id is its name."""
    usual: dict[str, object] = {
        "id": name, "name": name, "number": number, "active": False, "type": "development", "model": "scripted",
        "node": None, "cwd": "/", "residency": "live", "work": "idle", "work_detail": None, "display": "idle",
        "unread": False, "pinned": False, "attached": False, "archived": False, "messages": 0, "tokens": 0, "pid": 1,
        "epoch": 1, "waiting_since": None, "ask": None, "exit_card": None, "memory": Memory(), "created_at": NOW,
        "last_active_at": NOW - 60 * (number or 0),
    }  # fmt: skip
    return SessionView(**(usual | facts))  # type: ignore[arg-type]


def a_turn(first: int, prompt: str, reply: str, **facts: object) -> list[HistoryRow]:
    """Return a prompt and its reply, with some facts of the reply otherwise."""
    usual: dict[str, object] = {
        "seq": first + 1, "role": "assistant", "text": reply, "turn_id": f"t{first}", "stop_reason": "completed",
        "at": NOW, "reply_to": first,
    }  # fmt: skip
    return [
        HistoryRow(seq=first, role="user", text=prompt, turn_id=None, stop_reason=None, at=NOW),
        HistoryRow(**(usual | facts)),  # type: ignore[arg-type]
    ]


class ScriptedConnection:
    """Stands where a connection stands. ``asked`` is what was asked; ``refuses`` maps a kind of message to an error."""

    def __init__(self, sessions: list[SessionView], rows: dict[str, list[HistoryRow]] | None = None) -> None:
        self.sessions = {s.id: s for s in sessions}
        self.rows = rows or {}
        self.asks_waiting: list[AskView] = []
        self.drafts: dict[str, str] = {}
        self.running: dict[str, tuple[str, int, str]] = {}
        self.asked: list[m.Request] = []
        self.refuses: dict[type[m.Request], RemoteError] = {}
        self.pushed: asyncio.Queue[object] = asyncio.Queue()
        self.delay_s = 0.0
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def kinds(self) -> list[str]:
        return [type(order).__name__ for order in self.asked]

    def of(self, kind: type) -> list[m.Request]:
        return [order for order in self.asked if isinstance(order, kind)]

    def change(self, key: str, cause: str = "test", **facts: object) -> None:
        """A session changes, and listeners are told."""
        before = self.sessions[key]
        self.sessions[key] = after = replace(before, **facts)
        self.push(
            m.Changed(
                seq=1, at=NOW, session=key, name=after.name, before=before.display, after=after.display, cause=cause
            )
        )

    def push(self, what: object) -> None:
        self.pushed.put_nowait(what)

    async def ask(self, order: m.Request, answer: type) -> object:  # noqa: PLR0911 - a table
        await asyncio.sleep(self.delay_s)
        self.asked.append(order)
        if type(order) in self.refuses:
            raise self.refuses[type(order)]
        n = order.request
        match order:
            case m.Listen() | m.ShutDown():
                return m.Done(request=n)
            case m.ListSessions():
                found = [s for s in self.sessions.values() if not order.waiting or s.unread or s.ask]
                return m.SessionsAnswer(request=n, sessions=found[order.offset :], more=False)
            case m.Attach(session=None):
                return m.Attached(request=n, session=None)
            case m.Attach():
                return self._attach(order)
            case m.Mark():
                session = self._find(order.session)
                if order.mark == "draft":
                    self.drafts[session.id] = str(order.value)
                return m.SessionAnswer(request=n, session=session)
            case m.ListAsks():
                return m.AsksAnswer(request=n, asks=list(self.asks_waiting), more=False)
            case m.Decide():
                ask = next(a for a in self.asks_waiting if a.id == order.ask)
                self.asks_waiting.remove(ask)
                return m.Decided(request=n, ask=ask.id, session=ask.session, tool=ask.tool, approved=order.approve)
            case m.Create():
                session = a_session(order.name or f"session-{len(self.sessions) + 1}", len(self.sessions) + 1)
                self.sessions[session.id] = session
                return m.SessionAnswer(request=n, session=session)
            case m.Cancel():
                return m.Cancelled(request=n, session=order.session, seq=order.seq, stop_reason="cancelled")
            case _:
                return m.SessionAnswer(request=n, session=self._find(getattr(order, "session", None)))

    def _attach(self, order: m.Attach) -> m.Attached:
        assert order.session is not None
        session = self._find(order.session)
        self.sessions[session.id] = session = replace(
            session, unread=False, display="idle" if session.display == "unread" else session.display
        )
        turn_id, pieces, text = self.running.get(session.id, (None, 0, ""))
        return m.Attached(
            request=order.request, session=session, turn_id=turn_id, pieces=pieces, text=text,
            draft=self.drafts.get(session.id, ""),
        )  # fmt: skip

    def _find(self, name: str | None) -> SessionView:
        found = next((s for s in self.sessions.values() if name in {s.id, s.name, str(s.number)}), None)
        if found is None:
            raise RemoteError("session.unknown", f"There is no session {name!r}.", "`chat-coord sessions` lists them.")
        return found

    async def submit(
        self, session: str, text: str, idem: str, *, follow: bool, images: Sequence[m.Image] = ()
    ) -> m.Ack:
        order = m.Submit(
            request=self.number(), session=session, idem=idem, text=text, follow=follow, images=list(images)
        )
        await asyncio.sleep(self.delay_s)
        self.asked.append(order)
        if m.Submit in self.refuses:
            raise self.refuses[m.Submit]
        rows = self.rows.setdefault(session, [])
        seq = len(rows) + 1
        rows.append(HistoryRow(seq=seq, role="user", text=text, turn_id=None, stop_reason=None, at=NOW))
        return m.Ack(request=order.request, session=session, seq=seq)

    async def history(self, session: str, *, after_seq: int = 0, view: bool = False) -> AsyncIterator[m.History]:
        self.asked.append(m.Fetch(request=self.number(), session=session, after_seq=after_seq, view=view))
        rows = [row for row in self.rows.get(session, []) if row.seq > after_seq]
        yield m.History(request=1, session=session, rows=rows, more=False)
