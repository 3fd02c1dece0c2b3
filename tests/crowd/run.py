"""The crowd: every session is talked to at random, and the bounds are watched from outside.

Nothing here asks the product how many slots or permits are in use: workers are counted as processes, requests by the
model's server as open connections. At the end every prompt must have its one end, every reply its text, and what the
model was shown must be that session's own past, whole and in order.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from client.connection import Connection
from tests.chaos.rig import PATIENCE_S, Rig, faults
from tests.support.fleet import wait_until

# A prompt of a session waits behind at most so many others.
MOST_WAITING = 3
LOOK_S = 0.02
TALKERS = 6
# All permits must be usable again so soon after the last kill.
PERMITS_BACK_S = 30.0


@dataclass
class Seen:
    """What was seen."""

    seed: int
    sessions: int
    cap: int
    permits: int
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    most_workers: int = 0
    most_requests: int = 0
    prompts: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, int] = field(default_factory=dict)
    permits_back_s: float | None = None

    def __str__(self) -> str:
        what = f"{self.sessions} sessions, cap {self.cap}, {self.permits} permits, {self.seconds:.0f} s"
        lines = [
            f"seed {self.seed}: {what}, kills {dict(sorted(self.kills.items()))}",
            f"prompts acknowledged: {self.prompts}, ends: {dict(sorted(self.ends.items()))}",
            f"most workers at once: {self.most_workers}, most requests at once: {self.most_requests}",
            f"all permits usable again {self.permits_back_s:.1f} s after the last kill"
            if self.permits_back_s is not None
            else f"NOT all permits were usable again within {PERMITS_BACK_S:.0f} s",
            f"wrong: {self.wrong or 'nothing'}",
        ]
        return "\n".join(lines)

    @property
    def is_good(self) -> bool:
        """Say whether every promise held."""
        within = self.most_workers <= self.cap and self.most_requests <= self.permits
        return within and not self.wrong and self.permits_back_s is not None


class Crowd:
    """One run.

    Args:
        rig: the product, not yet started.
        seen: what shall be tried, and what is seen.
    """

    def __init__(self, rig: Rig, seen: Seen) -> None:
        self._rig = rig
        self._seen = seen
        self._dice = random.Random(seen.seed)
        self._ids: dict[str, str] = {}
        self._said: dict[str, list[str]] = {}
        self._completed: set[str] = set()
        self._is_over = asyncio.Event()
        self._is_spent = asyncio.Event()  # nobody is killed any more

    async def run(self, seconds: float, kills: int) -> None:
        """Let them talk for so long, and until all kills are done; then compare."""
        begun_s = time.monotonic()
        quiet = await self._rig.connect()
        for n in range(self._seen.sessions):
            self._ids[f"s{n}"] = await self._rig.create(quiet, f"s{n}")
        jobs = [asyncio.create_task(job) for job in (self._watch(), self._kill(seconds, kills))]
        talkers = [asyncio.create_task(self._talk(n, seconds)) for n in range(TALKERS)]
        await asyncio.gather(jobs[1], *talkers)
        self._seen.permits_back_s = await self._permits_are_back(quiet)
        found = await self._rig.audit(quiet, patience_s=2 * PATIENCE_S)
        for session in self._ids.values():
            rows = await self._rig.history(quiet, session)
            ended = {row.reply_to for row in rows if row.stop_reason == "completed"}
            self._completed |= {row.text for row in rows if row.seq in ended}
        self._is_over.set()
        await jobs[0]
        self._judge(found)
        self._seen.seconds = time.monotonic() - begun_s

    # ---- what happens

    async def _talk(self, number: int, seconds: float) -> None:
        dice = random.Random(f"{self._seen.seed} {number}")
        client = await self._rig.connect()
        end_s = time.monotonic() + seconds
        names = list(self._ids)[number::TALKERS]  # one client a session: what it sends first is answered first
        while time.monotonic() < end_s or not self._is_spent.is_set():
            name = dice.choice(names)
            said = self._said.setdefault(name, [])
            announced = self._rig.ledger.announced.setdefault(self._ids[name], set())
            if len(said) - len(announced) >= MOST_WAITING:  # or a coordinator died before it announced them
                rows = await self._rig.history(client, self._ids[name])
                announced |= {row.reply_to for row in rows if row.reply_to is not None}
            else:
                prompt = f"count {dice.randint(1, 30)} {name}.{len(said)}."
                said.append(prompt)
                await self._rig.submit(client, self._ids[name], prompt)
            await asyncio.sleep(dice.uniform(0.0, 0.1))

    async def _watch(self) -> None:
        while not self._is_over.is_set():
            self._seen.most_workers = max(self._seen.most_workers, len(self._rig.workers()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), LOOK_S)

    async def _kill(self, seconds: float, kills: int) -> None:
        """Workers that are being answered, and now and then the coordinator."""
        for _ in range(kills):
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * seconds / kills)
            if self._dice.random() < 0.2:
                self._rig.kill(self._rig.fleet.coordinator)
                self._seen.kills["coordinator"] += 1
                continue
            holders = await wait_until(self._holders, PATIENCE_S, "nobody asked the model")
            self._rig.kill(self._dice.choice(holders))
            self._seen.kills["worker with a permit"] += 1
        self._is_spent.set()

    def _holders(self) -> list[int]:
        """Return the workers whose request is open at the model's server."""
        asking = {call.prompt.split()[2].split(".")[0] for call in self._rig.model.open_calls()}
        return [pid for pid, name in sorted(self._rig.workers().items()) if name in asking]

    async def _permits_are_back(self, quiet: Connection) -> float | None:
        """Return how soon so many requests ran at once as there are permits, after all kills."""
        begun_s = time.monotonic()
        model = self._rig.model
        for name, session in list(self._ids.items())[: self._seen.permits]:
            prompt = f"count 400 {name}.{len(self._said.setdefault(name, []))}."
            self._said[name].append(prompt)
            await self._rig.submit(quiet, session, prompt)
        while time.monotonic() - begun_s < PERMITS_BACK_S:
            if model.at_once >= self._seen.permits:
                return time.monotonic() - begun_s
            await asyncio.sleep(LOOK_S)
        return None

    # ---- what is compared

    def _judge(self, found: Counter[str]) -> None:
        seen = self._seen
        seen.most_requests = self._rig.model.most_at_once
        seen.prompts = found["acknowledged"]
        seen.ends = Counter({what: n for what, n in found.items() if what.islower() and what != "acknowledged"})
        seen.wrong = faults(found)
        mixed = self._mixed()
        if mixed:
            seen.wrong["A STRANGER'S OR A BROKEN PAST"] = mixed

    def _mixed(self) -> int:
        """Count the requests whose conversation was not the session's own past: every prompt before, once, in order.

        A turn that was cut before its first word left no answer, and a model is shown only what has one.
        """
        wrong = 0
        for call in list(self._rig.model.calls):
            name, _, number = call.prompt.split()[2].rstrip(".").partition(".")
            shown = [message["content"] for message in call.messages if message["role"] == "user"]
            past = self._said[name][: int(number) + 1]
            is_own = shown == [prompt for prompt in past if prompt in set(shown)]
            wrong += not (is_own and {p for p in past if p in self._completed} <= set(shown))
        return wrong


async def run(*, seed: int, sessions: int, cap: int, permits: int, seconds: float, kills: int) -> Seen:
    """Run and return what was seen."""
    seen = Seen(seed, sessions, cap, permits)
    rig = Rig()
    text = (rig.product.home / "config.toml").read_text()
    rig.product.configure(f"max_active_sessions = {cap}\nmax_concurrent_api_calls = {permits}\n{text}")
    async with rig:
        await Crowd(rig, seen).run(seconds, kills)
    return seen
