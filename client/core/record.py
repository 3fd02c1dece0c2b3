"""What a terminal knows of one session: its messages, the reply that grows, notes beside them, and the draft. Pure.

Blocks stand in the order of turns, whatever came first. Pieces of a reply are provisional: a gap is said to the caller,
who fetches the truth; the committed reply takes their place in the end.
"""

from bisect import insort
from dataclasses import dataclass, field
from typing import Literal

from client.core.markdown_cut import stable_end
from protocol.messages import Piece
from protocol.views import HistoryRow

# A longer reply is shown from its end.
SHOWN_BYTES = 256 << 10
CUT_MARK = "[… {left} characters before this are not shown here; `chat-coord history` and /export have them]\n\n"
DROPPED_MARK = "[… {dropped} bytes of this reply were dropped while nobody looked; at its end it is shown whole]\n\n"
LAST = 1 << 60

Kind = Literal["you", "model", "note", "ask", "problem"]


@dataclass(slots=True, eq=False)
class Block:
    """A part of what is shown. ``version`` counts its changes; ``mark`` says that something was not as usual.

    ``done`` is how much of a growing text looks the same for ever.
    """

    place: tuple[int, int, int]
    kind: Kind
    text: str
    mark: str = ""
    version: int = 0
    done: int = 0
    is_growing: bool = False

    def __lt__(self, other: "Block") -> bool:
        return self.place < other.place


@dataclass(slots=True)
class Record:
    """One session as this terminal has seen it.

    ``seen`` is the last message that was fetched, ``first`` the oldest; ``earlier`` counts those before it.
    """

    blocks: list[Block] = field(default_factory=list)
    draft: str = ""
    stored_draft: str = ""
    seen: int = 0
    first: int = 0
    is_loaded: bool = False
    _seqs: set[int] = field(default_factory=set)
    # Turns whose reply is here: what is still under way of their pieces comes too late.
    _answered: set[str] = field(default_factory=set)
    _notes: int = 0
    _growing: Block | None = None
    _turn_id: str | None = None
    _next: int = 0

    # ---- messages

    def take(self, row: HistoryRow) -> None:
        """Take in a committed message; the reply takes the place of its pieces."""
        self.seen = max(self.seen, row.seq)
        self.first = min(self.first or row.seq, row.seq)
        if row.seq in self._seqs:
            return
        self._seqs.add(row.seq)
        if row.role == "user":
            insort(self.blocks, Block((row.seq, 0, 0), "you", row.text))
            return
        turn = row.reply_to or row.seq
        if row.turn_id is not None:
            self._answered.add(row.turn_id)
        growing = self._growing
        if growing is not None and growing.place[0] == turn:
            self.blocks.remove(growing)
            self._growing, self._turn_id = None, None
        mark = "" if row.stop_reason in {None, "completed"} else f"[{row.stop_reason}]"
        if row.error is not None:
            hint = f" {row.error.hint}" if row.error.hint else ""
            mark = f"{mark} {row.error.message}{hint}".strip()
        insort(self.blocks, Block((turn, 1, 0), "model", _shown(row.text), mark))

    def send(self, text: str) -> Block:
        """Show a prompt before it is committed."""
        self._notes += 1
        block = Block((LAST, 0, self._notes), "you", text, "sending …")
        insort(self.blocks, block)
        return block

    def committed(self, block: Block, seq: int) -> None:
        """The prompt is in the store."""
        self.blocks.remove(block)
        if seq not in self._seqs:
            self._seqs.add(seq)
            insort(self.blocks, Block((seq, 0, 0), "you", block.text))

    def unsent(self, block: Block) -> None:
        """The prompt was not taken."""
        self.blocks.remove(block)

    # ---- the reply that grows

    def begin(self, turn_id: str, seq: int, pieces: int, text: str, dropped: int = 0) -> None:
        """Take over what a running turn has said so far; of that, so many bytes were dropped."""
        if turn_id in self._answered:
            return
        growing = self._grow(turn_id, seq)
        if dropped:
            text = DROPPED_MARK.format(dropped=dropped) + text
        growing.text, growing.done, growing.version = text, 0, growing.version + 1
        self._next = pieces

    def add(self, piece: Piece) -> bool:
        """Take in a piece; False when one before it was lost, so that the truth must be fetched."""
        if piece.turn_id in self._answered:
            return True
        growing = self._grow(piece.turn_id, piece.seq)
        if piece.n < self._next:
            return True
        if piece.n > self._next:
            return False
        self._next += 1
        growing.text += piece.text
        if len(growing.text) > SHOWN_BYTES * 2:
            growing.text, growing.done = _shown(growing.text), 0
        growing.version += 1
        return True

    def settle(self) -> int:
        """Return up to where the growing reply looks the same for ever."""
        if self._growing is None:
            return 0
        self._growing.done = stable_end(self._growing.text, self._growing.done)
        return self._growing.done

    def _grow(self, turn_id: str, seq: int) -> Block:
        if self._growing is None or self._turn_id != turn_id:
            if self._growing is not None:
                self.blocks.remove(self._growing)
            self._growing = Block((seq, 1, 0), "model", "", is_growing=True)
            self._turn_id, self._next = turn_id, 0
            insort(self.blocks, self._growing)
        return self._growing

    # ---- notes

    def note(self, text: str, kind: Kind = "note") -> Block:
        """Show something beside the conversation, behind the turn that is the last now."""
        self._notes += 1
        last = max((b.place[0] for b in self.blocks if b.place[0] < LAST), default=0)
        block = Block((last, 2, self._notes), kind, text)
        insort(self.blocks, block)
        return block

    def take_back(self, block: Block) -> None:
        """Remove a note."""
        if block in self.blocks:
            self.blocks.remove(block)


def _shown(text: str) -> str:
    left = len(text) - SHOWN_BYTES
    return CUT_MARK.format(left=left) + text[left:] if left > 0 else text
