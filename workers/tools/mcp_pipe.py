"""An MCP server that is a process of ours: messages over its standard streams, bounded, and ended with everything.

The library has such a transport, too. This one is here because of what a server may do: say a line without an end, say
more than anybody asked for, write floods to its standard error, leave processes behind, outlive the worker.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from workers.tools.command import die_with_parent, end_tree
from workers.tools.files import ToolFailed

LINE_BYTES = 4 << 20
# What it may say between two requests.
SAID_BYTES = 16 << 20
SAID_MESSAGES = 2_000
# Of what it writes to standard error, the end is kept for whoever wants to know why it ended.
STDERR_BYTES = 1_000
READ_BYTES = 64 << 10
Incoming = SessionMessage | Exception


class Flooded(ToolFailed):
    """The server says more than anybody asked for."""


class Flood:
    """Counts what a server says between two requests."""

    def __init__(self) -> None:
        self._bytes = self._messages = 0
        # Set when it was too much; the library does not pass on what breaks a stream.
        self.why: str | None = None

    def reset(self) -> None:
        """A request begins."""
        self._bytes = self._messages = 0

    def count(self, size: int, messages: int = 1) -> None:
        """Take in some.

        Raises:
            Flooded: it is too much.
        """
        self._bytes += size
        self._messages += messages
        if self._bytes > SAID_BYTES or self._messages > SAID_MESSAGES:
            self.why = f"it said more than {SAID_BYTES} bytes or {SAID_MESSAGES} messages that nobody asked for"
            raise Flooded(self.why)


class Pipe:
    """The process, as the library's transport.

    Args:
        command: its words.
        cwd: where it runs.
        env: its whole environment.
        mark: what its processes are known by.
        flood: counts what it says.
    """

    def __init__(self, command: list[str], cwd: Path, env: Mapping[str, str], mark: str, flood: Flood) -> None:
        self._command = command
        self._cwd = cwd
        self._env = env
        self._mark = mark
        self._flood = flood
        self._process: subprocess.Popen[bytes] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stderr = b""
        # Why nothing more comes; None while something may.
        self.why: str | None = None
        self.over = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process; None when there is none any more."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def __aenter__(self) -> tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]:
        process = self._process = self._start()
        loop = asyncio.get_running_loop()
        assert process.stdin is not None  # noqa: S101 - all three are pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        self._reader = asyncio.StreamReader(limit=LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), process.stdout)
        self._out, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, process.stdin)
        self._writer = asyncio.StreamWriter(self._out, protocol, None, loop)
        self._errors = process.stderr.fileno()
        os.set_blocking(self._errors, False)
        loop.add_reader(self._errors, self._on_stderr)
        heard, incoming = anyio.create_memory_object_stream[Incoming](0)
        outgoing, to_say = anyio.create_memory_object_stream[SessionMessage](0)
        self._streams = (heard, incoming, outgoing, to_say)
        self._tasks = [asyncio.create_task(self._hear(heard)), asyncio.create_task(self._say(to_say))]
        return incoming, outgoing

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread
            )
        except (OSError, ValueError) as error:
            raise ToolFailed(f"{self._command[0]} cannot be started: {error}") from error

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        self._out.close()
        process = self._process
        assert process is not None  # noqa: S101 - it was started
        await asyncio.shield(end_tree(process, self._mark))
        self._close_stderr()
        self._reader_transport_close()
        for stream in self._streams:
            stream.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reader_transport_close(self) -> None:
        transport = getattr(self._reader, "_transport", None)
        if transport is not None:
            transport.close()

    def _ended(self, why: str) -> None:
        """Nothing more comes: keep the first reason."""
        if self.why is None:
            said = " ".join(self._stderr.decode(errors="replace").split())
            self.why = f"{why}; it said: {said}" if said else why
            self.over.set()

    # ---- its streams

    async def _hear(self, heard: "MemoryObjectSendStream[Incoming]") -> None:
        async with heard:  # the library fails all requests when it is closed; the reason is known before that
            try:
                while line := await self._reader.readline():
                    self._flood.count(len(line))
                    await heard.send(_message(line))
                await self._reap("it closed its output")
            except Flooded as error:
                self._ended(str(error))
            except ValueError:  # no end of the line within the limit
                self._ended(f"it said a line of more than {LINE_BYTES} bytes")
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                self._ended(f"its output cannot be read: {type(error).__name__}")

    async def _reap(self, else_why: str) -> None:
        """One of its streams has an end: it has ended itself, or it will be ended for that."""
        process = self._process
        assert process is not None  # noqa: S101 - it was started
        for _ in range(10):
            if process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        code = process.returncode
        self._ended(else_why if code is None else f"it ended with exit code {code}")

    async def _say(self, to_say: "MemoryObjectReceiveStream[SessionMessage]") -> None:
        async with to_say:
            try:
                async for message in to_say:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    self._writer.write(f"{text}\n".encode())
                    await self._writer.drain()
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._reap("it takes no input")

    def _on_stderr(self) -> None:
        try:
            data = os.read(self._errors, READ_BYTES)
            self._flood.count(len(data), 0)
        except BlockingIOError:
            return
        except (OSError, Flooded) as error:
            self._ended(str(error))
            data = b""
        if not data:
            self._close_stderr()
        self._stderr = (self._stderr + data)[-STDERR_BYTES:]

    def _close_stderr(self) -> None:
        process = self._process
        if process is not None and process.stderr is not None and not process.stderr.closed:
            asyncio.get_running_loop().remove_reader(self._errors)
            with contextlib.suppress(OSError):
                process.stderr.close()


def _message(line: bytes) -> Incoming:
    try:
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:  # a word that is no message, such as a print; the library passes over it
        return error
