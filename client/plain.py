"""The terminal line by line: for pipes, dumb terminals and screen readers. Changes of state are said in words.

What a line means is decided in ``client.core.input_router``; here is only what is done about it.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from client import slash
from client.asking import all_sessions, connected, create, get_session, pick_session
from client.asks import Asks
from client.attachments import find_files, prompt_of
from client.connection import Back, Connection, Gone
from client.core.input_router import COMMANDS, Command, Nothing, Say, SayTo, Unknown, route
from client.core.transcript import Transcript
from client.editing import fork_before
from client.inspecting import after_kill, inspect, kill, top
from client.inspection_text import inspection_text
from client.lines import Lines
from client.log_files import entry_text, last, of_session
from client.model_ready import ensure_model
from client.output import complain, place, render, say, session_table, status_text, store_words
from client.starting import start_in_background
from client.top_table import top_text
from protocol import messages as m
from protocol.errors import ChatCoordError, CoordinatorAbsent, PromptTooLarge, RemoteError
from protocol.ids import new_id
from protocol.paths import Home
from protocol.terminal_safe import clean_line
from protocol.views import SESSION_TYPES, HistoryRow, SessionView

# What is shown of a conversation when a terminal opens on it.
REPLAY_ROWS = 10
LOG_LINES = 20
LISTENER_END_S = 0.2
# Beyond so many messages a session gets no name by itself, and no other type is proposed.
LEARNT_MESSAGES = 6
# States of other sessions that a person is told about.
ANNOUNCED = {
    "requires_action": "waits for you: /inbox",
    "unread": "has an answer for you",
    "failed": "has failed",
    "backoff": "crashed and is being restarted",
}


async def open_terminal(home: Home, name: str | None, *, observes: bool = False) -> None:
    """Open the terminal on a session; None is the one used last, or a new one. One that ``observes`` wakes nothing."""
    async with connected(home, f"terminal-{new_id()}", start=True) as connection:
        session = await pick_session(connection, home, name)
        ensure_model(home, session.model)
        await Plain(connection, home, session, observes=observes).run()


class Plain:
    """One terminal.

    Args:
        connection: an open one of its own.
        home: for settings and models.
        session: the one to open first.
        observes: only look, and keep nothing awake.
    """

    def __init__(self, connection: Connection, home: Home, session: SessionView, *, observes: bool = False) -> None:
        self._observes = observes
        # The session was put to sleep from here: whoever goes on with it comes back first.
        self._is_away = False
        self._connection = connection
        self._home = home
        self._is_terminal = sys.stdin.isatty()
        self._session = session
        self._previous: str | None = None
        self._seen: dict[str, int] = {}
        # By session, how many messages its model does not see any more, as this terminal said last.
        self._left_out: dict[str, int] = {}
        self._transcript = Transcript()
        # Turns whose end was shown when another coordinator came.
        self._caught_up: set[str] = set()
        # Sessions of which this terminal has said what type they look like.
        self._hinted: set[str] = set()
        self._is_mid_line = False
        self._has_left = False
        self._awaited: set[tuple[str, int]] = set()
        self._settled = asyncio.Event()
        self._asks = Asks(connection, lambda: self._session.id, self._say_aside)
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "new": self._new,
            "sessions": self._sessions,
            "retry": self._retry,
            "inbox": self._asks.inbox,
            "approve": self._asks.approve,
            "answer": self._asks.answer,
            "deny": self._asks.deny,
            "cancel": self._asks.cancel,
            "switch": self._switch,
            "next": self._next,
            "kill": self._kill,
            "inspect": self._inspect,
            "top": self._top,
            "logs": self._logs,
            "status": self._status,
            "shutdown": self._shutdown,
            "close": self._close,
            "rename": self._rename,
            "hibernate": self._hibernate,
            "wake": self._wake,
            "pin": self._pin,
            "fork": self._fork,
            "search": self._search,
            "export": self._export,
            "type": self._type,
            "model": self._model,
            "temperature": self._temperature,
            "edit": self._edit,
            "session-name": self._session_name,
            "help": self._help,
        }

    async def run(self) -> None:
        """Serve lines until /quit or the end of input; then wait for the replies that are still due."""
        await self._connection.ask(m.Listen(request=self._connection.number()), m.Done)
        listener = asyncio.create_task(self._listen())
        lines = Lines()
        try:
            say(f"Session {self._session.name!r}, model {self._session.model}. /help lists the commands, /quit leaves.")
            await self._enter(self._session)
            while True:
                self._prompt_mark()
                try:
                    line = await lines.next()
                except PromptTooLarge as error:
                    complain(error)
                    continue
                if line is None or not await self._obey(line):
                    break
                if not self._is_terminal:
                    await self._wait_settled()
            if line is None:
                await self._wait_settled()
        finally:
            lines.close()
            while not listener.done():  # in the middle of a question a cancel may be lost (Python 3.11)
                listener.cancel()
                await asyncio.wait({listener}, timeout=LISTENER_END_S)

    # ---- lines

    async def _obey(self, line: str) -> bool:
        """Do what a line means; False to leave."""
        try:
            match route(line):
                case Nothing():
                    pass
                case Say(text=text):
                    await self._say(self._session, text)
                case SayTo(session=name, text=text):
                    await self._say_to(name, text, line.strip())
                case Command(name="quit"):
                    return False
                case Command(name=name, rest=rest):
                    await self._commands[name](rest)
                case Unknown(word=word, suggestion=suggestion):
                    hint = f" Did you mean /{suggestion}?" if suggestion else ""
                    say(f"There is no command /{word}.{hint} /help lists them; // sends a text that begins with /.")
        except ChatCoordError as error:
            complain(error)
        return not self._has_left

    async def _say_to(self, name: str, text: str, line: str) -> None:
        """Send to another session; what is none may be a file of this one's folder."""
        try:
            target = await get_session(self._connection, name)
        except RemoteError as error:
            if error.remote_code != "session.unknown" or not find_files(f"@{name}", Path(self._session.cwd))[1]:
                raise
            await self._say(self._session, line)
            return
        if target is not None:
            await self._say(target, text)
            say(f"Sent to {target.name}.")

    async def _say(self, target: SessionView, words: str) -> None:
        if self._observes:
            say("This terminal only looks; `chat-coord attach NAME` opens one to talk in.")
            return
        session, prompt = target.id, prompt_of(words, Path(target.cwd))
        if self._is_away and session == self._session.id:
            await self._look_at(session)
        idem = new_id()
        try:
            ack = await self._connection.submit(session, prompt.text, idem, follow=False, images=prompt.images)
        except CoordinatorAbsent:  # the key makes it harmless if the last one had taken it
            await start_in_background(self._home)
            ack = await self._connection.submit(session, prompt.text, idem, follow=False, images=prompt.images)
        self._await(session, ack)

    def _await(self, session: str, ack: m.Ack) -> None:
        self._seen[session] = max(self._seen.get(session, 0), ack.seq)
        if session == self._session.id:
            self._awaited.add((session, ack.seq))
            self._settled.clear()

    async def _retry(self, rest: str) -> None:
        del rest
        session = self._session.id
        self._await(session, await self._connection.retry(session, new_id(), follow=False))

    async def _wait_settled(self) -> None:
        if self._awaited:
            await self._settled.wait()

    def _prompt_mark(self) -> None:
        if self._is_terminal and not self._awaited:
            say(f"{self._session.name}> ", end="")

    # ---- commands

    async def _new(self, rest: str) -> None:
        first, _, name = rest.partition(" ")
        session_type = first if first in SESSION_TYPES else None
        given = name.strip() if first in SESSION_TYPES else rest
        session = await create(self._connection, self._home, name=given or None, session_type=session_type)
        say(f"Session {session.name!r} is new, type {session.type}, model {session.model}.")
        await self._enter(session)

    async def _sessions(self, rest: str) -> None:
        flags = rest.split()
        unknown = [flag for flag in flags if flag not in {"--waiting", "--all"}]
        if unknown:
            say(f"/sessions knows --waiting and --all, not {unknown[0]}.")
            return
        sessions = await all_sessions(self._connection, waiting="--waiting" in flags, everything="--all" in flags)
        say(session_table(sessions) if sessions else "There are none.")

    async def _switch(self, rest: str) -> None:
        if not rest:
            say("Say which: /switch NAME, a number, an id, or - for the previous one.")
            return
        if rest == "-":
            if self._previous is None:
                say("There is no previous session.")
                return
            rest = self._previous
        session = await get_session(self._connection, rest)
        if session is not None:
            await self._enter(session)

    async def _next(self, rest: str) -> None:
        del rest
        waiting = await all_sessions(self._connection, waiting=True, everything=False)
        others = [s for s in waiting if s.id != self._session.id]
        if others:
            await self._enter(others[0])
        else:
            say("No other session waits for you.")

    async def _kill(self, rest: str) -> None:
        if not rest:
            say("Say which: /kill NAME.")
            return
        say(after_kill(await kill(self._connection, rest)))

    async def _inspect(self, rest: str) -> None:
        words = rest.split()
        name = " ".join(word for word in words if word != "--stacks")
        found = await inspect(self._connection, name or self._session.id, stacks="--stacks" in words)
        say(inspection_text(found))

    async def _top(self, rest: str) -> None:
        del rest
        say(top_text(await top(self._connection)))

    async def _logs(self, rest: str) -> None:
        del rest
        entries = last(of_session(self._home, self._session.id), LOG_LINES)
        for entry in entries:
            say(clean_line(entry_text(entry, self._session.id)))
        if not entries:
            say("Its log is empty.")

    async def _status(self, rest: str) -> None:
        del rest
        answer = await self._connection.ask(m.GetStatus(request=self._connection.number()), m.StatusAnswer)
        say(status_text(answer.status))

    async def _shutdown(self, rest: str) -> None:
        if rest != "yes":
            say("This stops the coordinator for every terminal. Sessions and their history are kept; running turns")
            say("get 5 s and then end as interrupted. To do it: /shutdown yes")
            return
        await self._connection.ask(m.ShutDown(request=self._connection.number(), now=False), m.Done)
        say("The coordinator is stopping.")
        self._has_left = True

    async def _close(self, rest: str) -> None:
        order = m.Close(request=self._connection.number(), session=rest or self._session.id)
        answer = await self._connection.ask(order, m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - a close is always answered with its session
        say(f"Session {answer.session.name!r} is closed; its history is kept.")
        if answer.session.id == self._session.id:
            self._awaited = {key for key in self._awaited if key[0] != self._session.id}
            await self._enter(await pick_session(self._connection, self._home, None))

    async def _hibernate(self, rest: str) -> None:
        session = self._session if not rest else await get_session(self._connection, rest)
        if session is not None and session.id == self._session.id:
            await self._connection.ask(m.Attach(request=self._connection.number(), session=None), m.Attached)
            self._is_away = True
        order = m.Hibernate(request=self._connection.number(), session=rest or self._session.id)
        try:
            answer = await self._connection.ask(order, m.SessionAnswer)
        except ChatCoordError:
            if self._is_away:
                await self._look_at(self._session.id)
            raise
        assert answer.session is not None  # noqa: S101 - always answered with its session
        say(f"Session {answer.session.name!r} sleeps; its next prompt wakes it.")

    async def _wake(self, rest: str) -> None:
        if self._is_away and not rest:
            await self._look_at(self._session.id)
        order = m.Wake(request=self._connection.number(), session=rest or self._session.id)
        answer = await self._connection.ask(order, m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - always answered with its session
        say(f"Session {answer.session.name!r} is {place(answer.session)}.")

    async def _pin(self, rest: str) -> None:
        session = await get_session(self._connection, rest or self._session.id)
        assert session is not None  # noqa: S101 - an unknown name is refused
        order = m.Mark(request=self._connection.number(), session=session.id, mark="pinned", value=not session.pinned)
        await self._connection.ask(order, m.SessionAnswer)
        say(f"Session {session.name!r} is {'not pinned any more' if session.pinned else 'pinned: it stays awake'}.")

    async def _rename(self, rest: str) -> None:
        if not rest:
            say("Say the new name: /rename NEW.")
            return
        order = m.Rename(request=self._connection.number(), session=self._session.id, name=rest)
        answer = await self._connection.ask(order, m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - a rename is always answered with its session
        self._session = answer.session
        say(f"The session is named {self._session.name!r} now.")

    async def _fork(self, rest: str) -> None:
        session = await slash.fork(self._connection, self._session.id, rest)
        say(f"Session {session.name!r} begins with {session.messages} messages.")
        await self._enter(session)

    async def _search(self, rest: str) -> None:
        say(await slash.look_for(self._connection, rest))

    async def _export(self, rest: str) -> None:
        say(await slash.export(self._connection, self._session.id, rest))

    async def _type(self, rest: str) -> None:
        self._session = await slash.set_type(self._connection, self._session.id, rest)
        say(f"Session {self._session.name!r} is of type {self._session.type}.")

    async def _model(self, rest: str) -> None:
        if not rest:
            session = await get_session(self._connection, self._session.id)
            say(self._session.model if session is None else session.model)
            return
        order = m.Mark(request=self._connection.number(), session=self._session.id, mark="model", value=rest)
        answer = await self._connection.ask(order, m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - always answered with its session
        self._session = answer.session
        say(f"From the next turn on, {self._session.model} answers in {self._session.name!r}.")

    async def _temperature(self, rest: str) -> None:
        self._session = await slash.set_temperature(self._connection, self._session.id, rest)
        degrees = self._session.temperature
        say("It is that of the model." if degrees is None else f"It is {degrees:g}.")

    async def _edit(self, rest: str) -> None:
        seq, text = slash.what_to_edit(rest)
        session = await fork_before(self._connection, self._session.id, seq)
        say(f"Session {session.name!r} begins with {session.messages} messages.")
        await self._enter(session)
        await self._say(self._session, text)

    async def _session_name(self, rest: str) -> None:
        if rest:
            await self._rename(rest)
        else:
            say(self._session.name)

    async def _help(self, rest: str) -> None:
        del rest
        for line in COMMANDS.values():
            say(f"  {line}")
        say("  @NAME TEXT  send to another session without leaving this one; //TEXT sends a text that begins with /")

    # ---- a session

    async def _enter(self, session: SessionView) -> None:
        """Look at a session: show what this terminal has not shown of it, then follow it."""
        order = m.Switch(request=self._connection.number(), session=session.id)
        answer = await self._connection.ask(order, m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - a switch is always answered with its session
        if self._session.id != session.id:
            self._previous = self._session.id
            say(f"[now in {session.name}]")
        self._session = answer.session
        self._awaited = {key for key in self._awaited if key[0] == session.id}
        self._settle()
        attached = await self._look_at(session.id)
        if attached.session is not None and attached.session.residency == "queued":
            say(f"[{session.name} is {place(attached.session)}; it answers when a slot is free]")
        await self._replay(session.id)
        self._transcript = Transcript()
        if attached.turn_id is not None:
            self._stream(self._transcript.begin(attached.turn_id, attached.pieces, attached.text))
        if attached.session is not None and attached.session.ask is not None:
            self._asks.show(attached.session.ask)

    async def _look_at(self, session: str) -> m.Attached:
        order = m.Attach(request=self._connection.number(), session=session, observes=self._observes)
        self._is_away = False
        return await self._connection.ask(order, m.Attached)

    async def _rows(self, session: str, after_seq: int) -> list[HistoryRow]:
        rows: list[HistoryRow] = []
        async for page in self._connection.history(session, after_seq=after_seq, view=True):
            rows += page.rows
        return sorted(rows, key=lambda row: (row.reply_to or row.seq, row.seq))

    async def _replay(self, session: str) -> None:
        is_first = session not in self._seen
        rows = await self._rows(session, self._seen.get(session, 0))
        if is_first and len(rows) > REPLAY_ROWS:
            say(f"[{len(rows) - REPLAY_ROWS} earlier messages: chat-coord history {self._session.name}]")
            rows = rows[-REPLAY_ROWS:]
        for row in rows:
            self._seen[session] = max(self._seen.get(session, 0), row.seq)
            say(render(row))

    # ---- what is pushed

    async def _listen(self) -> None:
        while True:
            pushed = await self._connection.pushed.get()
            match pushed:
                case m.Piece():
                    if pushed.session == self._session.id:
                        self._stream(self._transcript.add(pushed))
                case m.Final():
                    if pushed.session == self._session.id:
                        await self._finish(pushed)
                case m.Changed():
                    self._announce(pushed)
                case m.Asking() | m.AskResolved() | m.ToolActivity():
                    self._asks.told(pushed)
                case m.StoreState():
                    self._say_aside(f"[store] {store_words(pushed)}")
                    self._prompt_mark()
                case Gone():
                    self._say_aside("[the coordinator has gone; what you send starts it again]")
                case Back():
                    with contextlib.suppress(ChatCoordError):  # gone once more: the next Back tries again
                        await self._catch_up()

    async def _catch_up(self) -> None:
        """Another coordinator is there: follow it, and show what was missed."""
        session = self._session.id
        await self._connection.ask(m.Listen(request=self._connection.number()), m.Done)
        attached = None if self._is_away else await self._look_at(session)
        self._say_aside("[the coordinator is back]")
        if attached is not None and attached.session is not None and attached.session.ask is not None:
            self._asks.show(attached.session.ask)
        seen, due = self._seen.get(session, 0), {seq for _, seq in self._awaited}
        for row in await self._rows(session, min(seen, *due) if due else seen):
            if row.reply_to not in due and row.seq <= seen:
                continue
            if row.turn_id is not None and row.turn_id == self._transcript.turn_id:
                self._stream(self._transcript.finish(row.text))
                self._end_line()
            else:
                say(render(row))
            if row.reply_to is not None:
                self._caught_up.add(row.turn_id or "")
                self._awaited.discard((session, row.reply_to))
            self._seen[session] = max(self._seen.get(session, 0), row.seq)
        self._settle()
        self._prompt_mark()

    def _stream(self, text: str) -> None:
        if text:
            self._is_mid_line = not text.endswith("\n")
            say(text, end="")

    async def _finish(self, final: m.Final) -> None:
        """End a reply with the truth of the store."""
        if final.turn_id in self._caught_up:
            return
        row: HistoryRow | None = None
        async for page in self._connection.history(final.session, after_seq=final.reply_seq - 1):
            row = next((r for r in page.rows if r.seq == final.reply_seq), row)
            break
        if row is not None:
            self._stream(self._transcript.finish(row.text))
            self._seen[final.session] = max(self._seen.get(final.session, 0), row.seq)
        self._end_line()
        if final.left_out and final.left_out != self._left_out.get(final.session):
            self._left_out[final.session] = final.left_out
            say(f"[the model no longer sees the first {final.left_out} messages; the history keeps them]")
        if final.stop_reason != "completed":
            if final.error is not None:
                complain(RemoteError(final.error.code, final.error.message, final.error.hint))
            else:
                say(f"[the turn ended as {final.stop_reason}]")
        await self._learn(final.session)
        self._awaited.discard((final.session, final.seq))
        self._settle()
        self._prompt_mark()

    async def _learn(self, key: str) -> None:
        """Its first prompts may have given the session a name, and say of which type it looks; both are told once."""
        if self._session.messages >= LEARNT_MESSAGES or key in self._hinted:
            return
        with contextlib.suppress(ChatCoordError):
            session = await get_session(self._connection, key)
            if session is None or key != self._session.id:
                return
            before, self._session = self._session, session
            if session.name != before.name:
                say(f"[this session is named {session.name} now; /rename NEW calls it otherwise]")
            if session.proposed_type is not None:
                self._hinted.add(key)
                say(f"[this looks like {session.proposed_type}: /type {session.proposed_type} makes it so]")

    def _settle(self) -> None:
        if not self._awaited:
            self._settled.set()

    def _announce(self, change: m.Changed) -> None:
        words = ANNOUNCED.get(change.after)
        if words is None or (change.session == self._session.id and change.after in {"unread", "requires_action"}):
            return
        self._say_aside(f"[{change.name}] {words}")
        self._prompt_mark()

    def _say_aside(self, text: str) -> None:
        self._end_line()
        say(text)

    def _end_line(self) -> None:
        if self._is_mid_line:
            say("")
            self._is_mid_line = False
