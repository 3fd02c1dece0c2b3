"""The coordinator is killed, or replaced, with ten sessions live: until all of them answer to the next one."""

import asyncio
import os
import signal
import time

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.product import Client, Product, running
from client.starting import start_in_background, wait_ended
from protocol import messages as m

SESSIONS = 10
TIMES = 2
LOOK_S = 0.01
BACK_S = 30.0


async def _pids(client: Client) -> dict[str, int | None]:
    """Return the worker of each session that is live."""
    order = m.ListSessions(request=client.connection.number(), offset=0, waiting=False, everything=False)
    answer = await client.connection.ask(order, m.SessionsAnswer)
    return {s.id: s.pid for s in answer.sessions if s.residency == "live"}


async def _replaced(product: Product, *, is_killed: bool) -> float:
    """Return the milliseconds from the kill, or the order to leave, until every worker is back under its old pid."""
    async with product.client("before") as client:
        before = await _pids(client)
        assert len(before) == SESSIONS
        pid = client.connection.pid
        begun_s = time.perf_counter()
        if is_killed:
            os.kill(pid, signal.SIGKILL)
        else:
            await client.connection.ask(m.HandOver(request=client.connection.number()), m.Done)
    await wait_ended(pid)
    await start_in_background(product.home)
    async with product.client("after") as client, asyncio.timeout(BACK_S):
        while await _pids(client) != before:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(LOOK_S)
    return (time.perf_counter() - begun_s) * 1000


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with scripted_model() as url, running(url, max_active_sessions=SESSIONS) as product:
        async with product.client() as client:
            for _ in range(SESSIONS):
                await client.create()

        async def killed() -> list[float]:
            return [await _replaced(product, is_killed=True) for _ in range(TIMES)]

        async def handed_over() -> list[float]:
            return [await _replaced(product, is_killed=False) for _ in range(TIMES)]

        sides = await in_turn({"killed": killed, "handed over": handed_over}, rounds)
    found = []
    for side, what in (("killed", "SIGKILL and a new start"), ("handed over", "`restart`")):
        text = f"coordinator replaced, {what}: until 10 workers are back with their pids"
        comparison = Comparison(text, "ms", {OURS: sides[side]})
        comparison.within(2_000, f"coordinator replaced, {what}: p99 ≤ 2 s", percent=99)
        found.append(comparison)
    return found
