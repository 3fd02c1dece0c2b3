"""The arithmetic of a comparison, and the order in which both sides are measured.

Machines are shared and noisy, so sides take turns within one run (A B A B …) and what counts is the ratio of their
medians. The spread is what the same ratio was in each round.
"""

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "chat-coord"

Take = Callable[[], Awaitable[list[float]]]


def percentile(values: list[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that so many percent of all are not above.

    Args:
        values: at least one.
        percent: above 0, up to 100.
    """
    ranked = sorted(values)
    rank = -(-len(ranked) * percent // 100)
    return ranked[max(0, int(rank) - 1)]


@dataclass(frozen=True)
class Samples:
    """What one side gave: a list for each round, all in the unit of the comparison."""

    rounds: list[list[float]]

    @property
    def all(self) -> list[float]:
        """Every sample of every round."""
        return [value for one in self.rounds for value in one]

    @property
    def median(self) -> float:
        """The median of all samples."""
        return statistics.median(self.all)

    @property
    def round_medians(self) -> list[float]:
        """The median of each round."""
        return [statistics.median(one) for one in self.rounds]


@dataclass(frozen=True)
class Ratio:
    """How many times the other side's median ours is; ``low`` and ``high`` are the extremes over single rounds."""

    value: float
    low: float
    high: float


def ratio(ours: Samples, theirs: Samples) -> Ratio:
    """Return the ratio of medians with its pairwise spread; both sides must have the same number of rounds."""
    pairs = [a / b for a, b in zip(ours.round_medians, theirs.round_medians, strict=True)]
    return Ratio(ours.median / theirs.median, min(pairs), max(pairs))


@dataclass(frozen=True)
class Goal:
    """A claim about one figure.

    ``value`` and ``limit`` share a unit that ``text`` names; ``is_floor`` says that the value must not be below the
    limit instead of not above it.
    """

    text: str
    value: float
    limit: float
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps what the claim says."""
        return self.value >= self.limit if self.is_floor else self.value <= self.limit


@dataclass
class Comparison:
    """One thing measured on several sides; the first side is the one that the others are compared with."""

    what: str
    unit: str
    sides: dict[str, Samples]
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        """The name of the side that the ratios are of."""
        return next(iter(self.sides))

    def ratio_to(self, side: str) -> Ratio:
        """Return the first side's median over this side's."""
        return ratio(self.sides[self.first], self.sides[side])

    def at_most(self, times: float, side: str, text: str) -> None:
        """Claim that the first side's median is at most so many times this side's."""
        self.goals.append(Goal(text, self.ratio_to(side).value, times))

    def within(self, limit: float, text: str, percent: float | None = None) -> None:
        """Claim that the first side's median, or its percentile, is at most ``limit`` in the comparison's unit."""
        ours = self.sides[self.first]
        value = ours.median if percent is None else percentile(ours.all, percent)
        self.goals.append(Goal(text, value, limit))

    def above(self, limit: float, text: str) -> None:
        """Claim that the first side's median is at least ``limit`` in the comparison's unit."""
        self.goals.append(Goal(text, self.sides[self.first].median, limit, is_floor=True))

    def document(self) -> dict[str, Any]:
        """Return everything as plain data."""
        sides = {}
        for name, samples in self.sides.items():
            values = samples.all
            sides[name] = {
                "n": len(values),
                "median": samples.median,
                "min": min(values),
                "max": max(values),
                "p99": percentile(values, 99),
                "rounds": samples.rounds,
            }
            if name != self.first:
                sides[name]["ratio"] = vars(self.ratio_to(name))
        goals = [vars(goal) | {"is_met": goal.is_met} for goal in self.goals]
        return {"what": self.what, "unit": self.unit, "sides": sides, "goals": goals, "notes": self.notes}


async def in_turn(sides: Mapping[str, Take], rounds: int) -> dict[str, Samples]:
    """Measure every side once in each round, in the given order, and return what each gave."""
    taken: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, take in sides.items():
            taken[name].append(await take())
    return {name: Samples(lists) for name, lists in taken.items()}
