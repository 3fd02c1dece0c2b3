"""What a worker does with prompts, replies, asks and the loss of its coordinator. Pure.

The coordinator sends a prompt again until it hears of it, and the worker sends what ends a leg of a turn - a reply, or
an ask - again until it is confirmed: so both recognise what they have seen, the prompt by its seq and leg, the end by
its turn and leg.
"""

from dataclasses import dataclass

from protocol.messages import Asked, AskNoted, Continue, Deliver, Image, Reply
from protocol.views import Usage
from workers.core.calls import Resume

NOTHING = Usage()
# Behind every leg of a turn.
LAST = 1 << 53


@dataclass(frozen=True, slots=True)
class Running:
    """The turn that is being answered. ``said``, ``pieces`` and ``usage`` are those of the legs before."""

    seq: int
    turn_id: str
    prompt: str
    leg: int = 0
    said: str = ""
    pieces: int = 0
    usage: Usage = NOTHING
    resume: Resume | None = None
    images: tuple[Image, ...] = ()


class Turns:
    """At most one turn runs; what ends its leg is kept until it is confirmed."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.unconfirmed: Reply | Asked | None = None
        self._highest = (0, 0)

    def accept(self, order: Deliver | Continue, turn_id: str) -> Running | None:
        """Return the turn to begin or to go on with, or None when that was seen before."""
        leg = order.leg if isinstance(order, Continue) else 0
        if (order.seq, leg) <= self._highest:
            return None
        self._highest = (order.seq, leg)
        if isinstance(order, Continue):
            self.running = _going_on(order)
        else:
            self.running = Running(order.seq, turn_id, order.text, images=tuple(order.images))
        return self.running

    def refuse(self, seq: int) -> bool:
        """Do not begin this prompt if it comes, nor go on with it; False when that is too late."""
        if self._highest >= (seq, LAST) or (self.running is not None and self.running.seq == seq):
            return False
        self._highest = (seq, LAST)
        return True

    def finish(self, end: Reply | Asked) -> None:
        """The leg is over; its end waits to be confirmed."""
        self.running = None
        self.unconfirmed = end
        if isinstance(end, Reply):
            self._highest = max(self._highest, (end.seq, LAST))

    def confirm(self, turn_id: str) -> bool:
        """The turn is over and stored; True when the outbox can go, because it was the last that this worker noted."""
        if self.unconfirmed is None or self.unconfirmed.turn_id != turn_id:
            return False
        self.unconfirmed = None
        return self.running is None  # a RACK that comes late must not take the next turn's start along

    def confirm_asks(self, noted: AskNoted) -> bool:
        """The asks are stored; True when the outbox can go."""
        kept = self.unconfirmed
        if not isinstance(kept, Asked) or (kept.turn_id, kept.leg) != (noted.turn_id, noted.leg):
            return False
        self.unconfirmed = None
        return self.running is None

    @property
    def in_hand(self) -> tuple[int | None, str | None, int]:
        """What HELLO names after a reconnect: the running turn, or the one whose end is unconfirmed; and its leg."""
        held = self.running or self.unconfirmed
        if held is None:
            return None, None, 0
        return held.seq, held.turn_id, held.leg if isinstance(held, Running | Asked) else 0


def _going_on(order: Continue) -> Running:
    resume = Resume(
        state=order.state,
        approved={d.call: d.digest for d in order.decisions if d.approved},
        denied={d.call: d.why for d in order.decisions if not d.approved},
        answers={d.call: d.why for d in order.decisions if d.approved},
    )
    return Running(order.seq, order.turn_id, order.text, order.leg, order.said, order.pieces, order.usage, resume)
