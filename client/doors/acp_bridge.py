"""``chat-coord acp``: our sessions behind the Agent Client Protocol. One bridge serves one editor over its stdio.

It holds nothing that matters: sessions, turns and asks are the coordinator's, and the end of the input only detaches.
The protocol's library does the wire (``stdio`` is the bounded transport under it), ``acp_shapes`` translates the words.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from acp import RequestError
from acp.agent.router import build_agent_router
from acp.connection import Connection as Wire
from acp.schema import (
    AgentCapabilities,
    AllowedOutcome,
    CloseSessionResponse,
    DeleteSessionRequest,
    DeleteSessionResponse,
    ForkSessionResponse,
    Implementation,
    InitializeResponse,
    ListSessionsResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptCapabilities,
    PromptResponse,
    RequestPermissionRequest,
    RequestPermissionResponse,
    ResumeSessionResponse,
    SessionCapabilities,
    SessionCloseCapabilities,
    SessionDeleteCapabilities,
    SessionForkCapabilities,
    SessionListCapabilities,
    SessionNotification,
    SessionResumeCapabilities,
    SetSessionConfigOptionResponse,
    Usage,
)
from acp.utils import normalize_result, notify_model, request_model

from client.asking import create, decide, get_session, search
from client.connection import Connection
from client.core.attaching import Prompt
from client.doors import acp_shapes as shapes
from client.doors.opening import Opening
from client.doors.stdio import StdioTransport
from client.output import found_text, status_text
from client.prompting import Answer
from client.talking import Exchange
from protocol import messages as m
from protocol.errors import ChatCoordError, RemoteError
from protocol.ids import new_id
from protocol.paths import Home
from protocol.settings import load_settings
from protocol.version import __version__
from protocol.views import AskView, SessionView

if TYPE_CHECKING:
    from acp import Agent

PROTOCOL_VERSION = 1
# The kind of ask that a yes or a no answers.
APPROVAL = "approval"
# The commands that may be given are told so long after the answer that makes a session known.
TELL_S = 0.01


async def serve(home: Home, reads: int = 0, writes: int = 1) -> None:
    """Serve one editor until the end of its input."""
    transport = StdioTransport(reads, writes)
    bridge = Bridge(home)
    router = build_agent_router(cast("Agent", bridge), use_unstable_protocol=True)
    router.route_request(
        "session/delete", DeleteSessionRequest, bridge, "delete_session", adapt_result=normalize_result
    )
    wire = Wire(router, transport, listening=False)
    bridge.wire = wire
    try:
        await wire.main_loop()
    finally:
        await bridge.detach()
        await wire.close()


class Bridge:
    """What the protocol calls an agent."""

    wire: Wire

    def __init__(self, home: Home) -> None:
        self._home = home
        self._opening = Opening(home, "acp")
        self._running: dict[str, _Turn] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def detach(self) -> None:
        """The editor has gone; everything else goes on."""
        await self._opening.close()

    # ---- the protocol

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        """Say what there is; a client of another version decides whether it can do with ours."""
        del protocol_version
        return InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_info=Implementation(name="chat-coord", title="chat-coord", version=__version__),
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(embedded_context=True, image=True),
                session_capabilities=SessionCapabilities(
                    list=SessionListCapabilities(),
                    delete=SessionDeleteCapabilities(),
                    fork=SessionForkCapabilities(),
                    resume=SessionResumeCapabilities(),
                    close=SessionCloseCapabilities(),
                ),
            ),
        )

    async def new_session(self, cwd: str, mcp_servers: list[Any] | None = None, **_: Any) -> NewSessionResponse:
        """Make a session that works in the editor's folder."""
        _check_folder(cwd)
        with _own_errors():
            exchange = await self._opening.exchange()
            session = await create(await exchange.ready(), self._home, cwd=cwd)
        self._after_answer(session.id, mcp_servers)
        return NewSessionResponse(session_id=session.id, config_options=self._options(session))

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> LoadSessionResponse:
        """Show a session's whole conversation again, and go on with it."""
        del cwd  # a session stays in its folder
        with _own_errors():
            connection = await self._opening.ready()
            session = await self._find(connection, session_id)
            async for page in connection.history(session.id, view=True):
                for row in page.rows:
                    await self.show(session.id, shapes.replayed(row))
        self._after_answer(session.id, mcp_servers)
        return LoadSessionResponse(config_options=self._options(session))

    async def resume_session(
        self, session_id: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> ResumeSessionResponse:
        """Go on with a session whose conversation the editor has."""
        with _own_errors():
            session = await self._find(await self._opening.ready(), session_id)
        self._after_answer(session.id, mcp_servers)
        return ResumeSessionResponse(config_options=self._options(session))

    async def fork_session(
        self, session_id: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> ForkSessionResponse:
        """Make a session that begins with another one's finished turns."""
        with _own_errors():
            connection = await self._opening.ready()
            origin = await self._find(connection, session_id)
            order = m.Fork(request=connection.number(), session=origin.id, id=new_id())
            session = (await connection.ask(order, m.SessionAnswer)).session
        assert session is not None  # noqa: S101 - a fork is answered with its session
        self._after_answer(session.id, mcp_servers)
        return ForkSessionResponse(session_id=session.id, config_options=self._options(session))

    async def list_sessions(self, cwd: str | None = None, cursor: str | None = None, **_: Any) -> ListSessionsResponse:
        """List the sessions that are not closed, a page at a time."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < len(str(1 << 53))):
            raise RequestError(-32602, "That is no cursor of this list.", None)
        offset = int(cursor or 0)
        with _own_errors():
            connection = await self._opening.ready()
            order = m.ListSessions(request=connection.number(), offset=offset, waiting=False, everything=False)
            page = await connection.ask(order, m.SessionsAnswer)
        shown = [shapes.listed(s) for s in page.sessions if cwd is None or s.cwd == cwd]
        return ListSessionsResponse(sessions=shown, next_cursor=str(offset + len(page.sessions)) if page.more else None)

    async def close_session(self, session_id: str, **_: Any) -> CloseSessionResponse:
        """End the editor's turn, and put the session to sleep; nothing is deleted."""
        with _own_errors():
            connection = await self._opening.ready()
            session = await self._find(connection, session_id)
            await self.cancel(session.id)
            with contextlib.suppress(RemoteError):  # somebody else works in it, or keeps it awake
                order = m.Hibernate(request=connection.number(), session=session.id)
                await connection.ask(order, m.SessionAnswer)
        return CloseSessionResponse()

    async def delete_session(self, session_id: str, **_: Any) -> DeleteSessionResponse:
        """Remove a session with its history."""
        with _own_errors():
            exchange = await self._opening.exchange()
            session = await self._find(await exchange.ready(), session_id)
            await exchange.remove(session.id)
        return DeleteSessionResponse()

    async def set_config_option(
        self, config_id: str, session_id: str, value: str | bool, **_: Any
    ) -> SetSessionConfigOptionResponse:
        """Choose a session's model or type, from the next turn or request on."""
        if config_id not in {"model", "type"} or not isinstance(value, str):
            raise RequestError(-32602, f"There is no such option: {config_id[:64]}.", None)
        with _own_errors():
            connection = await self._opening.ready()
            session = await self._find(connection, session_id)
            mark = m.Mark(
                request=connection.number(),
                session=session.id,
                mark="model" if config_id == "model" else "type",
                value=value,
            )
            changed = (await connection.ask(mark, m.SessionAnswer)).session
        assert changed is not None  # noqa: S101 - a mark is answered with its session
        return SetSessionConfigOptionResponse(config_options=self._options(changed))

    async def authenticate(self, **_: Any) -> None:
        """There is nothing to do: who may open the home may use it."""

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        """Run a turn and show it."""
        with _own_errors():
            given = shapes.prompt_of(prompt)
        if session_id in self._running:
            raise RequestError(-32600, "A turn of this session runs already.", {"code": "session.busy"})
        turn = self._running[session_id] = _Turn(self, session_id)  # before all else: a cancel may come any time
        try:
            with _own_errors():
                exchange = await self._opening.exchange()
                session = await self._find(await exchange.ready(), session_id)
                command = shapes.command_of(given.text)
                if command is not None and command[0] != "retry":
                    await self.show(session.id, shapes.said(await self._obey(session, *command)))
                    return PromptResponse(stop_reason="end_turn")
                answer = await turn.run(exchange, None if command else given)
        finally:
            del self._running[session_id]
            turn.over()
        return _response(answer, was_cancelled=turn.is_cancelled)

    async def cancel(self, session_id: str, **_: Any) -> None:
        """End the turn that this editor began, if it still runs; that of another client is none of its business."""
        turn = self._running.get(session_id)
        if turn is not None:
            await turn.cancel()

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """There are none."""
        del params
        raise RequestError.method_not_found(f"_{method}")

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """There are none."""

    # ---- for turns

    async def show(self, session: str, update: Any) -> None:
        """Show something of a session."""
        await notify_model(self.wire, "session/update", SessionNotification(session_id=session, update=update))

    async def request_permission(self, ask: AskView) -> bool | None:
        """Ask the editor; None when it does not say."""
        request = RequestPermissionRequest(session_id=ask.session, tool_call=shapes.asked(ask), options=shapes.OPTIONS)
        answer = await request_model(self.wire, "session/request_permission", request, RequestPermissionResponse)
        outcome = answer.outcome
        return outcome.option_id == shapes.APPROVE if isinstance(outcome, AllowedOutcome) else None

    # ---- inside

    async def _find(self, connection: Connection, session_id: str) -> SessionView:
        """Return a session by its id alone: a name is none here.

        Raises:
            RequestError: there is none.
        """
        session = await get_session(connection, session_id)
        if session is None or session.id != session_id:
            raise RequestError(-32002, "There is no session with that id.", {"code": "session.unknown"})
        return session

    def _options(self, session: SessionView) -> list[Any]:
        return list(shapes.config_options(session, load_settings(self._home.config)))

    def _after_answer(self, session: str, mcp_servers: list[Any] | None) -> None:
        """Tell, behind the answer that makes the session known, what may be said to it."""

        async def tell() -> None:
            await self.show(session, shapes.commands())
            if mcp_servers:
                names = ", ".join(str(server.name)[:64] for server in mcp_servers)
                text = f"[MCP servers of the editor are not started: {names}. They belong into config.toml.]\n"
                await self.show(session, shapes.said(text))

        def begin() -> None:
            task = asyncio.create_task(tell())
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

        asyncio.get_running_loop().call_later(TELL_S, begin)

    async def _obey(self, session: SessionView, name: str, rest: str) -> str:
        """Carry out a command that is no turn, and return what to say."""
        connection = await self._opening.ready()
        if name == "rename":
            order = m.Rename(request=connection.number(), session=session.id, name=rest)
            renamed = (await connection.ask(order, m.SessionAnswer)).session
            return f"The session is named {renamed.name if renamed else rest!r} now."
        if name == "search":
            return found_text(await search(connection, rest)) or "Nothing was found."
        answer = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
        return f"```\n{status_text(answer.status)}\n```"


class _Turn:
    """A turn that the editor began."""

    def __init__(self, bridge: Bridge, session: str) -> None:
        self._bridge = bridge
        self._session = session
        self._exchange: Exchange | None = None
        self._seq: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asks: dict[str, asyncio.Task[None]] = {}
        # Asks that were shown as calls, by tool, oldest first: the call that runs later is the same one.
        self._shown: dict[str, list[str]] = {}
        self._calls: dict[str, str] = {}
        self.is_cancelled = False

    async def run(self, exchange: Exchange, prompt: Prompt | None) -> Answer:
        """Run it; None is the last one again."""
        self._exchange = exchange
        given = Prompt("") if prompt is None else prompt
        talk = exchange.talk(self._session, None if prompt is None else given.text, new_id(), given.images)
        answer: Answer | None = None
        try:
            async with contextlib.aclosing(talk) as events:
                async for event in events:
                    if isinstance(event, m.Ack):
                        self._seq.set_result(event.seq)
                    elif isinstance(event, Answer):
                        answer = event
                    elif isinstance(event, str):
                        await self._bridge.show(self._session, shapes.said(event))
                    elif isinstance(event, m.ToolActivity):
                        await self._show_tool(event)
                    elif isinstance(event, AskView):
                        await self._ask(event)
                    else:
                        await self._resolved(event)
        finally:
            for task in self._asks.values():
                task.cancel()
        assert answer is not None  # noqa: S101 - a turn ends with its answer
        return answer

    def over(self) -> None:
        """Nobody can cancel it any more."""
        self._seq.cancel()

    async def cancel(self) -> None:
        """End it as soon as its prompt is committed."""
        self.is_cancelled = True
        with contextlib.suppress(ChatCoordError, asyncio.CancelledError):  # it was over before
            seq = await asyncio.shield(self._seq)
            if self._exchange is not None:
                await self._exchange.cancel(self._session, seq)

    async def _show_tool(self, activity: m.ToolActivity) -> None:
        if not activity.call:  # of no call, but of all: a server of tools is missing, for example
            await self._bridge.show(self._session, shapes.said(f"[{activity.tool}: {activity.text}]\n"))
            return
        call = self._calls.get(activity.call)
        if call is None and self._shown.get(activity.tool):
            call = self._calls[activity.call] = self._shown[activity.tool].pop(0)
        if call is not None or activity.call in self._calls:
            await self._bridge.show(
                self._session, shapes.tool_goes_on(call or activity.call, activity.state, activity.text)
            )
            return
        self._calls[activity.call] = activity.call
        await self._bridge.show(self._session, shapes.tool_begins(activity))

    async def _ask(self, ask: AskView) -> None:
        if ask.kind != APPROVAL:  # the protocol's question has a yes and a no, and room for nothing else
            text = f"\n[{ask.text}]\n[It waits for an answer: see `chat-coord inbox`.]\n"
            await self._bridge.show(self._session, shapes.said(text))
            return
        self._shown.setdefault(ask.tool, []).append(ask.id)
        await self._bridge.show(self._session, shapes.asked_start(ask))
        self._asks[ask.id] = asyncio.create_task(self._put_question(ask))

    async def _put_question(self, ask: AskView) -> None:
        try:
            is_approved = await self._bridge.request_permission(ask)
            if is_approved is None:
                return  # it waits in the inbox for somebody else, or its turn is being cancelled
            if self._exchange is None:
                return
            why = "" if is_approved else "denied in the editor"
            await decide(await self._exchange.ready(), ask.id, approve=is_approved, why=why)
            if not is_approved:
                await self._will_not_run(ask.id, why)
        except (ChatCoordError, RequestError, ConnectionError, ValueError):
            return  # somebody else was first, or the editor gave no answer: the ask is the coordinator's

    async def _resolved(self, told: m.AskResolved) -> None:
        """Somebody else answered, or the turn ended: the editor's answer will not count."""
        task = self._asks.pop(told.ask, None)
        if task is not None:
            task.cancel()
        if told.outcome in {"denied", "cancelled"} and task is not None:
            await self._will_not_run(told.ask, f"{told.outcome} by {told.by}")

    async def _will_not_run(self, ask: str, why: str) -> None:
        for shown in self._shown.values():
            if ask in shown:
                shown.remove(ask)
        await self._bridge.show(self._session, shapes.tool_goes_on(ask, "denied", why))


def _response(answer: Answer, *, was_cancelled: bool) -> PromptResponse:
    """Return the end of a turn.

    Raises:
        RequestError: it did not complete.
    """
    row, final = answer.row, answer.final
    usage = None
    if final is not None:
        counted = final.usage
        usage = Usage(
            total_tokens=counted.input_tokens + counted.output_tokens,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
        )
    if row.stop_reason == "completed":
        return PromptResponse(stop_reason="end_turn", usage=usage)
    if row.stop_reason == "cancelled" or was_cancelled:
        return PromptResponse(stop_reason="cancelled", usage=usage)
    if row.error is not None:
        raise RequestError(-32603, row.error.message, {"code": row.error.code, "hint": row.error.hint})
    text = f"The turn ended as {row.stop_reason}; what it said is kept, /retry runs it again."
    raise RequestError(-32603, text, {"code": f"turn.{row.stop_reason}"})


def _check_folder(cwd: str) -> None:
    path = Path(cwd)
    if not path.is_absolute() or not path.is_dir():
        raise RequestError(-32602, "The working directory must be the absolute path of a folder.", {"cwd": cwd[:256]})


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise our errors as the protocol's."""
    try:
        yield
    except ChatCoordError as error:
        raise shapes.refusal(error) from error
