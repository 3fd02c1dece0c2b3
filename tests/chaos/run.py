"""A run: clients that send, a killer that kills, a quiet barrier every 20 kills, and the audit of everything promised.

The seed gives the schedule: who is killed, in which order, after how long, and what clients send and wait for. What
the kill hits is decided by the processes themselves, so a replay attacks in the same way and may find something else.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from client.connection import Connection
from tests.chaos.mutants import MUTANTS, command_of
from tests.chaos.rig import Rig, faults
from tests.support.product import our_processes

SESSIONS = 4
KILLS_OF_A_ROUND = 20
# What is killed, and how often among a hundred kills.
TARGETS = {"worker": 45, "coordinator": 35, "both": 10, "zygote": 5, "everything": 5}
# How long a broken product may take to show it, and to answer what it still will when it is left alone.
MUTANT_S = 60.0
MUTANT_QUIET_S = 8.0
PAUSE_S = (0.02, 1.5)


@dataclass
class Report:
    """What a run found."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    took_s: float = 0.0

    @property
    def faults(self) -> dict[str, int]:
        return faults(self.found)

    def __str__(self) -> str:
        names = (
            "PROMPTS LOST", "PROMPTS TWICE", "REPLIES TWICE", "FINISHED REPLIES LOST", "OUT OF ORDER", "WRONG TEXT",
            "UNANSWERED", "WITHOUT A REASON", "GAPS", "API CALLS REPEATED", "TWO WORKERS OF A SESSION",
        )  # fmt: skip
        ends = ", ".join(f"{n} {end}" for end, n in sorted(self.found.items()) if not end.isupper())
        targets = ", ".join(f"{n} {target}" for target, n in sorted(self.kills.items()))
        kills = f"{self.kills.total()} kills in {self.took_s:.0f} s ({targets})"
        head = f"seed {self.seed}: {kills}, {self.starts} starts of the coordinator"
        return "\n".join([head, f"  {ends}", *(f"  {name.lower()}: {self.found[name]}" for name in names)])


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


async def run(seed: int, kills: int) -> Report:
    """Attack a home of its own.

    Args:
        seed: the schedule.
        kills: how many.
    """
    dice = random.Random(seed)
    report = Report(seed)
    begun_s = time.monotonic()
    async with Rig() as rig:
        auditor = await rig.connect()
        people = []
        for name in (f"s{n}" for n in range(SESSIONS)):
            session = await rig.create(auditor, name)
            people.append(Person(rig, await rig.connect(), session, name, random.Random(dice.random())))
        while report.kills.total() < kills and not report.faults:
            stopping = asyncio.Event()
            talks = [asyncio.create_task(person.talk(stopping)) for person in people]
            for _ in range(min(KILLS_OF_A_ROUND, kills - report.kills.total())):
                await asyncio.sleep(dice.uniform(*PAUSE_S))
                target = dice.choices(list(TARGETS), list(TARGETS.values()))[0]
                rig.kill(*_victims(rig, target, dice))
                report.kills[target] += 1
            stopping.set()
            await asyncio.gather(*talks)
            report.found = await rig.audit(auditor)
        report.starts = rig.starts
    report.took_s = time.monotonic() - begun_s
    return report


async def run_mutant(name: str, most_kills: int) -> Report:
    """Attack a broken product until it is caught: every coordinator dies at the failpoint that exposes the mutant."""
    report = Report(0)
    begun_s = time.monotonic()
    mutant = MUTANTS[name]
    async with Rig(command_of(name), {"CC_FAILPOINT": mutant.failpoint}) as rig:
        if mutant.is_once:
            rig.product.env["CC_FAILPOINT_ONCE"] = str(rig.folder)
        client = await rig.connect()
        person = Person(rig, client, await rig.create(client, "a"), "a", random.Random(0))
        while report.kills.total() < most_kills and not report.faults:
            stopping = asyncio.Event()
            talk = asyncio.create_task(person.talk(stopping))
            goal = 2 if mutant.is_once else rig.starts + 2
            while rig.starts < goal and not talk.done():
                await asyncio.sleep(0.02)
                if time.monotonic() - begun_s > MUTANT_S:
                    break
            stopping.set()
            await asyncio.wait({talk}, timeout=MUTANT_QUIET_S)
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
            report.found = await rig.audit(client, MUTANT_QUIET_S)
            report.kills["coordinator"] = rig.starts - 1
        report.starts = rig.starts
    report.took_s = time.monotonic() - begun_s
    return report


def _victims(rig: Rig, target: str, dice: random.Random) -> list[int]:
    workers = sorted(rig.workers().items(), key=lambda item: item[1])
    worker = [dice.choice(workers)[0]] if workers else []
    match target:
        case "worker":
            return worker
        case "coordinator":
            return [rig.pid]
        case "both":
            return [rig.pid, *worker]
        case "zygote":
            return [pid for pid, title in our_processes(rig.folder).items() if title == "chat-coord: zygote"]
        case _:
            return list(our_processes(rig.folder))
