"""Time that passes only when the next thing happens, and the only source of chance."""

import heapq
import random
from collections.abc import Callable
from typing import Any

# 2024-01-01, so that wall times look like wall times.
WALL_S = 1_704_067_200.0


class Schedule:
    """What will happen, in order of time; of two at the same time the one that was ordered first.

    Args:
        seed: the same seed gives the same run, to the last byte.
    """

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self.random = self.rng.random
        self.now_s = 1_000.0
        self.wall_jumps_s = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._orders = 0

    def after(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        """Let something happen after so many seconds."""
        self._orders += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._orders, do, args))

    def soon(self, up_to_s: float, do: Callable[..., None], *args: Any) -> None:
        """Let something happen within so many seconds."""
        self.after(self.random() * up_to_s, do, *args)

    def run_next(self) -> None:
        """Go to the next thing and do it."""
        due_s, _, do, args = heapq.heappop(self._heap)
        self.now_s = max(self.now_s, due_s)
        do(*args)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: everything that was due meanwhile happens late, in its order."""
        self.now_s += seconds

    @property
    def wall_s(self) -> float:
        """What the clock on the wall shows, which people and NTP move."""
        return WALL_S + self.now_s + self.wall_jumps_s

    def chance(self, probability: float) -> bool:
        """Say yes so often."""
        return self.random() < probability

    def between(self, least: float, most: float) -> float:
        """Choose a time."""
        return least + (most - least) * self.random()
