"""Every named point is walked: a process is killed there, once, and nothing that was promised is lost or bought twice.

A coordinator is killed at each of its own points in a run of its own. A worker is killed at all of its points in one
run, one after the other; and in two more runs each process is killed while the other one stands at a point.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from client.connection import Connection
from protocol import failpoints
from protocol import messages as m
from protocol.errors import ConfigBad
from tests.chaos.rig import PATIENCE_S, Rig, faults

ROOT = Path(__file__).parents[2]
RUN_S = 250
# Turns until every point was passed, at most.
ROUNDS = 80


async def story(rig: Rig) -> None:
    """Let everything happen once: births, turns, a crash in mid turn, a close, a drain, a new start."""
    client = await rig.connect()
    session = await rig.create(client, "a")
    first = await rig.submit(client, session, "count 3 first")
    second = await rig.submit(client, session, "count 3 second")
    await rig.answered(client, session, first)
    await rig.answered(client, session, second)
    await crash_in_mid_turn(rig, client, session)
    await close_another(rig, client, "b")
    await drain(rig, client)
    found = await rig.audit(client)

    assert faults(found) == {}
    assert found["acknowledged"] == 4


async def crash_in_mid_turn(rig: Rig, client: Connection, session: str) -> None:
    seq = await rig.submit(client, session, "count 60 third")
    await until(lambda: bool(rig.model.calls_of("count 60 third")))
    rig.kill(*(pid for pid, name in rig.workers().items() if name == "a"))
    await rig.answered(client, session, seq)


async def close_another(rig: Rig, client: Connection, name: str) -> None:
    other = await rig.create(client, name)
    await rig.answered(client, other, await rig.submit(client, other, f"count 1 {name}"))
    await rig.insist(lambda: client.ask(m.Close(request=client.number(), session=other), m.SessionAnswer))


async def drain(rig: Rig, client: Connection) -> None:
    """Ask the coordinator to drain and leave, which it may be killed at, and start the next one."""
    await rig.unkeep()
    if not rig.has_ended:
        asked = asyncio.create_task(client.ask(m.ShutDown(request=client.number(), now=False), m.Done))
        await until(lambda: rig.has_ended)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    rig.keep()


async def rounds(rig: Rig, folder: Path, points: tuple[str, ...]) -> None:
    """Turn after turn, and a close now and then, until every point was passed."""
    client = await rig.connect()
    session = await rig.create(client, "a")
    for n in range(ROUNDS):
        if passed(folder) == set(points):
            break
        await rig.answered(client, session, await rig.submit(client, session, f"count 3 round{n}"))
        if n % 3 == 2:
            await close_another(rig, client, f"b{n}")

    assert faults(await rig.audit(client)) == {}


async def kill_whenever_one_stands(rig: Rig, folder: Path, victims: Callable[[Rig], list[int]]) -> None:
    known: set[str] = set()
    while True:
        for point in sorted(passed(folder) - known):
            known.add(point)
            rig.kill(*victims(rig))
        await asyncio.sleep(0.01)


def passed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


def asked_for(folder: Path, action: str, points: tuple[str, ...]) -> dict[str, str]:
    return {"CC_FAILPOINT": ",".join(f"{p}:{action}" for p in points), "CC_FAILPOINT_ONCE": str(folder)}


@pytest.mark.crash
@pytest.mark.parametrize("point", failpoints.COORDINATOR)
def test_a_coordinator_killed_at_any_point_loses_nothing_and_buys_nothing_twice(point: str, tmp_path: Path):
    async def walk() -> None:
        async with Rig(environment=asked_for(tmp_path, "kill", (point,))) as rig:
            await asyncio.wait_for(story(rig), RUN_S)

    asyncio.run(walk())

    assert passed(tmp_path) == {point}


@pytest.mark.crash
def test_workers_killed_at_each_of_their_points_lose_nothing_and_buy_nothing_twice(tmp_path: Path):
    async def walk() -> None:
        async with Rig(environment=asked_for(tmp_path, "kill", failpoints.WORKER)) as rig:
            await asyncio.wait_for(rounds(rig, tmp_path, failpoints.WORKER), RUN_S)

    asyncio.run(walk())

    assert passed(tmp_path) == set(failpoints.WORKER)


@pytest.mark.crash
@pytest.mark.parametrize("who", ["worker", "coordinator"])
def test_each_is_killed_while_the_other_stands_at_any_of_its_points(who: str, tmp_path: Path):
    points = failpoints.WORKER if who == "coordinator" else failpoints.COORDINATOR
    # A drain and a start come once in a run; the test above has their points.
    points = tuple(p for p in points if not p.startswith("boot."))

    def victims(rig: Rig) -> list[int]:
        return [rig.pid] if who == "coordinator" else list(rig.workers())

    async def walk() -> None:
        async with Rig(environment=asked_for(tmp_path, "sleep=0.3", points)) as rig:
            killer = asyncio.create_task(kill_whenever_one_stands(rig, tmp_path, victims))
            await asyncio.wait_for(rounds(rig, tmp_path, points), RUN_S)
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)

    asyncio.run(walk())

    assert passed(tmp_path) == set(points)


def test_every_point_is_in_the_code_and_every_point_of_the_code_is_known():
    sources = [path for folder in ("coordinator", "workers", "protocol") for path in (ROOT / folder).rglob("*.py")]
    passed = {name for path in sources for name in re.findall(r'\bhit\("([\w.]+)"\)', path.read_text())}

    assert passed == {point for point in failpoints.POINTS if not point.startswith("coordinator.")}


def test_a_point_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(ConfigBad) as refused:
        failpoints.arm({"CC_FAILPOINT": "store.begun:kill,store.nowhere:kill"})

    assert "store.nowhere" in refused.value.message
    assert "store.committed" in (refused.value.hint or "")

    failpoints.arm({})


def test_the_passage_that_was_asked_for_acts_and_no_other():
    failpoints.arm({"CC_FAILPOINT": "store.begun:raise@2"})
    failpoints.hit("store.begun")
    with pytest.raises(failpoints.FailpointHit):
        failpoints.hit("store.begun")
    failpoints.hit("store.begun")
    failpoints.arm({})
    failpoints.hit("store.begun")
