"""Lines of standard input in an asyncio loop, without a thread."""

import asyncio
import os

from protocol.limits import PROMPT_BYTES

READ_BYTES = 64 << 10


class Lines:
    """Lines of standard input; a line that grows beyond a prompt's bound is handed on as it is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._rest = b""
        self._is_file = False
        try:
            self._loop.add_reader(0, self._read)
        except PermissionError:  # a regular file is always readable, and epoll does not take it
            self._is_file = True

    async def next(self) -> str | None:
        """Return the next line, None at the end of input."""
        while self._is_file and self._lines.empty():
            self._read()
        return await self._lines.get()

    def close(self) -> None:
        """Stop reading."""
        if not self._is_file:
            self._loop.remove_reader(0)

    def _read(self) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except OSError:
            data = b""
        self._rest += data
        *whole, self._rest = self._rest.split(b"\n")
        if not data or len(self._rest) > PROMPT_BYTES:
            whole, self._rest = [*whole, self._rest] if self._rest else whole, b""
        for line in whole:
            self._lines.put_nowait(line.decode(errors="replace"))
        if not data:
            self._lines.put_nowait(None)
            if not self._is_file:
                self._loop.remove_reader(0)
