"""The MCP servers of a session: started when a turn wants their tools, kept while they are used, ended with the worker.

Their tools are called SERVER__TOOL. A server that does not work costs its own tools and nothing else: the model and
whoever looks on are told why, and it is tried again by a later turn.
"""

import asyncio
import fnmatch
import importlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from protocol.extras import MCP, how_to_install
from protocol.messages import McpServer
from protocol.processes import TOOL_MARK, descendants_of, kill_tree_below
from workers.core.calls import Tool
from workers.tools.command import scrubbed
from workers.tools.files import ToolFailed
from workers.tools.rules import Rule

SEPARATOR = "__"
# As endpoints have it.
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What all servers together may put before a model in each request.
TOOLS = 200
DESCRIPTION_CHARS = 2_000
SCHEMA_BYTES = 16 << 10
# A server that did not start is not tried again before.
RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool as its server describes it."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remote:
    """A tool of a server that the model is offered. ``origin`` is what runs when it is used."""

    tool: Tool
    rule: Rule
    name: str
    origin: str
    connection: "Connection"


class Connection(Protocol):
    """A connection to a server, as ``mcp_client`` makes it."""

    tools: list[Listed]

    @property
    def why_over(self) -> str | None:
        """Say why it cannot be used any more; None while it can."""
        ...

    @property
    def pid(self) -> int | None:
        """The process of its command, if it has one."""
        ...

    async def open(self) -> None:
        """Wait until it has said what it can do."""
        ...

    def end(self) -> None:
        """Begin to end it."""
        ...

    async def close(self) -> None:
        """End it."""
        ...

    async def call(self, name: str, arguments: dict[str, Any], timeout_s: float) -> str:
        """Use a tool and return what it says."""
        ...


Connect = Callable[[McpServer, Path, dict[str, str], str], Connection]


def import_mcp() -> Connect:
    """Import what speaks the protocol; the zygote does, before it forks, when a server is configured.

    Raises:
        ImportError: the extra is not installed.
    """
    connect: Connect = importlib.import_module("workers.tools.mcp_client").Connection
    return connect


@dataclass(slots=True)
class Known:
    """A server that was wanted. ``why`` says why it cannot be used, since ``failed_s``."""

    server: McpServer
    connection: Connection | None = None
    why: str | None = None
    failed_s: float = 0.0
    used_s: float = field(default_factory=time.monotonic)


class Servers:
    """All servers of one worker.

    Args:
        cwd: where their commands run.
        mark: of this worker; what their processes are known by begins so.
        connect: makes connections; None: with the library, which is imported then.
    """

    def __init__(self, cwd: Path, mark: str, connect: Connect | None = None) -> None:
        self._cwd = cwd
        self._mark = mark
        self._connect = connect
        self._known: dict[str, Known] = {}
        self._starts = 0

    async def open(self, wanted: list[McpServer]) -> dict[str, str]:
        """Start what is not there yet; return why some cannot be used, by name."""
        names = {server.name for server in wanted}
        gone = [name for name in self._known if name not in names]
        await asyncio.gather(*(self._close(name) for name in gone))
        await asyncio.gather(*(self._open(server) for server in wanted))
        return {name: known.why for name, known in self._known.items() if known.why is not None}

    async def _open(self, server: McpServer) -> None:
        known = self._known.get(server.name)
        if known is not None and known.server != server:
            await self._close(server.name)
            known = None
        if known is None:
            known = self._known[server.name] = Known(server)
        known.used_s = time.monotonic()
        if known.connection is not None and known.connection.why_over is None:
            return
        is_tired = known.connection is None and known.why is not None
        if is_tired and time.monotonic() - known.failed_s < RETRY_S:
            return
        await self._start(known)

    async def _start(self, known: Known) -> None:
        if known.connection is not None:  # what is left of it would be in the way of the next
            await known.connection.close()
        server, known.connection, known.why = known.server, None, known.server.missing
        if known.why is None:
            try:
                known.connection = self._make(server)
                await known.connection.open()
            except ToolFailed as error:
                known.connection, known.why = None, str(error)
        if known.why is not None:
            known.failed_s = time.monotonic()

    def _make(self, server: McpServer) -> Connection:
        if self._connect is None:
            try:
                self._connect = import_mcp()
            except ImportError as error:
                text = f"the package for MCP is not installed ({error}): `{how_to_install(MCP)}`, `chat-coord restart`"
                raise ToolFailed(text) from error
        self._starts += 1  # what is known by its mark is of this start alone
        mark = f"{self._mark}.mcp-{server.name}-{self._starts}"
        env = scrubbed(os.environ, mark) | server.secrets | {TOOL_MARK: mark}
        assert self._connect is not None  # noqa: S101 - made above
        return self._connect(server, self._cwd, env, mark)

    async def _close(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is not None and known.connection is not None:
            await known.connection.close()

    # ---- what there is

    def tools(self) -> dict[str, Remote]:
        """Return the tools that may be offered, by the name that the model knows them by."""
        found: dict[str, Remote] = {}
        for name, known in sorted(self._known.items()):
            if known.connection is None or known.connection.why_over is not None:
                continue
            origin = json.dumps(known.server.command or known.server.url)
            for listed in known.connection.tools:
                rule = rule_of(known.server, listed.name)
                tool = _offered(name, listed)
                if tool is not None and rule != "deny" and len(found) < TOOLS:
                    found.setdefault(tool.name, Remote(tool, rule, listed.name, origin, known.connection))
        return found

    def why_missing(self, tool: str) -> str | None:
        """Return why a tool of one of the servers is not there; None when it is none of theirs."""
        name = tool.partition(SEPARATOR)[0]
        known = self._known.get(name)
        if known is None or SEPARATOR not in tool:
            return None
        why = known.why or (known.connection.why_over if known.connection is not None else None)
        return f"The MCP server {name!r} is not there: {why}." if why else f"The MCP server {name!r} has no such tool."

    # ---- processes

    def below(self) -> set[int]:
        """Return the pids of everything that the servers run."""
        roots = [k.connection.pid for k in self._known.values() if k.connection is not None]
        found = {pid for pid in roots if pid is not None}
        return found | {pid for root in tuple(found) for pid, _ in descendants_of(root)}

    def end_idle(self) -> None:
        """End those that no turn used for long. Called each second while no turn runs."""
        now_s = time.monotonic()
        for known in self._known.values():
            is_up = known.connection is not None and known.connection.why_over is None
            if is_up and known.connection is not None and now_s - known.used_s > known.server.idle_s:
                known.connection.end()

    def used(self) -> None:
        """A turn that used them ends now."""
        for known in self._known.values():
            known.used_s = time.monotonic()

    def end(self) -> None:
        """The worker leaves: ask them to end; what does not is killed with everything below the worker."""
        for known in self._known.values():
            if known.connection is not None:
                pid = known.connection.pid
                if pid is not None:
                    _terminate(pid)
                known.connection.end()


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError:
        kill_tree_below(pid)


def rule_of(server: McpServer, tool: str) -> Rule:
    """Return what a tool may do: the strictest pattern that fits, else the server's rule."""
    answers: tuple[tuple[Rule, Iterable[str]], ...] = (
        ("deny", server.rule.deny),
        ("ask", server.rule.ask),
        ("allow", server.rule.allow),
    )
    for answer, patterns in answers:
        if any(fnmatch.fnmatchcase(tool, pattern) for pattern in patterns):
            return answer
    return server.rule.rule


def _offered(server: str, listed: Listed) -> Tool | None:
    """Return a tool as a model is told of it; None when no endpoint would take it."""
    name = f"{server}{SEPARATOR}{listed.name}"
    schema: Mapping[str, Any] = listed.schema
    if not TOOL_NAME.fullmatch(name) or schema.get("type") != "object":
        return None
    if len(json.dumps(schema, default=str)) > SCHEMA_BYTES:
        return None
    return Tool(name, listed.description[:DESCRIPTION_CHARS], dict(schema))
