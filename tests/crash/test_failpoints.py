"""Every named point is walked: a process is killed there, once, and nothing that was promised is lost or bought twice.

A process is killed at several points in one run, one after the other, since a start costs seconds. In two more runs
each process is killed while the other one stands at a point.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from client.connection import Connection
from protocol import failpoints
from protocol import messages as m
from protocol.errors import ConfigBad, RemoteError
from tests.chaos.rig import PATIENCE_S, Rig, faults

ROOT = Path(__file__).parents[2]
RUN_S = 250
# Turns until every point was passed, at most.
ROUNDS = 80
# Every fifth point of the coordinator is in one run, so that the points of one flow are in different ones.
GROUPS = [failpoints.COORDINATOR[n::5] for n in range(5)]


async def rounds(rig: Rig, folder: Path, points: tuple[str, ...]) -> None:
    """Let everything happen that has a point, until every one was passed: turns, sleep, crashes in mid turn, closes."""
    client = await rig.connect()
    session = await rig.create(client, "a")
    for n in range(ROUNDS):
        await rig.answered(client, session, await rig.submit(client, session, f"count 3 round{n}"))
        if passed(folder) == set(points):
            break
        if n % 3 == 0:
            await go_to_sleep(rig, client, session)
        elif n % 3 == 1:
            await crash_in_mid_turn(rig, client, session, f"count 60 crash{n}")
        elif n % 3 == 2:
            await close_another(rig, client, f"b{n}")

    assert faults(await rig.audit(client)) == {}


async def rounds_of_asking(rig: Rig, folder: Path, points: tuple[str, ...]) -> None:
    """Let turns ask for a command, say yes, and let it run: once for each turn, whoever dies where."""
    client = await rig.connect()
    session = await rig.create(client, "a")
    ends = []
    for n in range(ROUNDS):
        command = {"tool": "run_command", "arguments": {"command": f"echo {n} >> ran"}}
        seq = await rig.submit(client, session, f"use {json.dumps(command)}")
        end = asyncio.create_task(rig.answered(client, session, seq))
        while not end.done():
            await say_yes(rig, client)
            await asyncio.sleep(0.02)
        ends.append((await end).stop_reason)
        if passed(folder) == set(points):
            break
    ran = (rig.folder / "ran").read_text().split()

    assert len(ran) == len(set(ran))  # none ran twice
    assert {str(n) for n, end in enumerate(ends) if end == "completed"} <= set(ran)
    assert set(ends) <= {"completed", "interrupted"}


async def say_yes(rig: Rig, client: Connection) -> None:
    asks = await rig.insist(lambda: client.ask(m.ListAsks(request=client.number()), m.AsksAnswer))
    for ask in asks.asks:
        order = m.Decide(request=client.number(), ask=ask.id, approve=True, idem=f"yes-{ask.id}")
        with contextlib.suppress(RemoteError):  # the turn may have ended meanwhile
            await rig.insist(lambda order=order: client.ask(order, m.Decided))


async def go_to_sleep(rig: Rig, client: Connection, session: str) -> None:
    """The next prompt wakes it; a worker that was killed meanwhile may just be starting, and cannot sleep then."""
    with contextlib.suppress(RemoteError):
        await rig.insist(lambda: client.ask(m.Hibernate(request=client.number(), session=session), m.SessionAnswer))


async def crash_in_mid_turn(rig: Rig, client: Connection, session: str, prompt: str) -> None:
    seq = await rig.submit(client, session, prompt)
    end = asyncio.create_task(rig.answered(client, session, seq))  # a point may end it before the model is asked
    await until(lambda: end.done() or bool(rig.model.calls_of(prompt)))
    rig.kill(*(pid for pid, name in rig.workers().items() if name == "a"))
    await end


async def close_another(rig: Rig, client: Connection, name: str) -> None:
    other = await rig.create(client, name)
    await rig.answered(client, other, await rig.submit(client, other, f"count 1 {name}"))
    await rig.insist(lambda: client.ask(m.Close(request=client.number(), session=other), m.SessionAnswer))


async def kill_whenever_one_stands(rig: Rig, folder: Path, victims: Callable[[Rig], list[int | None]]) -> None:
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
@pytest.mark.parametrize("points", [*GROUPS, failpoints.WORKER], ids=lambda points: points[0])
def test_who_is_killed_at_any_of_its_points_loses_nothing_and_buys_nothing_twice(
    points: tuple[str, ...], tmp_path: Path
):
    async def walk() -> None:
        async with Rig(environment=asked_for(tmp_path, "kill", points)) as rig:
            await asyncio.wait_for(rounds(rig, tmp_path, points), RUN_S)

    asyncio.run(walk())

    assert passed(tmp_path) == set(points)  # each was passed, and acted once


@pytest.mark.crash
def test_a_command_that_was_approved_runs_once_at_most_whoever_dies_where(tmp_path: Path):
    async def walk() -> None:
        async with Rig(environment=asked_for(tmp_path, "kill", failpoints.WORKER_ASKING)) as rig:
            await asyncio.wait_for(rounds_of_asking(rig, tmp_path, failpoints.WORKER_ASKING), RUN_S)

    asyncio.run(walk())

    assert passed(tmp_path) == set(failpoints.WORKER_ASKING)


@pytest.mark.crash
@pytest.mark.parametrize("who", ["worker", "coordinator"])
def test_each_is_killed_while_the_other_stands_at_any_of_its_points(who: str, tmp_path: Path):
    points = failpoints.WORKER if who == "coordinator" else failpoints.COORDINATOR
    points = tuple(p for p in points if not p.startswith("boot."))  # a start comes once here; the test above has them

    def victims(rig: Rig) -> list[int | None]:
        return [rig.fleet.coordinator] if who == "coordinator" else list(rig.workers())

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
