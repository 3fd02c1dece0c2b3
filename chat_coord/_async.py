"""The library for programs with an event loop. Thin: what is decided, is decided in the coordinator."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chat_coord import _shown
from chat_coord._shown import own_errors
from chat_coord.errors import Error, TimedOut
from chat_coord.types import Ask, Change, Event, Message, Reply, SessionInfo, Until

if TYPE_CHECKING:
    from client import asking, starting, talking, waiting
    from client.connection import Connection
    from protocol import messages as m
    from protocol.ids import new_id
    from protocol.paths import Home, find_home
    from protocol.views import SessionView
else:
    from chat_coord._house.client import asking, starting, talking, waiting
    from chat_coord._house.client.connection import Connection
    from chat_coord._house.protocol import messages as m
    from chat_coord._house.protocol.ids import new_id
    from chat_coord._house.protocol.paths import Home, find_home
    from chat_coord._house.protocol.views import SessionView


class _Link:
    """What a coordinator and its sessions share: the connection, while it is open."""

    def __init__(self, home: Home, *, starts: bool) -> None:
        self.home = home
        self.starts = starts
        self.opened: talking.Exchange | None = None

    @property
    def exchange(self) -> talking.Exchange:
        """What is open."""
        if self.opened is None:
            raise Error("library.closed", "This coordinator is not open.", "Use it inside of a with statement.")
        return self.opened

    async def ready(self) -> Connection:
        """Return the connection, with a coordinator behind it."""
        return await self.exchange.ready()

    async def ask_session(self, order: Callable[[int], m.Request]) -> SessionView:
        """Send an order that is answered with its session."""
        with own_errors():
            connection = await self.ready()
            answer = await connection.ask(order(connection.number()), m.SessionAnswer)
        assert answer.session is not None  # noqa: S101 - such an order is
        return answer.session


def _folder(cwd: str | os.PathLike[str] | None) -> str:
    return str(Path.cwd() if cwd is None else Path(cwd).expanduser().absolute())


class AsyncCoordinator:
    """A connection to the coordinator, for as long as ``async with`` lasts. Sessions go on behind it.

    Args:
        home: where everything durable lies; CHAT_COORD_HOME, else the platform's data folder, when None.
        start: start a coordinator when none runs, at first and for each later order.
    """

    def __init__(self, home: str | os.PathLike[str] | None = None, *, start: bool = True) -> None:
        self._link = _Link(find_home(None if home is None else os.fspath(home)), starts=start)

    async def __aenter__(self) -> Self:
        with own_errors():
            link = self._link
            connection = await starting.connect(link.home, f"library-{new_id()}", start=link.starts)
            link.opened = await talking.Exchange(connection, link.home if link.starts else None).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exchange, self._link.opened = self._link.opened, None
        if exchange is not None:
            await exchange.__aexit__(kind, error, trace)

    async def new(
        self,
        name: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the word of the product
        model: str | None = None,
        system: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        temperature: float | None = None,
        group: str | None = None,
        template: str | None = None,
        queue: bool = True,
        key: str | None = None,
    ) -> "AsyncSession":
        """Make a session; when this returns it is on the disk.

        Args:
            name: unique among the open sessions; one is found from its first prompts when None.
            type: debug, planning, development or review.
            model: a model of the configuration; its default when None.
            system: a system prompt of its own.
            cwd: the folder where its tools work; the current one when None.
            temperature: from 0 to 2; the model's own when None.
            group: a group of sessions.
            template: a template of the configuration, for the rules of its tools.
            queue: whether to wait in line when every slot is held; else that is an error.
            key: its id, 16 hexadecimal digits: making it again with the same one makes no second session.

        Raises:
            Error: it was refused: name.taken, session.limit, model.unknown, value.illegal, …
        """
        with own_errors():
            view = await asking.create(
                await self._link.ready(),
                self._link.home,
                name=name,
                session_type=type,
                model=model,
                system=system,
                cwd=_folder(cwd),
                temperature=temperature,
                queue=queue,
                group=group,
                template=template,
                key=key,
            )
        return AsyncSession(self._link, view)

    async def session(self, name: str) -> "AsyncSession":
        """Return a session by its name, number or id.

        Raises:
            Error: session.unknown, name.ambiguous.
        """
        return AsyncSession(self._link, await self._link.ask_session(lambda n: m.GetSession(request=n, session=name)))

    async def sessions(
        self, *, waiting: bool = False, everything: bool = False, group: str | None = None
    ) -> list[SessionInfo]:
        """Return the list.

        Args:
            waiting: those alone that wait for a person.
            everything: also closed and archived ones.
            group: of one group alone.
        """
        with own_errors():
            views = await asking.all_sessions(
                await self._link.ready(), waiting=waiting, everything=everything, group=group
            )
        return [_shown.session(view) for view in views]

    async def inbox(self) -> list[Ask]:
        """Return everything that waits for a person's yes, in all sessions."""
        with own_errors():
            return [_shown.ask(view) for view in await asking.all_asks(await self._link.ready())]

    async def approve(self, ask: str) -> None:
        """Say yes to an ask, by its id or a beginning of it.

        Raises:
            Error: ask.resolved: somebody answered before; ask.unknown.
        """
        with own_errors():
            await asking.decide(await self._link.ready(), ask, approve=True)

    async def deny(self, ask: str, why: str = "") -> None:
        """Say no to an ask; the model is told why."""
        with own_errors():
            await asking.decide(await self._link.ready(), ask, approve=False, why=why)

    async def answer(self, ask: str, text: str) -> None:
        """Answer a question.

        Raises:
            Error: it is none, somebody answered before, or there is none.
        """
        with own_errors():
            await asking.decide(await self._link.ready(), ask, approve=True, answer=text)

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Yield every change of state, for ever, also over restarts of the coordinator."""
        with own_errors():
            await self._link.ready()
            async with contextlib.aclosing(self._link.exchange.changes()) as changes:
                async for told in changes:
                    yield _shown.change(told)


class AsyncSession:
    """One session. ``info`` is how it was when something was last asked of it."""

    def __init__(self, link: _Link, view: SessionView) -> None:
        self._link = link
        self.id = view.id
        self.info: SessionInfo = _shown.session(view)

    @property
    def name(self) -> str:
        """Its name, when something was last asked of it."""
        return self.info.name

    async def send(self, text: str, *, key: str | None = None, timeout_s: float | None = None) -> Reply:
        """Send a prompt and return the reply, once it is on the disk; see ``stream``.

        Raises:
            TimedOut: there was no whole reply in time; the turn goes on.
        """
        try:
            async with asyncio.timeout(timeout_s), contextlib.aclosing(self.stream(text, key=key)) as events:
                async for event in events:
                    if isinstance(event, Reply):
                        return event
        except TimeoutError:
            text = f"There was no whole reply within {timeout_s:g} s; the turn goes on."
            raise TimedOut("timed_out", text, "Send the same again with the same key to wait on.") from None
        raise Error("internal", "The turn ended without a reply.")

    async def stream(self, text: str, *, key: str | None = None) -> AsyncGenerator[Event, None]:
        """Send a prompt and yield what its turn shows; the last is the Reply.

        The prompt is on the disk before anything is yielded. It goes on over crashes of worker and coordinator; who
        leaves early ends nothing: ``cancel`` does.

        Args:
            text: the prompt.
            key: the same one with the same text is the same prompt, however often it is sent; a new one when None.

        Raises:
            Error: it was refused: session.closed, prompt.too_large, prompt.conflict, …
            Absent: there is no coordinator, and none could be started.
        """
        with own_errors():
            talk = self._link.exchange.talk(self.id, text, key or new_id())
            async with contextlib.aclosing(talk) as events:
                async for shown in events:
                    if not isinstance(shown, m.Ack):
                        yield _shown.event(shown)

    async def submit(self, text: str, *, key: str | None = None) -> int:
        """Hand a prompt over and return its seq: it is on the disk, and will be answered."""
        with own_errors():
            connection = await self._link.ready()
            return (await connection.submit(self.id, text, key or new_id(), follow=False)).seq

    async def wait(self, until: Until = "done", *, timeout_s: float | None = None) -> SessionInfo:
        """Return the session when it is idle (no turn runs), done (and none is due), or waiting (for a person).

        Raises:
            TimedOut: it was not so in time.
            Error: wait.never: it failed, or was closed or deleted.
        """
        try:
            with own_errors(), self._link.exchange.line(self.id) as line:
                async with asyncio.timeout(timeout_s):
                    connection = await self._link.ready()
                    view = await waiting.wait_until(connection, self.id, until, line.pushed)
        except TimeoutError:
            text = f"The session {self.name!r} was not {until} within {timeout_s:g} s."
            raise TimedOut("timed_out", text) from None
        return self._now(view)

    async def history(self, *, after: int = 0) -> list[Message]:
        """Return the conversation after the message ``after``, in the order of its turns."""
        with own_errors():
            connection = await self._link.ready()
            return [
                _shown.message(row)
                async for page in connection.history(self.id, after_seq=after, view=True)
                for row in page.rows
            ]

    async def refresh(self) -> SessionInfo:
        """Return the session as it is now."""
        return await self._order(lambda n: m.GetSession(request=n, session=self.id))

    async def cancel(self) -> None:
        """End the turn that runs; what it said is kept.

        Raises:
            Error: turn.nothing_to_cancel.
        """
        with own_errors():
            await self._link.exchange.cancel(self.id)

    async def rename(self, name: str) -> SessionInfo:
        """Give it another name."""
        return await self._order(lambda n: m.Rename(request=n, session=self.id, name=name))

    async def hibernate(self) -> SessionInfo:
        """Put it to sleep; its next prompt wakes it."""
        return await self._order(lambda n: m.Hibernate(request=n, session=self.id))

    async def wake(self) -> SessionInfo:
        """Give it a worker."""
        return await self._order(lambda n: m.Wake(request=n, session=self.id))

    async def close(self) -> SessionInfo:
        """End it for good; its history is kept."""
        return await self._order(lambda n: m.Close(request=n, session=self.id))

    async def delete(self) -> None:
        """End it, and remove it with its history, for ever."""
        with own_errors():
            await self._link.exchange.remove(self.id)

    async def _order(self, order: Callable[[int], m.Request]) -> SessionInfo:
        return self._now(await self._link.ask_session(order))

    def _now(self, view: SessionView) -> SessionInfo:
        self.info = _shown.session(view)
        return self.info
