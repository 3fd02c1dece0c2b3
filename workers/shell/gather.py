"""Pieces of a reply gathered for a moment: a message each 20 ms instead of one for each token."""

import asyncio
from collections.abc import Callable

from protocol.limits import PIECE_BYTES

GATHER_S = 0.02


class Gatherer:
    """Collects text and hands it on in numbered pieces; the first at once, since a person waits for it.

    Args:
        send: called with the piece's number and text.
        pieces: how many there were before.
    """

    def __init__(self, send: Callable[[int, str], None], pieces: int = 0) -> None:
        self._send = send
        self._text: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self.pieces = self._before = pieces

    def add(self, text: str) -> None:
        """Take in some text."""
        if not text:
            return
        self._text.append(text)
        if self.pieces == self._before:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Hand on what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text, self._text = "".join(self._text), []
        step = PIECE_BYTES // 4  # a character has at most four bytes
        for start in range(0, len(text), step):
            self._send(self.pieces, text[start : start + step])
            self.pieces += 1
