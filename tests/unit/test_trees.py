"""What belongs to a dead worker, and what does not; and that it is gone, in real trees."""

import asyncio
import os
import signal
import subprocess
import time

import pytest

from coordinator.core.events import WorkerExited
from coordinator.shell import trees
from coordinator.shell.supervisor import Supervisor
from coordinator.shell.trees import Dead, Found, end_leftovers, leftovers, look
from protocol.processes import children_of, descendants_of, kill, kill_below, start_ticks
from tests.support import trees as support
from tests.support.launching import until

WORKER = Dead("abc", 3, 100, 5_000)


def process(pid: int, ticks: int = 6_000, leader: int = 1, mark: str = "") -> Found:
    return Found(pid, ticks, 1, leader, mark)


@pytest.mark.parametrize(
    ("given", "is_left"),
    [
        (process(200, leader=100), True),  # in the session that the worker led
        (process(200, mark="abc-3"), True),  # in another, with the mark
        (process(200, ticks=5_000, mark="abc-3"), True),  # started within the same tick
        (process(200, ticks=4_999, leader=100), False),  # older than the worker: somebody else's session
        (process(200, ticks=4_999, mark="abc-3"), False),
        (process(200, mark="abc-4"), False),  # of the worker that came after
        (process(200, mark="abd-3"), False),
        (process(200), False),
    ],
)
def test_what_a_dead_worker_left_is_told_by_its_session_or_its_mark_and_is_younger(given, is_left):
    assert leftovers([WORKER], [given]) == ([given] if is_left else [])


def test_a_session_of_the_same_number_belongs_to_the_process_that_has_the_pid_now():
    stranger, its_child = process(100, ticks=9_000, leader=100), process(200, ticks=9_001, leader=100)
    ours = process(201, mark="abc-3")

    assert leftovers([WORKER], [stranger, its_child, ours]) == [ours]


def test_without_a_pid_only_the_mark_counts():
    assert leftovers([Dead("abc", 3, 0, 5_000)], [process(200, leader=0), process(201, mark="abc-3")]) == [
        process(201, mark="abc-3")
    ]


# ---- real trees


@pytest.fixture
def tree(tmp_path):
    """A root with everything that a model might start below it, and the read end of a pipe that all of it holds."""
    read_end, write_end = os.pipe()
    process = support.root(tmp_path, "abc-3", write_end)
    os.close(write_end)
    found = {}
    try:
        found = support.pids(tmp_path)
        yield process, found, read_end
    finally:
        support.end(found)
        process.kill()
        process.wait()
        os.close(read_end)


def test_what_is_below_a_process_is_found_and_killed_and_the_process_stays(tree):
    process, found, _ = tree
    below = dict(descendants_of(process.pid))

    assert set(below) >= {found["child"], found["stubborn"]}
    assert below[found["child"]] == start_ticks(found["child"])
    assert kill_below(process.pid) >= 2  # the daemon's parent is gone: it is below somebody else
    assert support.living(found) == ["daemon"]
    assert process.poll() is None


def test_everything_that_a_killed_worker_left_is_gone_when_it_is_swept(tree):
    process, found, read_end = tree
    dead = Dead("abc", 3, process.pid, start_ticks(process.pid))
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        assert {p.pid for p in leftovers([dead], look())} == {process.pid, *found.values()}

        process.kill()
        process.wait()

        assert end_leftovers([dead]) >= 3
        assert support.is_closed(read_end)
        assert support.living(found) == []
        assert end_leftovers([dead]) == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_is_killed_only_if_it_started_then():
    child = subprocess.Popen(["sleep", "600"])
    try:
        ticks = start_ticks(child.pid)

        assert not kill(child.pid, ticks + 1)
        assert child.poll() is None
        assert child.pid in children_of(os.getpid())
        assert kill(child.pid, ticks)
        assert child.wait(5) == -signal.SIGKILL
        assert not kill(child.pid, ticks)
    finally:
        child.kill()
        child.wait()


def test_the_death_of_a_worker_is_told_when_nothing_of_it_is_left(tree, tmp_path):
    process, found, _ = tree
    told = []

    async def story() -> None:
        def post(event) -> None:
            if isinstance(event, WorkerExited):
                told.append((event.signal, support.living(found)))

        supervisor = Supervisor(post, lambda session: tmp_path / session, tmp_path)
        assert supervisor.adopt("abc", 3, process.pid, start_ticks(process.pid))
        process.kill()
        await until(lambda: told)
        supervisor.close()

    asyncio.run(asyncio.wait_for(story(), 30))

    assert told == [(None, [])]


def test_a_death_is_told_in_time_also_when_nothing_can_be_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "SWEEP_S", 0.1)
    monkeypatch.setattr(trees, "end_leftovers", lambda _: time.sleep(0.5) or 0)

    async def story() -> float:
        sweeper = trees.Sweeper()
        told = asyncio.Event()
        begun_s = time.monotonic()
        sweeper.sweep(WORKER, told.set)
        await told.wait()
        took_s = time.monotonic() - begun_s
        sweeper.close()
        return took_s

    assert asyncio.run(asyncio.wait_for(story(), 30)) < 0.4


def test_all_that_died_at_once_are_swept_with_one_look_and_each_is_told_once(monkeypatch):
    batches = []

    def end(dead) -> int:
        batches.append([d.epoch for d in dead])
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(trees, "end_leftovers", end)

    async def story() -> list[int]:
        sweeper, told = trees.Sweeper(), []
        for epoch in range(1, 6):
            sweeper.sweep(Dead("abc", epoch, 0, 0), lambda epoch=epoch: told.append(epoch))
        await until(lambda: len(told) == 5)
        await asyncio.sleep(0.1)
        sweeper.close()
        return told

    assert asyncio.run(asyncio.wait_for(story(), 30)) == [1, 2, 3, 4, 5]
    assert batches == [[1], [2, 3, 4, 5]]


def test_the_tools_of_a_worker_are_ended_and_it_stays(tree, tmp_path):
    process, found, _ = tree

    async def story() -> None:
        supervisor = Supervisor(lambda _: None, lambda session: tmp_path / session, tmp_path)
        supervisor.adopt("abc", 3, process.pid, start_ticks(process.pid))
        supervisor.end_tools("abc", 2)  # an earlier worker's: nothing
        supervisor.end_tools("abc", 3)
        await until(lambda: support.living(found) == ["daemon"])
        supervisor.close()

    asyncio.run(asyncio.wait_for(story(), 30))

    assert process.poll() is None


def test_what_was_left_while_no_coordinator_ran_is_ended_at_the_next_start(tree, tmp_path):
    process, found, _ = tree
    ticks = start_ticks(process.pid)
    process.kill()
    process.wait()

    async def story() -> None:
        supervisor = Supervisor(lambda _: None, lambda session: tmp_path / session, tmp_path)
        supervisor.end_what_is_left([])
        supervisor.end_what_is_left([Dead("abc", 3, 0, ticks)])
        await until(lambda: not support.living(found))
        supervisor.close()

    asyncio.run(asyncio.wait_for(story(), 30))
