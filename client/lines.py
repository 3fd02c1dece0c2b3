"""Lines of standard input in an asyncio loop, without a thread.

A line that is too long is refused whole: a piece of it is never taken for a prompt, and never for a command.
"""

import asyncio
import os

from protocol.errors import PromptTooLarge
from protocol.limits import PROMPT_BYTES

READ_BYTES = 64 << 10
# A line is a prompt, and perhaps `@name ` before it.
LINE_BYTES = PROMPT_BYTES + 1_024
# Linux throws away what a person's terminal gets of a line beyond this (N_TTY_BUF_SIZE, less the end of the line).
TERMINAL_LINE_BYTES = 4_095


class Lines:
    """Lines of standard input; in memory is no more of one than the longest that is allowed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | PromptTooLarge | None] = asyncio.Queue()
        self._rest = b""
        self._size = 0
        self._is_terminal = os.isatty(0)
        self._is_file = False
        try:
            self._loop.add_reader(0, self._read)
        except PermissionError:  # a regular file is always readable, and epoll does not take it
            self._is_file = True

    async def next(self) -> str | None:
        """Return the next line, None at the end of input.

        Raises:
            PromptTooLarge: the line is too long, or the terminal has cut it; the one after it comes next.
        """
        while self._is_file and self._lines.empty():
            self._read()
        line = await self._lines.get()
        if isinstance(line, PromptTooLarge):
            raise line
        return line

    def close(self) -> None:
        """Stop reading."""
        if not self._is_file:
            self._loop.remove_reader(0)

    def _read(self) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except OSError:
            data = b""
        *ends, beginning = data.split(b"\n")
        for end in ends:
            self._grow(end)
            self._finish()
        self._grow(beginning)
        if not data:
            if self._size:
                self._finish()
            self._lines.put_nowait(None)
            if not self._is_file:
                self._loop.remove_reader(0)

    def _grow(self, part: bytes) -> None:
        self._size += len(part)
        self._rest = self._rest + part if self._size <= LINE_BYTES else b""

    def _finish(self) -> None:
        line, size = self._rest, self._size
        self._rest, self._size = b"", 0
        if size > LINE_BYTES:
            text = f"The prompt has {size} bytes; {PROMPT_BYTES} are allowed."
            self._lines.put_nowait(PromptTooLarge(text, limit=PROMPT_BYTES))
        elif self._is_terminal and size >= TERMINAL_LINE_BYTES:
            text = f"The terminal cut that line at {TERMINAL_LINE_BYTES} bytes, so it was not sent."
            hint = "Put the text into a file and run `chat-coord send NAME - < FILE`."
            self._lines.put_nowait(PromptTooLarge(text, hint=hint, limit=TERMINAL_LINE_BYTES))
        else:
            self._lines.put_nowait(line.decode(errors="replace"))
