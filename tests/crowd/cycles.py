"""``python -m tests.crowd.cycles --cycles 1000``: a session is put to sleep and woken, again and again.

It stays what it is: its conversation as the model is shown it, its settings, counters, draft and marks.
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from client.connection import Connection
from protocol import messages as m
from tests.chaos.rig import Rig

# A prompt in each so manieth cycle; it shows what the model is shown, and its answer makes the past longer.
PROMPT_EVERY = 5
SAME = ("id", "name", "number", "type", "model", "cwd", "messages", "tokens", "pinned", "archived", "created_at")


@dataclass
class Cycles:
    """What was seen."""

    cycles: int = 0
    changed: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    left_behind: int = 0
    down_ms: list[float] = field(default_factory=list)
    up_ms: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        def figures(values: list[float]) -> str:
            ordered = sorted(values)
            return f"p50 {statistics.median(values):.1f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.1f} ms"

        return (
            f"{self.cycles} cycles in {len(self.pids)} processes, {self.left_behind} of them left behind\n"
            f"hibernate {figures(self.down_ms)}; wake {figures(self.up_ms)}\n"
            f"changed: {self.changed[:5] or 'nothing'}"
        )


async def run(cycles: int) -> Cycles:
    """Run and return what was seen."""
    seen = Cycles()
    async with Rig() as rig:
        client = await rig.connect()
        session = await rig.create(client, "a")
        draft = m.Mark(request=client.number(), session=session, mark="draft", value="half a thou")
        await client.ask(draft, m.SessionAnswer)
        said: list[str] = []
        for n in range(cycles):
            if n % PROMPT_EVERY == 0:
                await _talk(rig, client, session, said, seen)
            await _sleep_and_wake(client, session, seen)
            seen.cycles += 1
    return seen


async def _talk(rig: Rig, client: Connection, session: str, said: list[str], seen: Cycles) -> None:
    """Send a prompt: the model must be shown everything that was said before, and nothing else."""
    prompt = f"count 2 {len(said)}."
    await rig.answered(client, session, await rig.submit(client, session, prompt))
    said.append(prompt)
    [call] = rig.model.calls_of(prompt)
    shown = [message["content"] for message in call.messages if message["role"] != "system"]
    expected = [text for earlier in said for text in (earlier, _answer(earlier))][:-1]
    if shown != expected:
        seen.changed.append(f"the model was shown {shown[-4:]} for {expected[-4:]}")


def _answer(prompt: str) -> str:
    tag = prompt.split()[2]
    return f"{tag}0;{tag}1;"


async def _sleep_and_wake(client: Connection, session: str, seen: Cycles) -> None:
    before = await _look(client, session)
    seen.pids.add(before["pid"])
    begun_s = time.perf_counter()
    await client.ask(m.Hibernate(request=client.number(), session=session), m.SessionAnswer)
    seen.down_ms.append((time.perf_counter() - begun_s) * 1000)
    seen.left_behind += Path(f"/proc/{before['pid']}").exists()  # noqa: ASYNC240 - a look at a virtual file
    begun_s = time.perf_counter()
    await client.ask(m.Wake(request=client.number(), session=session), m.SessionAnswer)
    seen.up_ms.append((time.perf_counter() - begun_s) * 1000)
    after = await _look(client, session)
    for key in (*SAME, "draft"):
        if before[key] != after[key]:
            seen.changed.append(f"{key}: {before[key]!r} is {after[key]!r}")


async def _look(client: Connection, session: str) -> dict:
    looking = m.Attach(request=client.number(), session=session, observes=True)
    answer = await client.ask(looking, m.Attached)
    await client.ask(m.Attach(request=client.number(), session=None), m.Attached)
    assert answer.session is not None
    return {key: getattr(answer.session, key) for key in (*SAME, "pid")} | {"draft": answer.draft}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crowd.cycles", description=__doc__)
    parser.add_argument("--cycles", type=int, default=1_000)
    seen = asyncio.run(run(parser.parse_args().cycles))
    print(seen)
    return 1 if seen.changed or seen.left_behind else 0


if __name__ == "__main__":
    sys.exit(main())
