"""JSON-RPC over standard input and output, a message a line, for a peer that may send and do anything.

A line is bounded, garbage is answered as the protocol says, and a peer that does not read stops its own messages alone.
Threads do the reading and writing: any kind of file works, and no descriptor of another process is made non-blocking.
"""

import asyncio
import contextlib
import json
import os
import queue
import threading
from typing import Any

# The largest prompt as JSON may write it, six characters for one, and what is around it.
LINE_BYTES = 8 << 20
CHUNK_BYTES = 64 << 10
# Messages read and not yet taken, and written and not yet gone.
READ_AHEAD = 16
# At the end of the input, how long what was asked for may still be answered.
LAST_ANSWERS_S = 1.0
PARSE_ERROR = -32_700
INVALID_REQUEST = -32_600


class StdioTransport:
    """What the ACP library calls a transport: messages in and out, None at the end of the input.

    Args:
        reads: the descriptor to read.
        writes: the descriptor to write.
    """

    def __init__(self, reads: int, writes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads, self._writes = reads, writes
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(READ_AHEAD)
        self._out: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        # Requests that have no answer yet.
        self._owed: set[int | str | None] = set()
        self._paid = asyncio.Event()
        self._paid.set()
        for work in (self._read, self._write):
            threading.Thread(target=work, name=f"stdio {work.__name__}", daemon=True).start()

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message that is one; what is none is answered here."""
        while True:
            line = await self._lines.get()
            self._room.release()
            if line is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._paid.wait(), LAST_ANSWERS_S)
                return None
            if not line.strip():
                continue
            try:
                message = json.loads(line) if len(line) <= LINE_BYTES else None
            except (ValueError, RecursionError):
                await self._complain(PARSE_ERROR, "Parse error")
                continue
            if isinstance(message, dict) and _is_well_formed(message):
                if "method" in message and "id" in message:
                    self._owed.add(message["id"])
                    self._paid.clear()
                return _without_meta(message)
            await self._complain(INVALID_REQUEST, "Invalid request")

    async def send(self, message: dict[str, Any]) -> None:
        """Write a message; returns when it is gone.

        Raises:
            ConnectionError: nobody reads any more.
        """
        gone: asyncio.Future[None] = self._loop.create_future()
        line = json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
        self._out.put((line, gone))
        await gone
        if "method" not in message:
            self._owed.discard(message["id"])
            if not self._owed:
                self._paid.set()

    async def close(self) -> None:
        """Let the writer go; the reader goes with the process."""
        self._out.put(None)

    async def _complain(self, code: int, text: str) -> None:
        await self.send({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}})

    # ---- threads

    def _read(self) -> None:
        """Cut the input into lines; of one that is too long only the beginning is kept."""
        rest = bytearray()
        while True:
            try:
                data = os.read(self._reads, CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                self._hand_over(None)
                return
            *lines, last = data.split(b"\n")
            for line in lines:
                self._hand_over(bytes(rest + line[: max(0, LINE_BYTES + 1 - len(rest))]))
                rest.clear()
            rest += last[: max(0, LINE_BYTES + 1 - len(rest))]

    def _hand_over(self, line: bytes | None) -> None:
        self._room.acquire()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody takes it
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def _write(self) -> None:
        while (item := self._out.get()) is not None:
            line, gone = item
            try:
                left = memoryview(line)
                while left:
                    left = left[os.write(self._writes, left) :]
            except OSError as error:
                self._settle(gone, ConnectionError(str(error)))
            else:
                self._settle(gone, None)

    def _settle(self, gone: asyncio.Future[None], error: Exception | None) -> None:
        def settle() -> None:
            if gone.done():
                return
            if error is None:
                gone.set_result(None)
            else:
                gone.set_exception(error)

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)


def _is_well_formed(message: dict[str, Any]) -> bool:
    """Say whether it is a request, a notification or an answer, as far as who reads on takes for granted."""
    has_id = isinstance(message.get("id"), int | str | None)
    return has_id and (isinstance(message.get("method"), str) if "method" in message else "id" in message)


def _without_meta(message: dict[str, Any]) -> dict[str, Any]:
    """Return it without what a client may add for itself: the library would take it for arguments."""
    params = message.get("params")
    if isinstance(params, dict):
        message["params"] = {key: value for key, value in params.items() if key != "_meta"}
    return message
