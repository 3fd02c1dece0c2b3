"""The memory that only one session has after its first streamed turn."""

import asyncio

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.processes import Driver, uss_mib
from benchmarks.product import running

SETTLE_S = 1.5
PROMPT = "say 50 word_"


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with scripted_model() as url, running(url) as product, product.client() as client:

        async def ours() -> list[float]:
            session, _ = await client.create()
            await client.turn(session, PROMPT)
            await asyncio.sleep(SETTLE_S)
            size = uss_mib(await client.pid(session))
            await client.close(session)
            return [size]

        async def alone() -> list[float]:
            async with Driver("stack.py") as stack:
                await stack.ask("turn", url=url, prompt=PROMPT)
                await asyncio.sleep(SETTLE_S)
                return [uss_mib(stack.pid)]

        sides = await in_turn({OURS: ours, "same stack in a fresh process": alone}, rounds)
    after = Comparison("USS of a session after its first streamed turn", "MiB", sides)
    after.within(20, "USS after the first streamed turn: ≤ 20 MiB")
    after.at_most(0.35, "same stack in a fresh process", "USS after the first turn: ≤ 0.35 of the same stack")
    after.notes.append("The fresh process imports the same adapter and streams the same reply, without a coordinator.")
    return [after]
