"""``chat-coord mcp``: sessions as tools of other models, over stdio (Model Context Protocol).

There is no tool that says yes to what a session asks: that is for a person, and a caller is only told of it.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from client.asking import all_sessions, create, get_session
from client.doors.opening import Opening
from client.prompting import Answer
from client.waiting import wait_until
from protocol import messages as m
from protocol.errors import ChatCoordError, RemoteError
from protocol.ids import new_id
from protocol.paths import Home
from protocol.version import __version__
from protocol.views import AskView, SessionType, SessionView

INSTRUCTIONS = (
    "Chats with language models, each in a process of its own that outlives this connection. Open one, say something,"
    " and read its reply; wait for one that is still at work. What a session asks a person, only a person answers."
)
WAIT_S = 60.0
Seconds = Annotated[float, Field(ge=0, le=3600, description="How long to wait at most.")]
Name = Annotated[str, Field(description="A session's name, number or id.")]
# What a caller is shown of a session.
SHOWN = ("id", "name", "type", "model", "cwd", "display", "messages", "unanswered", "last_active_at")


async def serve(home: Home) -> None:
    """Serve one client until the end of its input."""
    opening = Opening(home, "mcp")
    try:
        await server_of(Tools(opening, home)).run_stdio_async()
    finally:
        await opening.close()


def server_of(tools: "Tools") -> MCPServer:
    """Return the server with its tools."""
    server = MCPServer("chat-coord", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR")
    for tool in (tools.open_session, tools.say, tools.wait, tools.list_sessions, tools.hibernate):
        server.add_tool(tool)
    return server


class Tools:
    """What a model may do; the first lines of the docstrings are what it reads."""

    def __init__(self, opening: Opening, home: Home) -> None:
        self._opening = opening
        self._home = home

    async def open_session(
        self,
        name: str | None = None,
        type: SessionType | None = None,  # noqa: A002 - the word of the product
        model: str | None = None,
        system: str | None = None,
        cwd: str | None = None,
    ) -> dict[str, Any]:
        """Open a new session; `cwd` is the folder where its tools work."""
        folder = Path.cwd() if cwd is None else Path(cwd)
        with _own_errors():
            if not (folder.is_absolute() and folder.is_dir()):
                raise ToolError("cwd must be the absolute path of a folder.")
            connection = await self._opening.ready()
            made = await create(
                connection,
                self._home,
                name=name,
                session_type=type,
                model=model,
                system=system,
                cwd=str(folder),
            )
        return _shown(made)

    async def say(
        self, session: Name, text: str, timeout_s: Seconds = WAIT_S, key: str | None = None
    ) -> dict[str, Any]:
        """Send a prompt and return the reply; when it takes longer, or waits for a person, how far it is.

        With the same `key` the same text is sent only once, however often this is called.
        """
        with _own_errors():
            exchange = await self._opening.exchange()
            key_of = (await self._find(session)).id
            said: list[str] = []
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(timeout_s),
                    contextlib.aclosing(exchange.talk(key_of, text, key or new_id())) as events,
                ):
                    async for event in events:
                        if isinstance(event, str):
                            said.append(event)
                        elif isinstance(event, AskView):
                            return _waiting(await self._find(key_of), said, event)
                        elif isinstance(event, Answer):
                            return _reply(event)
            return _waiting(await self._find(key_of), said, None)

    async def wait(
        self, session: Name, until: Literal["idle", "waiting", "done"] = "done", timeout_s: Seconds = WAIT_S
    ) -> dict[str, Any]:
        """Wait until a session is idle, done (nothing is due) or waiting (for a person); returns its last reply."""
        with _own_errors():
            exchange = await self._opening.exchange()
            found = await self._find(session)
            with contextlib.suppress(TimeoutError), exchange.line(found.id) as line:
                async with asyncio.timeout(timeout_s):
                    await wait_until(await exchange.ready(), found.id, until, line.pushed)
            now = await self._find(found.id)
            last = None
            async for page in exchange.connection.history(found.id):
                last = next((row.text for row in reversed(page.rows) if row.role == "assistant"), last)
        return _shown(now) | {"last_reply": last, "asks": None if now.ask is None else now.ask.text}

    async def list_sessions(self, waiting: bool = False) -> list[dict[str, Any]]:
        """List the open sessions, or those alone that wait for a person."""
        with _own_errors():
            found = await all_sessions(await self._opening.ready(), waiting=waiting, everything=False)
        return [_shown(session) for session in found]

    async def hibernate(self, session: Name) -> dict[str, Any]:
        """Put a session to sleep, which frees its memory; the next prompt wakes it."""
        with _own_errors():
            connection = await self._opening.ready()
            order = m.Hibernate(request=connection.number(), session=session)
            slept = (await connection.ask(order, m.SessionAnswer)).session
        assert slept is not None  # noqa: S101 - always answered with its session
        return _shown(slept)

    async def _find(self, session: str) -> SessionView:
        found = await get_session(await self._opening.ready(), session)
        assert found is not None  # noqa: S101 - an unknown name is refused
        return found


def _shown(session: SessionView) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(session, name)) for name in SHOWN}


def _reply(answer: Answer) -> dict[str, Any]:
    row = answer.row
    return {
        "is_over": True,
        "reply": row.text,
        "stop_reason": row.stop_reason,
        "error": None if row.error is None else row.error.message,
    }


def _waiting(session: SessionView, said: list[str], ask: AskView | None) -> dict[str, Any]:
    facts = {"is_over": False, "said_so_far": "".join(said), "state": session.display}
    if ask is None:
        return facts | {"next": "It goes on by itself; call wait."}
    return facts | {"asks_a_person": ask.text, "next": "A person must answer, see `chat-coord inbox`. Call wait."}


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise our errors as the tool's."""
    try:
        yield
    except ChatCoordError as error:
        code = error.remote_code if isinstance(error, RemoteError) else error.code
        raise ToolError(f"{error.message} {error.hint} ({code})") from error
