"""Many turns at once over one connection: each hears what is pushed on a line of its own.

For front ends that serve programs. A line is bounded: a consumer that does not keep up loses pieces, never the end of a
turn, and what it lacks is added from the committed reply. One prompt for commands that wait is in ``prompting``.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from client.asking import all_sessions, cancel
from client.connection import Back, Connection, Gone, Pushed
from client.core.transcript import Transcript
from client.prompting import LOOK_S, Answer, ask_of, reply_to
from client.starting import start_in_background
from protocol import messages as m
from protocol.errors import ChatCoordError, RemoteError
from protocol.paths import Home, find_running, read_discovery
from protocol.views import AskView, SessionView

# What a line keeps for its consumer; beyond it pieces are dropped.
LINE_MESSAGES = 1_000
# How long a worker is waited for, that is just starting or on its way out.
READY_S = 20.0
READY_LOOK_S = 0.05
# What a turn shows as it goes: that its prompt is committed, text, a question and its end, a tool, the committed reply.
Event = m.Ack | str | AskView | m.AskResolved | m.ToolActivity | Answer


class Line:
    """What is pushed about one session; about every session when that is None."""

    def __init__(self, session: str | None) -> None:
        self.session = session
        self.pushed: asyncio.Queue[Pushed] = asyncio.Queue()

    def take(self, pushed: Pushed) -> None:
        """Keep a message for the consumer, if it is for this line."""
        about = None if isinstance(pushed, Gone | Back | m.StoreState) else pushed.session
        if about is not None and self.session is not None and about != self.session:
            return
        if isinstance(pushed, m.Piece | m.ToolActivity) and self.pushed.qsize() >= LINE_MESSAGES:
            return
        self.pushed.put_nowait(pushed)


class Exchange:
    """Gives out what one connection hears to all who have a line.

    Args:
        connection: an open one; nobody else may read what is pushed to it.
        starts: whose coordinator is started again when it crashed in mid-turn, or is not there for the next order.
            One that was stopped in order stays so until then. None: nothing is started.
    """

    def __init__(self, connection: Connection, starts: Home | None = None) -> None:
        self.connection = connection
        self._home = starts
        self._lines: set[Line] = set()
        self._task: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._turns = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (self._task, self._starting):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ChatCoordError):
                    await task
        await self.connection.close()

    async def ready(self) -> Connection:
        """Return the connection, once there is a coordinator that may take an order.

        Raises:
            CoordinatorAbsent, StartFailed: there is none.
        """
        if self._home is not None and find_running(self._home) is None:
            await asyncio.shield(self._start(self._home))
        return self.connection

    def _start(self, home: Home) -> asyncio.Task[None]:
        """Start a coordinator, once at a time."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(start_in_background(home))
            # Its error is told to who waits for it, if anybody does.
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._starting

    @contextlib.contextmanager
    def line(self, session: str | None) -> Iterator[Line]:
        """A line for as long as somebody listens."""
        line = Line(session)
        self._lines.add(line)
        try:
            yield line
        finally:
            self._lines.discard(line)

    async def _serve(self) -> None:
        while True:
            pushed = await self.connection.pushed.get()
            for line in self._lines:
                line.take(pushed)
            if isinstance(pushed, Gone) and self._turns and self._home is not None and read_discovery(self._home):
                self._start(self._home)  # one that leaves in order takes its address away, and turns have ended before

    async def talk(
        self, session: str, text: str | None, idem: str, images: Sequence[m.Image] = ()
    ) -> AsyncGenerator[Event, None]:
        """Send a prompt, or run the last turn again when it is None; yield its Ack, what its turn shows, and its reply.

        Args:
            session: its id.
            text: the prompt.
            idem: the key that makes a resend harmless.
            images: what the prompt says is with it.

        Raises:
            RemoteError: the prompt was refused.
        """
        begun_s = time.monotonic()

        def hand_over() -> Awaitable[m.Ack]:
            return self.connection.submit_or_retry(session, text, idem, follow=True, images=images)

        await self.ready()
        self._turns += 1
        try:
            with self.line(session) as line:
                ack = await hand_over()
                yield ack
                transcript = Transcript()
                final: m.Final | None = None
                first_s: float | None = None
                async for event in _until_final(self.connection, line, ack, hand_over, transcript):
                    if isinstance(event, m.Final):
                        final = event
                        continue
                    first_s = first_s or (time.monotonic() if isinstance(event, str) else None)
                    yield event
            row = await reply_to(self.connection, ack)
        finally:
            self._turns -= 1
        assert row is not None  # noqa: S101 - a FINAL comes after the commit
        rest = transcript.finish(row.text)
        if rest:
            yield rest
        yield Answer(ack, row, final, _ms(begun_s, first_s), _ms(begun_s, time.monotonic()) or 0)

    async def cancel(self, session: str, seq: int = 0) -> m.Cancelled:
        """End a turn, by its prompt, or the current one; a worker that is just starting is waited for.

        Raises:
            RemoteError: there is nothing to end.
        """
        connection = await self.ready()
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                if not seq:
                    return await cancel(connection, session)
                order = m.Cancel(request=connection.number(), session=session, seq=seq)
                return await connection.ask(order, m.Cancelled)
            except RemoteError as error:
                if error.remote_code != "turn.not_ready" or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(READY_LOOK_S)

    async def remove(self, session: str) -> None:
        """End a session, by its id, and remove it with its history.

        Raises:
            RemoteError: there is none, or it does not end.
        """
        connection = await self.ready()
        await connection.ask(m.Close(request=connection.number(), session=session), m.SessionAnswer)
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                await connection.ask(m.Delete(request=connection.number(), session=session), m.Done)
            except RemoteError as error:
                if error.remote_code != "session.busy" or time.monotonic() > deadline_s:
                    raise
            else:
                return
            await asyncio.sleep(READY_LOOK_S)

    async def changes(self) -> AsyncGenerator[m.Changed, None]:
        """Yield every change of state; after a restart of the coordinator what changed meanwhile, with seq 0."""
        known: dict[str, str] = {}
        with self.line(None) as line:
            await self._listen()
            known = {s.id: s.display for s in await self._all()}
            while True:
                pushed = await line.pushed.get()
                if isinstance(pushed, m.Changed):
                    known[pushed.session] = pushed.after
                    yield pushed
                if not isinstance(pushed, Back):
                    continue
                await self._listen()
                for session in await self._all():
                    before = known.get(session.id)
                    known[session.id] = session.display
                    if before != session.display:
                        yield m.Changed(
                            seq=0,
                            at=time.time(),
                            session=session.id,
                            name=session.name,
                            before=before,
                            after=session.display,
                            cause="while no coordinator was heard",
                        )

    async def _listen(self) -> None:
        await self.connection.ask(m.Listen(request=self.connection.number()), m.Done)

    async def _all(self) -> list[SessionView]:
        return await all_sessions(self.connection, waiting=False, everything=True)


async def _until_final(
    connection: Connection,
    line: Line,
    ack: m.Ack,
    hand_over: Callable[[], Awaitable[m.Ack]],
    transcript: Transcript,
) -> AsyncGenerator[Event | m.Final, None]:
    told: set[str] = set()
    while ack.answered_by is None:
        try:
            pushed = await asyncio.wait_for(line.pushed.get(), LOOK_S)
        except TimeoutError:  # a message may have been lost: the store and the list tell
            if await reply_to(connection, ack) is not None:
                return
            ask = await ask_of(connection, ack)
            if ask is not None and ask.id not in told:
                told.add(ask.id)
                yield ask
            continue
        if isinstance(pushed, Back):  # another coordinator pushes what it is asked for; the key makes that harmless
            ack = await hand_over()
            continue
        if isinstance(pushed, Gone | m.Changed | m.StoreState) or pushed.seq != ack.seq:
            continue
        if isinstance(pushed, m.Final):
            yield pushed
            return
        if isinstance(pushed, m.Asking):
            if pushed.ask.id not in told:
                told.add(pushed.ask.id)
                yield pushed.ask
            continue
        text = transcript.add(pushed) if isinstance(pushed, m.Piece) else pushed
        if text:
            yield text


def _ms(since_s: float, at_s: float | None) -> int | None:
    return None if at_s is None else round((at_s - since_s) * 1000)
