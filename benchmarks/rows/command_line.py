"""How long the command line takes to start and answer."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import clean_environment
from benchmarks.product import running

RUNS = 5
COMMAND = str(Path(sys.executable).with_name("chat-coord"))
BARE = "floor: python -c pass"
LLM = "llm --help"


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with scripted_model() as url, running(url) as product, product.client() as client:
        for _ in range(3):
            await client.create()
        environment = clean_environment() | {"CHAT_COORD_HOME": str(product.home.root)}
        # llm makes its folder at its first start; it gets one that goes away with ours.
        environment["LLM_USER_PATH"] = str(product.folder / "llm")

        def work(words: list[str]) -> list[float]:
            samples = []
            for _ in range(RUNS):
                begun_s = time.perf_counter()
                subprocess.run(words, env=environment, check=True, capture_output=True, timeout=60)
                samples.append((time.perf_counter() - begun_s) * 1000)
            return samples

        commands = {
            "chat-coord --help": [COMMAND, "--help"],
            "chat-coord --version": [COMMAND, "--version"],
            "chat-coord sessions --json": [COMMAND, "sessions", "--json"],
            BARE: [sys.executable, "-c", "pass"],
            LLM: [str(python().with_name("llm")), "--help"],
        }
        for words in commands.values():
            await asyncio.to_thread(work, words)
        sides = await in_turn(
            {name: lambda words=words: asyncio.to_thread(work, words) for name, words in commands.items()}, rounds
        )
    reports = []
    for name in list(commands)[:3]:
        report = Comparison(f"{name}: start to end of the process", "ms", {s: sides[s] for s in (name, BARE, LLM)})
        report.at_most(8, BARE, f"{name}: ≤ 8 times bare Python")
        report.at_most(0.2, LLM, f"{name}: ≤ 0.2 of llm --help")
        reports.append(report)
    return reports
