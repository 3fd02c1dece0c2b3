"""The first piece of a reply, beyond what the same HTTP call takes without us."""

import asyncio
import http.client
import json
import time
from urllib.parse import urlsplit

from benchmarks.measure import OURS, Comparison, Samples, in_turn
from benchmarks.model import scripted_model
from benchmarks.processes import Driver
from benchmarks.product import Client, running
from protocol.messages import Piece

SESSIONS = 5
LATER_TURNS = 3
PROMPT = "say 3 word_"


async def _turn_ms(client: Client, session: str) -> float:
    """Return the milliseconds from the prompt to its first piece."""
    begun_s = time.perf_counter()
    await client.submit(session, PROMPT)
    await client.until(lambda p: isinstance(p, Piece) and p.session == session)
    taken_ms = (time.perf_counter() - begun_s) * 1000
    await client.final(session)
    return taken_ms


def _direct_ms(url: str) -> float:
    """Return the milliseconds of the bare HTTP call, on a new connection, up to its first chunk."""
    where = urlsplit(url)
    body = json.dumps(
        {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": PROMPT}]},
    )
    begun_s = time.perf_counter()
    connection = http.client.HTTPConnection(where.netloc, timeout=20)
    connection.request("POST", f"{where.path}/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    line = answer.readline()
    taken_ms = (time.perf_counter() - begun_s) * 1000
    assert line.startswith(b"data: {")
    answer.read()
    connection.close()
    return taken_ms


def _beyond(ours: Samples, direct: Samples) -> Samples:
    """Take each round's direct median off our samples of that round."""
    pairs = zip(ours.rounds, direct.round_medians, strict=True)
    return Samples([[value - base for value in one] for one, base in pairs])


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("stack.py") as stack,
    ):
        firsts: list[float] = []
        await stack.ask("turn", url=url, prompt=PROMPT)

        async def later() -> list[float]:
            """Measure first turns aside, and return what later ones take."""
            first, rest = [], []
            for _ in range(SESSIONS):
                session, _ = await client.create()
                first.append(await _turn_ms(client, session))
                rest += [await _turn_ms(client, session) for _ in range(LATER_TURNS)]
                await client.close(session)
            firsts.extend(first)
            return rest

        async def first() -> list[float]:
            return firsts[-SESSIONS:]

        async def direct() -> list[float]:
            return [await asyncio.to_thread(_direct_ms, url) for _ in range(SESSIONS * LATER_TURNS)]

        async def alone() -> list[float]:
            return [
                (await stack.ask("turn", url=url, prompt=PROMPT))["first_ms"] for _ in range(SESSIONS * LATER_TURNS)
            ]

        sides = await in_turn({"later": later, "first": first, "direct": direct, "alone": alone}, rounds)
    others = {"bare HTTP call": sides["direct"], "same stack without a coordinator": sides["alone"]}
    reports = []
    for which, limit in (("first", 20), ("later", 5)):
        whole = Comparison(f"prompt to first piece, {which} turn of a worker", "ms", {OURS: sides[which]} | others)
        beyond = Comparison(
            f"the same, beyond the bare HTTP call of its round ({which} turn)",
            "ms",
            {OURS: _beyond(sides[which], sides["direct"])},
        )
        beyond.within(limit, f"first piece beyond the same HTTP call, {which} turn: ≤ {limit} ms")
        reports += [whole, beyond]
    return reports
