"""How often a worker may be restarted: OTP's restart intensity with an exponential back-off."""

from collections import deque

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
# Enough of them to pass the longest delay, and no more: the power must not grow with the number of restarts.
DOUBLINGS = 10


class RestartBudget:
    """The restarts of one session within a sliding window.

    Args:
        limit: restarts allowed within the window.
        window_s: the window's length.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        # Made with the first restart: most sessions of many never need one.
        self._spent: deque[float] | None = None

    def spend(self, now_s: float) -> float | None:
        """Count a restart.

        Args:
            now_s: monotonic time in seconds.

        Returns:
            Seconds to wait before the restart (the first comes at once, then 0.1 s doubling to 10 s), or None when
            the budget is spent.
        """
        earlier = self.count(now_s)
        if earlier >= self._limit:
            return None
        if self._spent is None:
            self._spent = deque()
        self._spent.append(now_s)
        return 0.0 if earlier == 0 else min(FIRST_DELAY_S * 2 ** min(earlier - 1, DOUBLINGS), LONGEST_DELAY_S)

    def renew(self) -> None:
        """Forget what was spent: a person asked for another try."""
        self._spent = None

    def count(self, now_s: float) -> int:
        """Return the restarts within the window that ends now (monotonic seconds)."""
        if self._spent is None:
            return 0
        while self._spent and now_s - self._spent[0] > self._window_s:
            self._spent.popleft()
        return len(self._spent)
