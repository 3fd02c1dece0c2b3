"""A connection to an MCP server: the one door to its library, which is imported only where a server is configured.

The library's contexts must be left by the task that entered them, so each connection has a task that keeps it.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from protocol.messages import McpServer
from protocol.version import __version__
from workers.tools.files import ToolFailed
from workers.tools.mcp_pipe import Flood, Flooded, Pipe
from workers.tools.mcp_servers import Listed

PAGES = 20
CONNECT_S = 10.0
SILENCE_S = 300.0
ME = mcp_types.Implementation(name="chat-coord", version=__version__)


class Connection:
    """A server that has said what it can do.

    Args:
        server: which.
        cwd: where its command runs.
        env: the environment of its command.
        mark: what the processes of its command are known by.
    """

    def __init__(self, server: McpServer, cwd: Path, env: dict[str, str], mark: str) -> None:
        self._server = server
        self._flood = Flood()
        self._pipe = Pipe(server.command, cwd, env, mark, self._flood) if server.command else None
        self._over = self._pipe.over if self._pipe is not None else asyncio.Event()
        self._client: Client | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep())
        self._why: str | None = None
        self._is_ending = False
        self.tools: list[Listed] = []

    @property
    def why_over(self) -> str | None:
        """Say why it cannot be used any more; None while it can."""
        return self._why or (self._pipe.why if self._pipe is not None else self._flood.why)

    @property
    def pid(self) -> int | None:
        """The process of its command, if it has one."""
        return self._pipe.pid if self._pipe is not None else None

    async def open(self) -> None:
        """Wait until it has said what it can do.

        Raises:
            ToolFailed: it did not, and why.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), self._server.start_s)
        except TimeoutError:
            self._why = f"it did not say within {self._server.start_s:g} s what it can do"
            await self.close()
            raise ToolFailed(self._why) from None
        except asyncio.CancelledError:
            self.end()
            raise

    def end(self) -> None:
        """Begin to end it."""
        self._why = self._why or "it was ended"
        self._over.set()
        if not self._is_ending:  # a second time would interrupt the end itself, which goes on behind the next server
            self._is_ending = True
            self._keeper.cancel()

    async def close(self) -> None:
        """End it; what its command started is gone then."""
        self.end()
        await asyncio.wait({self._keeper})

    async def call(self, name: str, arguments: dict[str, Any], timeout_s: float) -> str:
        """Use a tool and return what it says.

        Raises:
            ToolFailed: it did not do it, and why.
        """
        if self._client is None or self.why_over is not None:
            raise ToolFailed(f"{self._named} cannot be used: {self.why_over}.")
        self._flood.reset()
        try:
            return await self._use(self._client, name, arguments, timeout_s)
        except ToolFailed:
            raise
        except Exception as error:  # whatever a foreign server makes the library raise
            if isinstance(error, httpx2.HTTPError):
                self._why = self._why or f"{type(error).__name__} {error}"
            raise ToolFailed(f"{self._named} did not do it: {self.why_over or _root(error)}.") from error

    async def _use(self, client: Client, name: str, arguments: dict[str, Any], timeout_s: float) -> str:
        call = asyncio.ensure_future(client.call_tool(name, arguments, timeout_s))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({call, over}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not call.done() and not over.done():
                if self._pipe is not None:  # as any tool that runs longer it is ended, with everything it started
                    self._why = f"it did not answer within {timeout_s:g} s and was ended"
                    self.end()
                raise ToolFailed(f"It took longer than {timeout_s:g} s, which is tool_timeout_s.")
            if not call.done():
                raise ToolFailed(f"{self._named} cannot be used any more: {self.why_over}.")
            return _text(call.result())
        finally:
            for task in (call, over):
                task.cancel()
            await asyncio.wait({call, over}, timeout=1.0)

    @property
    def _named(self) -> str:
        return f"The MCP server {self._server.name!r}"

    # ---- the task that keeps it

    async def _keep(self) -> None:
        try:
            async with Client(self._pipe or self._http(), client_info=ME, cache=None) as client:
                self._client = client
                self.tools = await self._list(client)
                self._ready.set_result(None)
                await self._over.wait()
        except BaseException as error:
            self._why = self.why_over or _root(error)
            if not self._ready.done():
                self._ready.set_exception(ToolFailed(self._why))
                self._ready.exception()  # whoever waited may be gone
            if isinstance(error, asyncio.CancelledError) and not self._over.is_set():
                raise
        finally:
            self._client = None
            self._over.set()

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[Any]:
        key = self._server.api_key
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        timeout = httpx2.Timeout(CONNECT_S, read=SILENCE_S)
        async with (
            _Counted(self._flood, headers=headers, timeout=timeout) as http,
            streamable_http_client(self._server.url, http_client=http) as streams,
        ):
            yield streams

    async def _list(self, client: Client) -> list[Listed]:
        found: list[Listed] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [Listed(t.name, t.description or "", dict(t.input_schema)) for t in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found


class _Counted(httpx2.AsyncClient):
    """An HTTP client whose answers are counted; a flood breaks them off."""

    def __init__(self, flood: Flood, **options: Any) -> None:
        super().__init__(**options)
        self._flood = flood

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        response = await super().send(request, stream=True, **options)
        inner = response.stream
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101 - the client is asynchronous
        response.stream = _Body(inner, self._flood)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response


class _Body(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, flood: Flood) -> None:
        self._inner = inner
        self._flood = flood

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            try:
                self._flood.count(len(piece), piece.count(b"\n\n"))  # events of a stream end so
            except Flooded as error:
                raise httpx2.RemoteProtocolError(str(error)) from error
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _root(error: BaseException) -> str:
    """Return what really was the matter, below the groups that task groups make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ToolFailed):
        return str(error)
    return " ".join(f"{type(error).__name__} {error}".split())[:500]


def _text(result: Any) -> str:
    """Return a result as a model reads it: texts whole, and of everything else what it is.

    Raises:
        ToolFailed: the tool says that it failed.
    """
    parts = [_part(part) for part in result.content]
    structured = getattr(result, "structured_content", None)
    if not parts and structured is not None:
        parts = [json.dumps(structured, ensure_ascii=False)]
    text = "\n".join(parts)
    if result.is_error:
        raise ToolFailed(text or "the tool failed and does not say why")
    return text or "(no output)"


def _part(part: Any) -> str:
    match part.type:
        case "text":
            return str(part.text)
        case "image" | "audio":
            return f"[{part.mime_type}, {len(part.data)} bytes in base64, is not shown]"
        case "resource_link":
            return f"[resource {part.uri}]"
        case _:
            text = getattr(getattr(part, "resource", None), "text", None)
            return text if isinstance(text, str) else f"[{part.type} is not shown]"
