"""Sessions as resources: made, listed, changed, talked to and removed; turns and changes as server-sent events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from client.asking import all_asks, create, decide, get_session
from client.doors import http_words as w
from client.prompting import Answer
from client.talking import Event, Exchange
from protocol import messages as m
from protocol.errors import ValueIllegal
from protocol.ids import new_id
from protocol.paths import Home
from protocol.views import AskView, SessionView

# A stream without news says so, that nobody in between takes it for dead.
QUIET_S = 10.0


class Sessions:
    """The handlers.

    Args:
        exchange: with the coordinator.
        home: for settings.
    """

    def __init__(self, exchange: Exchange, home: Home) -> None:
        self._exchange = exchange
        self._home = home

    async def page(self, request: Request, offset: int, everything: int, waiting: int) -> Response:
        """List sessions."""
        del request
        connection = await self._exchange.ready()
        order = m.ListSessions(
            request=connection.number(), offset=offset, waiting=bool(waiting), everything=bool(everything)
        )
        page = await connection.ask(order, m.SessionsAnswer)
        following = offset + len(page.sessions) if page.more else None
        return w.answer(w.Sessions(sessions=page.sessions, next=following))

    async def new(self, request: Request, body: w.NewSession) -> Response:
        """Make a session."""
        del request
        made = await create(
            await self._exchange.ready(),
            self._home,
            name=body.name,
            session_type=body.type,
            model=body.model,
            system=body.system,
            cwd=_folder(body.cwd),
            temperature=body.temperature,
            group=body.group,
            key=body.key,
        )
        return w.answer(made, 201)

    async def show(self, request: Request) -> Response:
        """Show a session."""
        return w.answer(await self._find(request))

    async def change(self, request: Request, body: w.ChangeSession) -> Response:
        """Change what the body names."""
        session = await self._find(request)
        connection = await self._exchange.ready()
        if body.name is not None:
            order = m.Rename(request=connection.number(), session=session.id, name=body.name)
            await connection.ask(order, m.SessionAnswer)
        for mark in ("type", "model", "pinned", "archived"):
            value = getattr(body, mark)
            if value is not None:
                note = m.Mark(request=connection.number(), session=session.id, mark=mark, value=value)
                await connection.ask(note, m.SessionAnswer)
        return w.answer(await get_session(connection, session.id))

    async def delete(self, request: Request) -> Response:
        """End a session and remove it with its history."""
        await self._exchange.remove((await self._find(request)).id)
        return Response(status_code=204)

    async def close(self, request: Request) -> Response:
        """End a session; its history is kept."""
        session = await self._find(request)
        return await self._order(m.Close(request=self._exchange.connection.number(), session=session.id))

    async def hibernate(self, request: Request) -> Response:
        """Put a session to sleep."""
        session = await self._find(request)
        return await self._order(m.Hibernate(request=self._exchange.connection.number(), session=session.id))

    async def wake(self, request: Request) -> Response:
        """Give a session a worker."""
        session = await self._find(request)
        return await self._order(m.Wake(request=self._exchange.connection.number(), session=session.id))

    async def cancel(self, request: Request) -> Response:
        """End the turn that runs."""
        session = await self._find(request)
        await self._exchange.cancel(session.id)
        return await self.show(request)

    async def messages(self, request: Request, after: int) -> Response:
        """Show a page of the conversation."""
        session = await self._find(request)
        connection = await self._exchange.ready()
        order = m.Fetch(request=connection.number(), session=session.id, after_seq=after, view=True)
        page = await connection.ask(order, m.History)
        following = page.rows[-1].seq if page.more and page.rows else None
        return w.answer(w.Messages(messages=page.rows, next=following))

    async def prompt(self, request: Request, body: w.NewPrompt) -> Response:
        """Run a turn: its reply, its events, or only that it is accepted."""
        session = await self._find(request)
        key = body.key or new_id()
        if "text/event-stream" in request.headers.get("accept", ""):
            return await stream(self._exchange, session.id, body.text, key)
        connection = await self._exchange.ready()
        ack = await connection.submit(session.id, body.text, key, follow=False)
        accepted = w.Accepted(session=ack.session, seq=ack.seq)
        if not body.wait:
            return w.answer(accepted, 202)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(body.timeout_s):
                return w.answer(reply_document(await whole(self._exchange, session.id, body.text, key)))
        return w.answer(accepted, 202)

    async def asks(self, request: Request) -> Response:
        """List what waits for a person."""
        del request
        return w.answer(w.Asks(asks=await all_asks(await self._exchange.ready())))

    async def decide(self, request: Request, body: w.Decision) -> Response:
        """Answer an ask."""
        connection = await self._exchange.ready()
        ask = request.path_params["ask"]
        decided = await decide(connection, ask, approve=body.approve, why=body.why, answer=body.answer)
        return w.answer({"ask": decided.ask, "session": decided.session, "approved": decided.approved})

    async def changes(self, request: Request) -> Response:
        """Follow every change of state."""
        del request

        async def each() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(self._exchange.changes()) as changes:
                async for change in changes:
                    yield w.event("change", change)

        return StreamingResponse(with_signs_of_life(each()), media_type="text/event-stream")

    async def _find(self, request: Request) -> SessionView:
        found = await get_session(await self._exchange.ready(), request.path_params["session"])
        assert found is not None  # noqa: S101 - an unknown name is refused
        return found

    async def _order(self, order: m.Request) -> Response:
        answer = await (await self._exchange.ready()).ask(order, m.SessionAnswer)
        return w.answer(answer.session)


async def whole(exchange: Exchange, session: str, text: str, key: str) -> Answer:
    """Return a turn's reply."""
    answer: Answer | None = None
    async with contextlib.aclosing(exchange.talk(session, text, key)) as events:
        async for event in events:
            answer = event if isinstance(event, Answer) else answer
    assert answer is not None  # noqa: S101 - a turn ends with its answer
    return answer


async def stream(exchange: Exchange, session: str, text: str, key: str) -> Response:
    """Return a turn as server-sent events; a prompt that is refused is refused before there is any."""
    events = exchange.talk(session, text, key)
    ack = await anext(events)

    async def each() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(events):
            yield _told(ack)
            async for event in events:
                yield _told(event)

    return StreamingResponse(with_signs_of_life(each()), media_type="text/event-stream")


async def with_signs_of_life(items: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the items, and a comment in between when there is none for long."""
    coming = asyncio.ensure_future(anext(items))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=QUIET_S)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(items))
            yield item
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await coming


def reply_document(answer: Answer) -> w.Reply:
    """Return a reply as the answer to its prompt."""
    row, final = answer.row, answer.final
    error = row.error
    return w.Reply(
        session=answer.ack.session,
        seq=answer.ack.seq,
        turn_id=row.turn_id,
        reply=row.text,
        stop_reason=row.stop_reason,
        error=None if error is None else w.ErrorBody(code=error.code, message=error.message, hint=error.hint),
        usage=None if final is None else final.usage,
        first_piece_ms=answer.first_piece_ms,
        duration_ms=answer.duration_ms,
    )


def _told(event: Event) -> bytes:
    if isinstance(event, m.Ack):
        return w.event("accepted", w.Accepted(session=event.session, seq=event.seq))
    if isinstance(event, str):
        return w.event("text", {"text": event})
    if isinstance(event, AskView):
        return w.event("ask", event)
    if isinstance(event, Answer):
        return w.event("reply", reply_document(event))
    if isinstance(event, m.AskResolved):
        return w.event("answered", {"ask": event.ask, "outcome": event.outcome, "by": event.by})
    return w.event("tool", {"call": event.call, "tool": event.tool, "state": event.state, "text": event.text})


def _folder(cwd: str | None) -> str:
    """Return the folder of a new session.

    Raises:
        ValueIllegal: there is none.
    """
    if cwd is None:
        return str(Path.cwd())
    try:
        is_one = Path(cwd).is_absolute() and Path(cwd).is_dir()
    except (OSError, ValueError):
        is_one = False
    if not is_one:
        raise ValueIllegal("The working directory must be the absolute path of a folder.", hint="Leave it out.")
    return cwd
