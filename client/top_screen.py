"""``top`` in a terminal: a full screen that is drawn anew each second, and keys.

It works without colour, at any size, and gives the terminal back as it was, also when it is suspended or ended by a
signal. What is drawn comes from ``top_table`` and is clean; the few sequences that steer the terminal are here.
"""

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable, Coroutine
from typing import Any

from client.asking import cancel
from client.connection import Connection
from client.inspecting import after_kill, kill, top
from client.top_table import SORTS, Table
from protocol import messages as m
from protocol.errors import ChatCoordError
from protocol.views import TopSession

# The other screen, no cursor, and no wrapping, so that a line which is too long cannot push the others down.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
ARROWS = {b"\x1b[A": -1, b"\x1bOA": -1, b"\x1b[B": 1, b"\x1bOB": 1}
READ_BYTES = 1_024
# What was done is shown for so many looks.
MESSAGE_LOOKS = 5


class TopScreen:
    """One terminal.

    Args:
        connection: an open one.
        every_s: how often it looks.
    """

    def __init__(self, connection: Connection, every_s: float) -> None:
        self._connection = connection
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._table = Table()
        self._message = ""
        self._looks_left = 0
        self._asked: TopSession | None = None
        self._deeds: set[asyncio.Task[None]] = set()
        self._before = termios.tcgetattr(0)
        self._keys: dict[str, Callable[[], None]] = {
            "q": self._over.set,
            "h": lambda: self._do(self._hibernate),
            "p": lambda: self._do(self._pin),
            "x": lambda: self._do(self._cancel),
            "k": self._ask_to_kill,
        }

    async def run(self) -> None:
        """Show until ``q``, Ctrl+C, or the end of the terminal."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, self._over.set)
        self._loop.add_signal_handler(signal.SIGWINCH, self._draw)
        self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._enter()
        self._loop.add_reader(0, self._read)
        looks = asyncio.create_task(self._look())
        try:
            await self._over.wait()
        finally:
            self._loop.remove_reader(0)
            self._leave()
            for number in (*numbers, signal.SIGWINCH, signal.SIGTSTP):
                self._loop.remove_signal_handler(number)
            for task in (looks, *self._deeds):
                task.cancel()
            await asyncio.gather(looks, *self._deeds, return_exceptions=True)

    # ---- the terminal

    def _enter(self) -> None:
        tty.setcbreak(0)
        self._write(ENTER)

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._write(LEAVE)
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _suspend(self) -> None:
        """Ctrl+Z: give the terminal back, stop, and take it again when the shell says so."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
        self._draw()

    def _draw(self) -> None:
        if self._over.is_set():
            return
        width, height = os.get_terminal_size(1)  # of the window itself: COLUMNS may be exported, and does not follow it
        lines = self._table.screen(width, height, self._message)
        text = HOME + "\r\n".join(line + END_OF_LINE for line in lines) + END_OF_SCREEN
        try:
            self._write(text)
        except OSError:
            self._over.set()

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(1, data) :]

    # ---- what is shown

    async def _look(self) -> None:
        while not self._over.is_set():  # asked each time: a time-out that ends with its answer swallows a cancellation
            try:
                self._table.take(await top(self._connection), self._loop.time())
            except ChatCoordError as error:
                self._say(error.message)
            self._looks_left -= 1
            if self._looks_left <= 0 and self._asked is None:
                self._message = ""
            self._draw()
            await asyncio.sleep(self._every_s)

    def _say(self, text: str) -> None:
        self._message, self._looks_left = text, MESSAGE_LOOKS
        self._draw()

    # ---- keys

    def _read(self) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._over.set()
            return
        if data in ARROWS:
            self._table.choose(ARROWS[data])
            self._draw()
            return
        for character in data.decode(errors="replace"):
            if character == "\x1b":
                break  # some other key's sequence
            self._obey(character)

    def _obey(self, key: str) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            if key == "y":
                self._do(self._kill, asked)
            else:
                self._say("Not killed.")
        elif key in SORTS:
            self._table.sort = key
            self._draw()
        elif key in self._keys:
            self._keys[key]()

    def _do(self, deed: Callable[[TopSession], Coroutine[Any, Any, str]], on: TopSession | None = None) -> None:
        """Do something to the chosen session, beside all else, and say how it went."""
        session = on or self._table.chosen_session()
        if session is None:
            return

        async def carried_out() -> None:
            try:
                self._say(await deed(session))
            except ChatCoordError as error:
                self._say(error.message)

        task = self._loop.create_task(carried_out())
        self._deeds.add(task)
        task.add_done_callback(self._deeds.discard)

    async def _hibernate(self, session: TopSession) -> str:
        order = m.Hibernate(request=self._connection.number(), session=session.id)
        await self._connection.ask(order, m.SessionAnswer)
        return f"{session.name} sleeps."

    async def _pin(self, session: TopSession) -> str:
        order = m.Mark(request=self._connection.number(), session=session.id, mark="pinned", value=not session.pinned)
        await self._connection.ask(order, m.SessionAnswer)
        return f"{session.name} is {'not pinned any more' if session.pinned else 'pinned'}."

    async def _cancel(self, session: TopSession) -> str:
        answer = await cancel(self._connection, session.id)
        return f"The turn of {session.name} is over: {answer.stop_reason}."

    def _ask_to_kill(self) -> None:
        session = self._table.chosen_session()
        if session is not None:
            self._say(f"Kill the worker of {session.name}? y or n")
            self._asked = session

    async def _kill(self, session: TopSession) -> str:
        return after_kill(await kill(self._connection, session.id))
