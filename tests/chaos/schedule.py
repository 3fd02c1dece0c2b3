"""Who is killed, and when: everything that a seed decides."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Target = Literal["worker", "coordinator", "both", "zygote", "group"]
TARGETS: tuple[Target, ...] = ("worker", "coordinator", "both", "zygote", "group")
WEIGHTS = (60, 22, 8, 5, 5)
# What must have happened since the kill before: nothing (a start may be hit), a coordinator answers, a prompt was
# acknowledged, a model was asked. Told by what happens and not by a clock, so that a slow machine is hit as hard.
Moment = Literal["any", "serving", "acknowledged", "asked"]
MOMENTS: tuple[Moment, ...] = ("any", "serving", "acknowledged", "asked")
MOMENT_WEIGHTS = (12, 18, 35, 35)
LONGEST_S = 0.4


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: how long after which moment, whom, and which of several (a number from 0 to 1)."""

    moment: Moment
    delay_s: float
    target: Target
    which: float


def schedule(seed: int) -> Iterator[Kill]:
    """Yield the kills of a run, without end."""
    dice = random.Random(f"kills {seed}")
    while True:
        yield Kill(
            dice.choices(MOMENTS, MOMENT_WEIGHTS)[0],
            dice.uniform(0.0, LONGEST_S),
            dice.choices(TARGETS, WEIGHTS)[0],
            dice.random(),
        )


class Script:
    """What one client does in one round: sessions, prompts, pauses.

    Args:
        seed: of the run.
        lap: which round.
        client: which client.
        sessions: how many there are to choose from.
    """

    def __init__(self, seed: int, lap: int, client: int, sessions: int) -> None:
        self._dice = random.Random(f"client {seed} {lap} {client}")
        self._sessions = sessions
        self._stem = f"{lap}-{client}"
        self._count = 0

    def next(self) -> tuple[int, str, float]:
        """Return the session's index, the prompt, and the pause before it in seconds."""
        self._count += 1
        tag = f"{self._stem}-{self._count}."
        text = f"raw {tag}" if self._dice.random() < 0.3 else f"count {self._dice.randint(2, 20)} {tag}"
        return self._dice.randrange(self._sessions), text, self._dice.uniform(0.0, 0.25)
