"""When a provider may be asked again: a gate that its refusals close for everybody, and budgets by the minute. Pure."""

import zlib
from collections import deque

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
# Enough to reach the longest back-off, and no more: the power must not grow with the number of refusals.
DOUBLINGS = 6
# What a provider may ask for at most; beyond it, it is asked again.
LONGEST_BAR_S = 3_600.0
# Several coordinators may share a key and be refused at once: each comes back a little later than it was told.
JITTER_SHARE = 0.1
JITTER_MOST_S = 5.0
# A worker's own account of how long it is barred repeats what is known, give or take the way of the message.
REPEATED_S = 1.0
WINDOW_S = 60.0


class Gate:
    """Closed until ``until_s``; then ``allowed`` requests at once, one more with each success, until None: no bound.

    Args:
        name: whose gate it is; seeds its jitter.
    """

    def __init__(self, name: str) -> None:
        self.until_s = 0.0
        self.allowed: int | None = None
        self._name = name
        self._failures = 0
        self._closings = 0

    def close(self, granted_s: float, retry_after_s: float | None, now_s: float) -> None:
        """A request was refused for its rate. Of those that were under way together, one counts.

        Args:
            granted_s: when the request got its permit.
            retry_after_s: what the answer asked for; None: the back-off, 1 s doubling to 60 s.
            now_s: monotonic time in seconds.
        """
        is_new = granted_s >= self.until_s
        if retry_after_s is None:
            if not is_new:
                return
            wait_s = min(FIRST_BACKOFF_S * 2 ** min(self._failures, DOUBLINGS), LONGEST_BACKOFF_S)
        else:
            wait_s = min(max(retry_after_s, 0.0), LONGEST_BAR_S)
        self._failures += is_new
        self._closings += 1
        until_s = now_s + wait_s + self._jitter_s(wait_s)
        self.until_s = max(self.until_s, until_s)
        self.allowed = 1

    def bar(self, seconds: float, now_s: float) -> None:
        """A worker remembers that the endpoint wants to be left alone: news only to a coordinator that is new."""
        if now_s + min(seconds, LONGEST_BAR_S) > self.until_s + REPEATED_S:
            self.close(now_s, seconds, now_s)

    def succeed(self, granted_s: float, limit: int) -> None:
        """A request that went out after the gate had opened was answered: one more may go at once."""
        if self.allowed is None or granted_s < self.until_s:
            return
        self._failures = 0
        self.allowed += 1
        if self.allowed >= limit:
            self.allowed = None

    def _jitter_s(self, wait_s: float) -> float:
        share = zlib.crc32(f"{self._name} {self._closings}".encode()) / 0xFFFFFFFF
        return share * min(JITTER_SHARE * wait_s, JITTER_MOST_S)


class Window:
    """How much happened within the last WINDOW_S."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, amount: int, now_s: float) -> None:
        """Count."""
        if amount:
            self._forget(now_s)
            self._entries.append((now_s, amount))
            self._sum += amount

    def free_s(self, limit: int, now_s: float) -> float | None:
        """Return when less than the limit will have happened within the window; None: that is so now."""
        self._forget(now_s)
        left = self._sum
        if left < limit:
            return None
        for at_s, amount in self._entries:
            left -= amount
            if left < limit:
                return at_s + WINDOW_S
        return None

    def _forget(self, now_s: float) -> None:
        while self._entries and self._entries[0][0] + WINDOW_S <= now_s:
            self._sum -= self._entries.popleft()[1]
