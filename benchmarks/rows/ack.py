"""A prompt up to its acknowledgement with 50 live sessions."""

import asyncio

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.processes import Driver, taken
from benchmarks.product import running
from protocol.messages import Final

SESSIONS = 50
FSYNC = "floor: one fsync"


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with (
        scripted_model() as url,
        running(url, max_active_sessions=SESSIONS) as product,
        product.client() as client,
        Driver("floor.py") as floor,
    ):
        sessions = [(await client.create())[0] for _ in range(SESSIONS)]

        async def one_by_one() -> list[float]:
            samples = []
            for session in sessions:
                samples.append(await client.submit(session, "hello") * 1000)
                await client.final(session)
            return samples

        async def at_once() -> list[float]:
            samples = await asyncio.gather(*(client.submit(session, "hello") for session in sessions))
            missing = set(sessions)
            while missing:
                final = await client.until(lambda p: isinstance(p, Final))
                assert isinstance(final, Final)
                missing.discard(final.session)
            return [seconds * 1000 for seconds in samples]

        async def fsync() -> list[float]:
            return await taken(floor, "fsync", number=SESSIONS, folder=str(product.home.root))

        calm = await in_turn({OURS: one_by_one, FSYNC: fsync}, rounds)
        burst = await in_turn({OURS: at_once, FSYNC: fsync}, rounds)
    reports = []
    for how, sides in (("one prompt after another", calm), ("a prompt to all at once", burst)):
        report = Comparison(f"prompt to ACK with {SESSIONS} live sessions, {how}", "ms", sides)
        report.within(5, f"prompt to ACK, 50 sessions, {how}: p50 ≤ 5 ms")
        report.within(25, f"prompt to ACK, 50 sessions, {how}: p99 ≤ 25 ms", percent=99)
        reports.append(report)
    return reports
