"""A worker is killed: when a listener knows, and when the session serves again."""

import os
import signal
import time

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver, taken
from benchmarks.product import Client, running
from protocol.messages import Changed

KILLS = 5
PROMPT = "say 3 word_"
FLOOR = "floor: SIGKILL to pidfd readable"


async def _talked(client: Client) -> tuple[str, int]:
    """Return a session with a turn behind it, and its worker's pid."""
    session, _ = await client.create()
    await client.turn(session, PROMPT)
    return session, await client.pid(session)


async def _crash(client: Client) -> tuple[float, float]:
    """Kill an idle worker and send to its session.

    Returns:
        Milliseconds from SIGKILL until a listener is told, and until the prompt sent then is acknowledged and the new
        worker has said hello.
    """
    session, pid = await _talked(client)
    begun_s = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    await client.until(lambda p: isinstance(p, Changed) and p.session == session and p.after == "hibernated")
    seen_ms = (time.perf_counter() - begun_s) * 1000
    await client.submit(session, PROMPT)
    await client.until(lambda p: _is_back(p, session))
    served_ms = (time.perf_counter() - begun_s) * 1000
    await client.final(session)
    await client.close(session)
    return seen_ms, served_ms


def _is_back(pushed: object, session: str) -> bool:
    """Say whether this is the news that the session's new worker lives."""
    return (
        isinstance(pushed, Changed)
        and pushed.session == session
        and pushed.before in {"waking", "starting"}
        and pushed.after in {"idle", "running"}
    )


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    seen: list[float] = []
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("actors.py", "multiprocTCPBase", python=python()) as actors,
        Driver("spawn.py", python=python()) as spawn,
        Driver("floor.py") as floor,
    ):

        async def served() -> list[float]:
            pairs = [await _crash(client) for _ in range(KILLS)]
            seen.extend(pair[0] for pair in pairs)
            return [pair[1] for pair in pairs]

        async def noticed() -> list[float]:
            return seen[-KILLS:]

        sides = await in_turn(
            {
                "served": served,
                "noticed": noticed,
                FLOOR: lambda: taken(floor, "death", number=KILLS * 2),
                "thespian": lambda: taken(actors, "revive", number=KILLS),
                "spawn": lambda: taken(spawn, "revive", number=KILLS),
            },
            rounds,
        )
    crash = Comparison(
        "crash seen: SIGKILL to the news at a listener", "ms", {OURS: sides["noticed"], FLOOR: sides[FLOOR]}
    )
    crash.within(3, "crash seen: p50 ≤ 3 ms")
    crash.within(100, "crash seen: p99 ≤ 100 ms", percent=99)
    again = Comparison(
        "killed to serving again: SIGKILL, news, prompt acknowledged, new worker said hello",
        "ms",
        {
            OURS: sides["served"],
            "thespian: parent makes a new child": sides["thespian"],
            "multiprocessing spawn": sides["spawn"],
            FLOOR: sides[FLOOR],
        },
    )
    again.within(14, "killed to serving again: p50 ≤ 14 ms")
    again.at_most(1.0, "thespian: parent makes a new child", "killed to serving again: not slower than thespian")
    again.at_most(0.15, "multiprocessing spawn", "killed to serving again: ≤ 0.15 of spawn")
    again.notes.append("Ours has a prompt committed within and its conversation restored; the peers restore nothing.")
    return [crash, again]
