"""What of a reply is on the screen already. Pure.

Pieces are provisional: some may be lost. The committed reply is the truth, and what the screen lacks is added at the
end; when pieces were lost in between, the whole reply is shown again under a mark.
"""

from protocol.messages import Piece

LOST_MARK = "\n[… some of the reply was lost on the way; here it is whole]\n"
AGAIN_MARK = "\n[… the turn was interrupted; it begins again]\n"


class Transcript:
    """One reply as it grows."""

    def __init__(self) -> None:
        self._shown = ""
        self._next = 0
        self._turn_id: str | None = None
        self._seq: int | None = None

    @property
    def turn_id(self) -> str | None:
        """The turn of which something is shown."""
        return self._turn_id

    def begin(self, turn_id: str | None, pieces: int, text: str) -> str:
        """Catch up with a turn that runs already; returns what to show."""
        self._turn_id, self._next, self._shown = turn_id, pieces, text
        return text

    def add(self, piece: Piece) -> str:
        """Take in a piece; returns what to show, nothing once one was lost."""
        mark = ""
        if self._turn_id != piece.turn_id:
            mark = AGAIN_MARK if self._shown and self._seq == piece.seq else ""
            self._turn_id, self._next, self._shown, self._seq = piece.turn_id, 0, "", piece.seq
        if piece.n != self._next:
            return mark
        self._next += 1
        self._shown += piece.text
        return mark + piece.text

    def finish(self, reply: str) -> str:
        """Return what the screen still lacks of the committed reply, and be ready for the next."""
        shown, self._shown, self._next, self._turn_id = self._shown, "", 0, None
        if reply.startswith(shown):
            return reply[len(shown) :]
        return LOST_MARK + reply
