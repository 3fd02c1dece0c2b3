"""The memory that only one idle session has."""

import asyncio

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver, uss_mib
from benchmarks.product import running

SETTLE_S = 1.5
SESSIONS = 3


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("kernels.py", python=python()) as kernels,
        Driver("actors.py", "multiprocTCPBase", python=python()) as actors,
        Driver("spawn.py", python=python()) as spawn,
    ):

        async def ours() -> list[float]:
            sessions = [(await client.create())[0] for _ in range(SESSIONS)]
            await asyncio.sleep(SETTLE_S)
            sizes = [uss_mib(await client.pid(session)) for session in sessions]
            for session in sessions:
                await client.close(session)
            return sizes

        async def of(driver: Driver) -> list[float]:
            pid = await driver.ask("hold")
            await asyncio.sleep(SETTLE_S)
            size = uss_mib(pid)
            await driver.ask("release")
            return [size]

        sides = await in_turn(
            {
                OURS: ours,
                "Jupyter kernel": lambda: of(kernels),
                "thespian actor": lambda: of(actors),
                "multiprocessing spawn": lambda: of(spawn),
            },
            rounds,
        )
    idle = Comparison("USS of an idle session", "MiB", sides)
    idle.within(3.8, "USS of an idle session: ≤ 3.8 MiB")
    idle.at_most(0.12, "Jupyter kernel", "USS of an idle session: ≤ 0.12 of a Jupyter kernel")
    return [idle]
