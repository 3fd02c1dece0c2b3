"""A broken product is attacked at the place that exposes it, until the audit catches it."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from client.connection import Connection
from tests.chaos.mutants import MUTANTS, command_of
from tests.chaos.rig import Rig, faults

# How long a broken product may take to show it, and to answer what it still will when it is left alone.
MUTANT_S = 180.0
MUTANT_QUIET_S = 8.0


@dataclass
class Caught:
    """What an attack found, in how many kills."""

    mutant: str
    kills: int = 0
    found: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    @property
    def faults(self) -> dict[str, int]:
        return faults(self.found)

    def __str__(self) -> str:
        said = ", ".join(f"{n} {what.lower()}" for what, n in self.faults.items()) or "nothing"
        return (
            f"{self.mutant}: {said} after {self.kills} kills, {self.found['acknowledged']} prompts, {self.took_s:.0f} s"
        )


@dataclass
class Person:
    """One client and its session."""

    rig: Rig
    connection: Connection
    session: str
    name: str
    dice: random.Random
    prompts: int = 0

    async def talk(self, stopping: asyncio.Event) -> None:
        """Send a prompt after the other, some at once, some after the reply."""
        while not stopping.is_set():
            self.prompts += 1
            text = f"count {self.dice.choice((1, 3, 15))} {self.name}p{self.prompts}"
            seq = await self.rig.submit(self.connection, self.session, text)
            if self.dice.random() < 0.7:
                await self.rig.answered(self.connection, self.session, seq)
            await asyncio.sleep(self.dice.uniform(0, 0.1))


async def run_mutant(name: str, most_kills: int) -> Caught:
    """Attack a broken product until it is caught: every coordinator dies at the failpoint that exposes the mutant."""
    report = Caught(name)
    begun_s = time.monotonic()
    mutant = MUTANTS[name]
    async with Rig(command_of(name), {"CC_FAILPOINT": mutant.failpoint}, is_once=mutant.is_once) as rig:
        client = await rig.connect()
        person = Person(rig, client, await rig.create(client, "a"), "a", random.Random(0))
        is_over = False
        while not is_over:
            stopping = asyncio.Event()
            talk = asyncio.create_task(person.talk(stopping))
            goal = 2 if mutant.is_once else rig.fleet.starts + 2
            while rig.fleet.starts < goal and not talk.done():
                await asyncio.sleep(0.02)
                if time.monotonic() - begun_s > MUTANT_S:
                    break
            stopping.set()
            await asyncio.wait({talk}, timeout=MUTANT_QUIET_S)
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
            report.found = await rig.audit(client, MUTANT_QUIET_S)
            report.kills = rig.fleet.starts - 1
            is_late = time.monotonic() - begun_s > MUTANT_S
            is_over = is_late or report.kills >= most_kills or mutant.fault in report.faults
            await asyncio.sleep(0.1)  # a process that is to show itself may still be on its way
    report.took_s = time.monotonic() - begun_s
    return report
