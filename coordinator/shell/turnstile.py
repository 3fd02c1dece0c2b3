"""How many messages of one peer may wait for the main loop at once: whoever sends faster than it is served waits alone.

libzmq takes peers in turn, but what it has given us stands in one inbox in the order in which it came. Without a bound
a peer that sends ten thousand messages a second would fill it, and everybody else would stand behind (faults.md, 39).
"""

# A peer that waits for its answers has one or a few; a program that hands over two hundred prompts at once is served.
# So many take the coordinator about 15 ms, which is what others may have to wait for it.
PENDING = 250
# How often a peer that sends more is told so.
TELL_S = 0.5


class Turnstile:
    """Counts what waits, by peer."""

    def __init__(self) -> None:
        self._pending: dict[bytes, int] = {}
        self._told: dict[bytes, float] = {}
        self.turned_away = 0

    def lets_in(self, peer: bytes) -> bool:
        """Count one more of the peer's messages; False when it has too many here already."""
        waiting = self._pending.get(peer, 0)
        if waiting >= PENDING:
            self.turned_away += 1
            return False
        self._pending[peer] = waiting + 1
        return True

    def let_out(self, peer: bytes) -> None:
        """One of them was served."""
        waiting = self._pending.pop(peer, 1) - 1
        if waiting > 0:
            self._pending[peer] = waiting
        else:
            self._told.pop(peer, None)

    def should_tell(self, peer: bytes, now_s: float) -> bool:
        """Say whether it is time to tell the peer that it is turned away; more answers would be a flood of our own."""
        if now_s - self._told.get(peer, -TELL_S) < TELL_S:
            return False
        self._told[peer] = now_s
        return True
