"""What a worker does with prompts, replies and the loss of its coordinator. Pure.

The coordinator sends a prompt again until it hears of it, and the worker sends a reply again until RACK: so both
recognise what they have seen, the prompt by its seq, the reply by its turn.
"""

from dataclasses import dataclass

from protocol.messages import Deliver, Reply


@dataclass(frozen=True, slots=True)
class Running:
    """The turn that is being answered."""

    seq: int
    turn_id: str
    prompt: str


class Turns:
    """At most one turn runs; a reply is kept until it is confirmed."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.unconfirmed: Reply | None = None
        self._highest_seq = 0

    def accept(self, deliver: Deliver, turn_id: str) -> Running | None:
        """Return the turn to begin, or None when the prompt was seen before."""
        if deliver.seq <= self._highest_seq:
            return None
        self._highest_seq = deliver.seq
        self.running = Running(deliver.seq, turn_id, deliver.text)
        return self.running

    def finish(self, reply: Reply) -> None:
        """The turn is over; the reply waits for its RACK."""
        self.running = None
        self.unconfirmed = reply

    def confirm(self, turn_id: str) -> bool:
        """The reply is committed; True when the outbox can go, because it was the last that this worker noted."""
        if self.unconfirmed is None or self.unconfirmed.turn_id != turn_id:
            return False
        self.unconfirmed = None
        return self.running is None  # a RACK that comes late must not take the next turn's start along

    @property
    def in_hand(self) -> tuple[int | None, str | None]:
        """Seq and turn that HELLO names after a reconnect: the running one, or the one whose reply is unconfirmed."""
        held = self.running or self.unconfirmed
        return (held.seq, held.turn_id) if held is not None else (None, None)
