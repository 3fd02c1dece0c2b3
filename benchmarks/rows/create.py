"""Create: from the request to the first sign of life of the new worker."""

import asyncio
import time

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver, taken
from benchmarks.product import running
from protocol.messages import Changed

SESSIONS = 10
KERNELS = 2
SPAWNS = 5
# thespian's queue base creates faster than its TCP base, so it stands here.
BASE = "multiprocQueueBase"


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with (
        scripted_model() as url,
        running(url, max_active_sessions=SESSIONS) as product,
        product.client() as client,
        Driver("kernels.py", python=python()) as kernels,
        Driver("actors.py", BASE, python=python()) as actors,
        Driver("spawn.py", python=python()) as spawn,
        Driver("floor.py") as floor,
    ):

        async def ours() -> list[float]:
            made = [await client.create() for _ in range(SESSIONS)]
            for session, _ in made:
                await client.close(session)
            return [seconds * 1000 for _, seconds in made]

        async def at_once() -> list[float]:
            begun_s = time.perf_counter()
            sessions = await asyncio.gather(*(client.order() for _ in range(SESSIONS)))
            missing = set(sessions)
            while missing:
                change = await client.until(lambda p: isinstance(p, Changed) and p.after == "idle")
                assert isinstance(change, Changed)
                missing.discard(change.session)
            rate = SESSIONS / (time.perf_counter() - begun_s)
            for session in sessions:
                await client.close(session)
            return [rate]

        sides = await in_turn(
            {
                OURS: ours,
                "Jupyter kernel": lambda: taken(kernels, "create", number=KERNELS),
                "thespian actor": lambda: taken(actors, "create", number=SESSIONS),
                "multiprocessing spawn": lambda: taken(spawn, "create", number=SPAWNS),
                "floor: os.fork to first byte": lambda: taken(floor, "fork", number=SESSIONS),
            },
            rounds,
        )
        burst = await in_turn({OURS: at_once}, rounds)

    one = Comparison("create, one after another: request to first answer of the worker", "ms", sides)
    one.at_most(1.0, "thespian actor", "create: not slower than thespian")
    one.at_most(1 / 50, "Jupyter kernel", "create: ≤ 1/50 of a Jupyter kernel")
    one.at_most(1 / 8, "multiprocessing spawn", "create: ≤ 1/8 of spawn")
    one.at_most(8, "floor: os.fork to first byte", "create: ≤ 8 times the floor")
    one.notes.append("Ours ends when a listening client is told that the worker said hello; one commit is within.")
    many = Comparison(f"create, {SESSIONS} at once", "sessions/s", burst)
    many.above(150, "creates per second, 10 at once: ≥ 150")
    return [one, many]
