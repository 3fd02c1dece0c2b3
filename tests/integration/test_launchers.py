"""The contract of launchers, over real processes and real sockets. Whatever passes it can run workers."""

import asyncio
import multiprocessing.resource_tracker
import os
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil
import pytest

from coordinator.core.events import SpawnFailed, WorkerExited, WorkerSpawned
from protocol import messages as m
from protocol.processes import start_ticks
from tests.support.launching import TOKEN, House, children, house, opened_by
from tests.support.product import Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

Story = Callable[[House], Coroutine[None, None, None]]


@pytest.fixture(params=["local", "spawn"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tell(kind: str) -> Callable[[Story], None]:
    """Run a story in a house with one launcher, and look whether anything is left of it."""

    async def run(story: Story) -> None:
        async with house(kind) as opened:
            await story(opened)

    def tell(story: Story) -> None:
        multiprocessing.resource_tracker.ensure_running()  # belongs to multiprocessing, for this whole process
        before = opened_by(os.getpid()), children()
        asyncio.run(run(story))

        assert (opened_by(os.getpid()), children()) == before  # no descriptor, no process, no zombie

    return tell


def test_a_started_worker_says_hello_with_its_token_in_a_session_environment_and_folder_of_its_own(tell):
    async def story(at: House) -> None:
        at.order()
        spawned, hello = await at.spawned(), await at.hello()
        process = psutil.Process(spawned.pid)

        assert (hello.session, hello.epoch, hello.token, hello.pid) == ("a", 1, TOKEN, spawned.pid)
        assert spawned.start_ticks == start_ticks(spawned.pid)
        assert os.getsid(spawned.pid) == spawned.pid
        assert process.cmdline()[0] == "chat-coord: a"
        assert process.cwd() == str(at.folder)
        assert opened_by(spawned.pid)["0"] == "/dev/null"
        assert opened_by(spawned.pid)["2"] == str(at.folder / "a.stderr")

    tell(story)


def test_a_worker_holds_no_descriptor_of_whoever_started_it(tell):
    async def story(at: House) -> None:
        at.order()
        at.order("b")
        ours = set(opened_by(os.getpid()).values())
        for session in "ab":
            await at.hello(session)
            pid = at.of(WorkerSpawned, session)[0].pid
            links = set(opened_by(pid).values())

            assert {link for link in links & ours if link.startswith(("pipe:", "socket:"))} == set()
            assert not [link for link in links if "pidfd" in link]

    tell(story)


def test_the_token_is_neither_in_the_arguments_nor_in_the_environment_of_any_process(tell):
    async def story(at: House) -> None:
        at.order()
        pid = (await at.spawned()).pid
        early = seen_by_others(pid)
        await at.hello()

        assert TOKEN not in early + seen_by_others(pid)
        assert b"OF_THE_SESSION" not in early + seen_by_others(pid)

    tell(story)


def seen_by_others(pid: int) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def test_a_killed_worker_is_reported_once_with_the_name_of_the_signal(tell):
    async def story(at: House) -> None:
        at.order()
        await at.hello()
        at.supervisor.signal("a", 1, "SIGKILL")
        ended = await at.exited()
        await asyncio.sleep(0.5)

        assert (ended.kind, ended.signal, ended.exit_code) == ("signaled", "SIGKILL", None)
        assert at.of(WorkerExited) == [ended]

    tell(story)


def test_killing_twice_is_harmless(tell):
    async def story(at: House) -> None:
        at.order()
        await at.hello()
        at.supervisor.signal("a", 1, "SIGKILL")
        at.supervisor.signal("a", 1, "SIGKILL")
        await at.exited()
        at.supervisor.signal("a", 1, "SIGKILL")

        assert len(at.of(WorkerExited)) == 1

    tell(story)


@pytest.mark.parametrize(("message", "code"), [(m.Fenced(reason="there is a newer worker"), 3), (m.Leave(), 0)])
def test_a_worker_that_leaves_is_reported_with_its_exit_code(tell, message: m.ToWorker, code: int):
    async def story(at: House) -> None:
        at.order()
        await at.hello()
        at.say("a", message)
        ended = await at.exited()

        assert (ended.kind, ended.signal, ended.exit_code) == ("exited", None, code)

    tell(story)


def test_a_worker_that_fails_at_birth_leaves_its_last_words(tell):
    async def story(at: House) -> None:
        at.order(endpoint="nonsense")
        ended = await at.exited()

        assert (ended.kind, ended.exit_code) == ("exited", 1)
        assert "ZMQError" in ended.stderr_tail

    tell(story)


def test_without_its_folder_no_worker_is_started_and_trying_again_would_not_help(tell):
    async def story(at: House) -> None:
        at.order(cwd=str(at.folder / "gone"))
        at.order("b")
        await at.hello("b")
        (failed,) = at.of(SpawnFailed)

        assert (failed.epoch, failed.fatal) == (1, True)
        assert failed.reason == f"the working directory {at.folder / 'gone'} is gone"
        assert at.of(WorkerSpawned) == []

    tell(story)


def test_the_largest_order_arrives(tell):
    async def story(at: House) -> None:
        at.order(env={f"V{i}": "x" * 1_000 for i in range(128)})

        assert await at.hello()

    tell(story)


def test_a_running_worker_is_adopted_by_pid_and_start_time_and_one_of_another_start_time_is_not(tell):
    async def story(at: House) -> None:
        at.order()
        spawned = await at.spawned()
        await at.hello()
        later = at.new_supervisor()

        assert not later.adopt("a", 1, spawned.pid, spawned.start_ticks + 1)
        assert list(later.running()) == []
        assert later.adopt("a", 1, spawned.pid, spawned.start_ticks)
        assert list(later.running()) == [("a", 1, spawned.pid, spawned.start_ticks)]

        later.close()

    tell(story)


def test_two_hundred_starts_and_ends_leave_nothing(tell):
    async def story(at: House) -> None:
        at.order("first")
        await at.hello("first")
        before = opened_by(os.getpid())
        names = [f"s{i}" for i in range(200)]
        for name in names:
            at.order(name)
        for name in names:
            await at.spawned(name)
            at.supervisor.signal(name, 1, "SIGKILL")
        ends = [await at.exited(name) for name in names]

        assert {end.signal for end in ends} == {"SIGKILL"}
        assert not [e for e in at.events if isinstance(e, SpawnFailed)]
        assert opened_by(os.getpid()) == before
        assert not [c for c in psutil.Process().children() if c.status() == psutil.STATUS_ZOMBIE]

    tell(story)


# ---- the whole product


def test_the_flag_goes_before_the_environment_and_a_coordinator_that_runs_keeps_its_launcher(product: Product):
    product.env["CHAT_COORD_LAUNCHER"] = "local"
    product.run("start", "--launcher", "spawn")

    assert product.json("status")["launcher"] == "spawn"
    assert "It starts workers with spawn" in product.run("start", "--launcher", "local")
    assert product.json("status")["launcher"] == "spawn"
    assert product.run("start", "--launcher", "thread", code=2) == ""


# ---- the whole product, which is killed


def test_workers_are_adopted_by_the_next_coordinator_and_their_end_is_seen(product: Product, kind: str):
    product.run("start", "--launcher", kind)
    product.run("new", "a")
    pid = product.live("a")["pid"]
    kill_coordinator(product)
    product.run("start", "--launcher", kind)

    assert product.live("a")["pid"] == pid
    assert product.json("send", "a", "hello")["reply"] == "<hello>"

    os.kill(pid, signal.SIGKILL)
    product.wait_session("a", lambda s: s["exit_card"] is not None)

    assert product.json("send", "a", "again")["reply"] == "<hello><again>"
    assert product.session("a")["pid"] != pid


def test_a_process_with_the_pid_of_a_worker_and_another_start_time_is_not_touched(product: Product, kind: str):
    product.run("start", "--launcher", kind)
    product.run("new", "a")
    pid = product.live("a")["pid"]
    os.kill(pid, signal.SIGSTOP)
    kill_coordinator(product)
    with sqlite3.connect(product.home / "chat-coord.db") as database:
        database.execute("UPDATE sessions SET start_ticks = start_ticks + 1")
    database.close()
    product.run("start", "--launcher", kind)

    assert product.session("a")["pid"] is None
    assert product.json("send", "a", "hello")["reply"] == "<hello>"
    assert product.session("a")["pid"] != pid
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED

    os.kill(pid, signal.SIGCONT)  # it says hello, and is fenced
    wait_for(lambda: start_ticks(pid) is None)


def kill_coordinator(product: Product) -> None:
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: start_ticks(pid) is None)
