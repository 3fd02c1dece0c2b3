"""What the full-screen terminal knows and does, without a screen: records, the roster, commands and what is pushed.

Commands are those of the plain terminal, and so is the router; what they say is heard here and handed to the face.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field

from client.asking import all_asks, cancel, decide
from client.asks import Asks
from client.connection import Back, Connection, Gone, Pushed
from client.core.input_router import Command, Say, SayTo, route
from client.core.record import Block, Record
from client.output import hearer, store_words
from client.output import place as place_words
from client.plain import Plain
from client.tui.face import Face
from client.tui.following import Following
from protocol import messages as m
from protocol.errors import ChatCoordError
from protocol.limits import PROMPT_BYTES
from protocol.paths import Home
from protocol.terminal_safe import clean_line
from protocol.views import AskView, HistoryRow, SessionView

# Messages that are fetched when a session is opened, and once more for each page before them.
LOADED_ROWS = 60
AGAIN_S = 0.5
# Behind every message that is in the store.
UNKNOWN_SEQ = 1 << 40
DRAFT_S = 5.0


@dataclass
class _Heard:
    said: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __call__(self, text: str, is_problem: bool) -> None:
        (self.problems if is_problem else self.said).append(text)


class _Inbox(Asks):
    """The commands about asks; what is pushed about them goes into records."""

    def __init__(self, connection: Connection, talk: "Talk") -> None:
        super().__init__(connection, lambda: talk.session.id, talk.note)
        self._talk = talk
        self._blocks: dict[str, tuple[str, Block]] = {}

    async def inbox(self, rest: str) -> None:
        """Open the inbox."""
        del rest
        self._talk.face.open_inbox()

    def told(self, pushed: m.Asking | m.AskResolved | m.ToolActivity) -> None:
        if isinstance(pushed, m.AskResolved) and pushed.ask in self._blocks:
            session, block = self._blocks.pop(pushed.ask)
            self._talk.record(session).take_back(block)
        super().told(pushed)

    def show(self, ask: AskView) -> None:
        if ask.id not in self._blocks:
            if ask.kind == "question":
                head = "it asks you something: /answer TEXT, /deny WHY, or F2"
            else:
                head = f"{clean_line(ask.tool)} needs your yes: /approve, /deny WHY, or F2"
            text = f"{head}\n{ask.text}"
            self._blocks[ask.id] = (ask.session, self._talk.record(ask.session).note(text, "ask"))
            self._talk.face.grew()


class Talk(Plain):
    """One full-screen terminal's side of the conversation.

    Args:
        connection: an open one of its own.
        home: for settings and models.
        session: the one to open first.
        face: the screen.
        observes: only look.
    """

    def __init__(
        self, connection: Connection, home: Home, session: SessionView, face: Face, *, observes: bool = False
    ) -> None:
        super().__init__(connection, home, session, observes=observes)
        self.face = face
        self._following = Following(connection, face.listed)
        self.roster = self._following.roster
        self._records: dict[str, Record] = {}
        self._asks = _Inbox(connection, self)
        self._commands |= {name: getattr(self._asks, name) for name in self._commands if hasattr(Asks, name)}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fetched_again_s = 0.0
        self._switches = 0
        self._acked: m.Ack | None = None

    @property
    def session(self) -> SessionView:
        """The session that is looked at, as it was last heard of."""
        return self.roster.get(self._session.id) or self._session

    @property
    def observes(self) -> bool:
        """Whether this terminal only looks."""
        return self._observes

    def record(self, session: str) -> Record:
        """Return what is known of a session."""
        return self._records.setdefault(session, Record())

    # ---- beginning and end

    async def begin(self) -> None:
        """Follow what happens, and open the first session."""
        await self._connection.ask(m.Listen(request=self._connection.number()), m.Done)
        self._spawn(self._listen())
        self._spawn(self._following.run())
        await self._enter(self._session)

    async def end(self) -> None:
        """Put the draft away and stop."""
        with contextlib.suppress(ChatCoordError, TimeoutError):
            await asyncio.wait_for(self.keep_draft(self._session.id), DRAFT_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAFT_S)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what a person does

    async def obey(self, line: str) -> bool:
        """Do what a line means; False to leave. What was not taken is given back."""
        at, heard = self._session.id, _Heard()
        hearer.set(heard)
        goes_on = await self._obey(line)
        meaning = route(line)
        if heard.problems:
            self.record(at).note("".join(heard.problems).strip(), "problem")
            if isinstance(meaning, Say | SayTo):
                self.face.give_back(at, line)
        said = "".join(heard.said).rstrip("\n")
        if "\n" in said and isinstance(meaning, Command):
            self.face.heard(f"/{meaning.name}", said)
        elif said:
            self.record(self._session.id).note(said)
        self.face.grew()
        return goes_on

    async def go(self, session: SessionView) -> None:
        """Look at another session."""
        try:
            await self._enter(session)
        except ChatCoordError as error:
            self.problem(error)

    async def interrupt(self) -> None:
        """End the turn that runs here, if one does."""
        if self.session.work == "idle" and not self.session.unanswered:
            return
        try:
            await cancel(self._connection, self._session.id)
        except ChatCoordError as error:
            self.problem(error)

    async def asks(self) -> list[AskView]:
        """Return everything that waits for a person."""
        return await all_asks(self._connection)

    async def decide(self, ask: AskView, *, approve: bool, why: str = "", answer: str | None = None) -> None:
        """Answer an ask; a question with words."""
        await decide(self._connection, ask.id, approve=approve, why=why, answer=answer)

    async def peek(self, session: str) -> list[HistoryRow]:
        """Return the last messages of a session without looking at it: it is not woken, and stays unread."""
        known = self.roster.get(session)
        rows: list[HistoryRow] = []
        after = max(0, (known.messages if known else 0) - 4)
        async for page in self._connection.history(session, after_seq=after):
            rows += page.rows
        return sorted(rows, key=lambda row: (row.reply_to or row.seq, row.seq))

    async def earlier(self) -> int:
        """Fetch a page of messages before the oldest that is shown; return how many blocks it gave."""
        session, record = self._session.id, self.record(self._session.id)
        before, known = record.first, len(record.blocks)
        if before <= 1 or not record.is_loaded:
            return 0
        async for page in self._connection.history(session, after_seq=max(0, before - 1 - LOADED_ROWS)):
            for row in page.rows:
                if row.seq < before:
                    record.take(row)
            if not page.rows or page.rows[-1].seq >= before - 1:
                break
        return len(record.blocks) - known

    async def keep_draft(self, session: str) -> None:
        """Have the coordinator keep what was begun and not sent, so that another terminal has it too."""
        record = self.record(session)
        draft = record.draft
        if draft == record.stored_draft or self._observes or len(draft.encode()) > PROMPT_BYTES:
            return
        order = m.Mark(request=self._connection.number(), session=session, mark="draft", value=draft)
        await self._connection.ask(order, m.SessionAnswer)
        record.stored_draft = draft

    def note(self, text: str) -> None:
        """Say something beside the conversation."""
        self.record(self._session.id).note(text)
        self.face.grew()

    def problem(self, error: ChatCoordError) -> None:
        """Say what is wrong."""
        hint = f"\n{error.hint}" if error.hint else ""
        self.record(self._session.id).note(f"{error.message}{hint}", "problem")
        self.face.grew()

    # ---- what the plain terminal does otherwise

    async def _say(self, target: SessionView, words: str) -> None:
        if self._observes:
            await super()._say(target, words)
            return
        record = self.record(target.id)
        block = record.send(words)
        self.face.grew()
        try:
            await super()._say(target, words)
        except BaseException:
            record.unsent(block)
            raise
        if self._acked is not None:
            record.committed(block, self._acked.seq)
        with contextlib.suppress(ChatCoordError):
            await self.keep_draft(target.id)

    def _await(self, session: str, ack: m.Ack) -> None:
        self._acked = ack
        super()._await(session, ack)

    async def _enter(self, session: SessionView) -> None:
        self._switches += 1
        switch, left = self._switches, self._session
        if left.id != session.id:
            self._previous = left.id
            self._spawn(self._keep_quietly(left.id))
        self._session, self._is_away = session, False
        record = self.record(session.id)
        self.face.show(record)
        try:
            order = m.Switch(request=self._connection.number(), session=session.id)
            loading = self._load(session, record)
            _, attached, _ = await asyncio.gather(
                self._connection.ask(order, m.SessionAnswer), self._look_at(session.id), loading
            )
            if switch == self._switches:
                self._attached(record, attached)
        except ChatCoordError:
            if switch == self._switches and left.id != session.id:
                self._session = left
                self.face.show(self.record(left.id))
            raise
        if switch == self._switches:
            self.face.show(record)

    def _attached(self, record: Record, attached: m.Attached) -> None:
        """Take over what the coordinator knows of the session that is looked at now."""
        view = attached.session
        if view is None:
            return
        self._session = view
        self.roster.put(view)
        if attached.turn_id is not None:
            seq = (view.work_detail or {}).get("seq")
            place = seq if isinstance(seq, int) else UNKNOWN_SEQ
            record.begin(attached.turn_id, place, attached.pieces, attached.text, attached.dropped)
        if not record.draft and attached.draft != record.stored_draft:
            record.draft = record.stored_draft = attached.draft
        if view.ask is not None:
            self._asks.show(view.ask)
        if view.residency == "queued":
            record.note(f"{view.name} is {place_words(view)}; it answers when a slot is free")
        self.face.listed()

    async def _load(self, session: SessionView, record: Record) -> None:
        """Fetch what this terminal has not seen: of a session that it opens the first time, the end."""
        after = record.seen
        if not record.is_loaded:
            after = max(0, session.messages - LOADED_ROWS)
        async for page in self._connection.history(session.id, after_seq=after, view=True):
            for row in page.rows:
                record.take(row)
                if row.role == "user":
                    self.remember(row.text)
        record.is_loaded = True

    def remember(self, line: str) -> None:
        """A prompt that was sent before; the screen's input may bring it back."""

    async def _finish(self, final: m.Final) -> None:
        record, session = self.record(final.session), self._session
        await self._load(session, record)
        if final.left_out and final.left_out != self._left_out.get(final.session):
            self._left_out[final.session] = final.left_out
            record.note(f"the model no longer sees the first {final.left_out} messages; the history keeps them")
        self.face.grew()
        self._awaited.discard((final.session, final.seq))
        hearer.set(heard := _Heard())
        await self._learn(final.session)
        for line in heard.said:
            record.note(line.strip().strip("[]"))
        self.face.grew()

    # ---- what is pushed

    async def _listen(self) -> None:
        while True:
            pushed = await self._connection.pushed.get()
            with contextlib.suppress(ChatCoordError):  # gone once more: the next Back tries again
                await self._on_pushed(pushed)

    async def _on_pushed(self, pushed: Pushed) -> None:
        match pushed:
            case m.Piece():
                if pushed.session == self._session.id:
                    if not self.record(pushed.session).add(pushed):
                        self._fetch_again()
                    self.face.grew()
            case m.Final():
                if pushed.session == self._session.id:
                    await self._finish(pushed)
            case m.Changed():
                self._on_change(pushed)
            case m.Asking() | m.AskResolved() | m.ToolActivity():
                self._asks.told(pushed)
            case m.StoreState():
                self.face.state("" if pushed.writable else clean_line(store_words(pushed)))
            case Gone():
                self.face.state("The coordinator has gone; what you send starts it again.")
            case Back():
                await self._come_back()

    def _on_change(self, change: m.Changed) -> None:
        self._following.changed(change)
        words = self.roster.begins(change.session, change.after)
        is_here = change.session == self._session.id
        if is_here and words is None and change.before in {"running", "throttled"} and change.after == "idle":
            words = "has an answer for you"
        if words is not None:
            self.face.ring(change.session, f"{clean_line(change.name)} {words}")

    async def _come_back(self) -> None:
        """Another coordinator is there: ask for everything that was pushed meanwhile."""
        await self._connection.ask(m.Listen(request=self._connection.number()), m.Done)
        self._following.missed()
        record = self.record(self._session.id)
        if not self._is_away:
            self._attached(record, await self._look_at(self._session.id))
        await self._load(self._session, record)
        self.face.state("")
        self.note("the coordinator is back")

    def _fetch_again(self) -> None:
        """A piece was lost: what the turn has said so far is fetched, not more often than twice a second."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._fetched_again_s < AGAIN_S:
            return
        self._fetched_again_s = now_s
        self._spawn(self._look_again(self._session.id))

    async def _look_again(self, session: str) -> None:
        with contextlib.suppress(ChatCoordError):
            attached = await self._look_at(session)
            if session == self._session.id:
                self._attached(self.record(session), attached)
                self.face.grew()

    async def _keep_quietly(self, session: str) -> None:
        with contextlib.suppress(ChatCoordError):
            await self.keep_draft(session)
