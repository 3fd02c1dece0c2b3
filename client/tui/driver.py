"""Input from a real terminal: bytes that are no text do not end the program, and a paste of any size is bounded.

Textual's own reader stops at the first byte that is not UTF-8, and takes a paste apart character by character.
"""

import codecs
import os
import select
from collections.abc import Iterator

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from client.tui.entry import LargePaste
from protocol.limits import PROMPT_BYTES

READ_BYTES = 64 << 10
TICK_S = 0.03
# Of nothing but silence, and a paste that was begun is over.
IDLE_TICKS = 33
BEGIN, END = b"\x1b[200~", b"\x1b[201~"


class Driver(LinuxDriver):
    """A terminal on Linux."""

    def run_input_thread(self) -> None:
        """Read until the program ends."""
        parser = XTermParser(self._debug)
        reader = Reader(parser)
        while not self.exit_event.is_set():
            ready, _, _ = select.select([self.fileno], [], [], TICK_S)
            if ready:
                data = os.read(self.fileno, READ_BYTES)
                if not data:
                    return
                for message in reader.feed(data):
                    self.process_message(message)
            else:
                for message in reader.rest():
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)


class Reader:
    """Bytes of a terminal as messages; a paste is gathered here, everything else is Textual's.

    Args:
        parser: for what is no paste.
    """

    def __init__(self, parser: XTermParser) -> None:
        self._parser = parser
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._paste: bytearray | None = None
        self._size = 0
        self._rest = b""
        self._idle = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take in bytes; yields what they mean."""
        data = self._rest + data
        self._rest, self._idle = b"", 0
        while data:
            mark = BEGIN if self._paste is None else END
            before, found, after = data.partition(mark)
            if not found:
                before, self._rest = _hold_back(data, mark)
            if self._paste is None:
                yield from self._parser.feed(self._decode(before)) if before else ()
                if found:
                    self._paste, self._size = bytearray(), 0
            else:
                self._size += len(before)
                self._paste += before[: max(0, PROMPT_BYTES + 4 - len(self._paste))]
                if found:
                    yield self._pasted(bytes(self._paste))
                    self._paste = None
            data = after

    def rest(self) -> Iterator[Message]:
        """Nothing came for a while: a paste whose end was lost is over, or it would swallow the key that leaves."""
        if self._paste is None:
            if self._rest:
                yield from self._parser.feed(self._decode(self._rest))
                self._rest = b""
            return
        self._idle += 1
        if self._idle >= IDLE_TICKS:
            yield self._pasted(bytes(self._paste + self._rest))
            self._paste, self._rest = None, b""

    def _pasted(self, data: bytes) -> events.Paste:
        text = data.decode("utf-8", errors="replace")
        return events.Paste(text) if self._size <= PROMPT_BYTES else LargePaste(text, self._size)


def _hold_back(data: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """Split off an end that may be the beginning of the mark; if it was none, ``rest`` lets it go after a tick."""
    for size in range(len(mark) - 1, 0, -1):
        if data.endswith(mark[:size]):
            return data[:-size], data[-size:]
    return data, b""
