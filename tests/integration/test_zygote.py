"""The zygote: what workers share with it, and what happens when it dies, stops, or cannot start."""

import asyncio
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from coordinator.core.events import SpawnFailed, WorkerSpawned
from coordinator.shell.launchers import local
from protocol.codec import Decoder, encode
from protocol.launch import Fork, Forked, ForkFailed, FromZygote, Reaped, ZygoteReady
from tests.support import probes
from tests.support.launching import House, house, until
from tests.support.product import Product, wait_for
from workers.zygote import SPARES

pytestmark = [pytest.mark.integration, pytest.mark.crash]


@contextmanager
def zygote(target: object, *more: object) -> Iterator[socket.socket]:
    """A zygote without a launcher."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(60)
    process = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, *more))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(20)
        assert process.exitcode == 0
        process.close()


def heard(channel: socket.socket) -> FromZygote:
    datagram, pidfds, _, _ = socket.recv_fds(channel, 1 << 16, 1)
    for pidfd in pidfds:
        os.close(pidfd)
    return Decoder(FromZygote).decode(datagram)


def order(folder: Path) -> Fork:
    return Fork(
        session="a", epoch=1, token=b"", name="a", cwd=str(folder), env={}, endpoint="",
        log=str(folder / "log"), events_log=str(folder / "facts"), home=str(folder), orphan_exit_s=60.0,
    )  # fmt: skip


# ---- what is shared


def test_a_worker_is_born_with_a_frozen_heap_and_a_warm_model_library(tmp_path: Path):
    with zygote(probes.zygote_with_a_curious_worker) as channel:
        ready = heard(channel)
        channel.send(encode(order(tmp_path)))
        forked = heard(channel)
        facts = json.loads(wait_for(lambda: (tmp_path / "facts").exists() and (tmp_path / "facts").read_text()))
        heard(channel)

    assert isinstance(ready, ZygoteReady)
    assert isinstance(forked, Forked)
    assert ready.frozen_objects > 100_000
    assert facts["frozen_objects"] > 100_000
    assert facts["private_bytes_after_a_collection"] < 12 << 20
    assert facts["collects"] is True
    assert facts["warm_up_turns"] == 1
    assert facts["has_tls"] is True
    assert {"pydantic_ai", "openai", "httpx2"} <= set(facts["modules"])
    assert "anthropic" not in facts["modules"]
    assert facts["imported_by_the_first_turn"] == []


def test_what_a_configured_model_needs_beyond_the_core_is_shared_and_warm_too(tmp_path: Path):
    with zygote(probes.zygote_with_a_curious_worker, ("anthropic",)) as channel:
        ready = heard(channel)
        channel.send(encode(order(tmp_path)))
        heard(channel)
        facts = json.loads(wait_for(lambda: (tmp_path / "facts").exists() and (tmp_path / "facts").read_text()))
        heard(channel)

    assert isinstance(ready, ZygoteReady)
    assert ready.threads == 1
    assert facts["warm_up_turns"] == 2
    assert "anthropic" in facts["modules"]
    assert facts["private_bytes_after_a_collection"] < 12 << 20
    assert facts["imported_by_the_first_turn"] == []


def test_an_idle_worker_has_little_memory_of_its_own(product: Product):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    shared = psutil.Process(pid).memory_full_info()

    assert shared.uss < 7 << 20
    assert shared.rss > 40 << 20  # and the rest is the zygote's


def test_a_zygote_with_a_second_thread_does_not_fork(tmp_path: Path):
    with zygote(probes.zygote_with_a_thread) as channel:
        ready = heard(channel)
        channel.send(encode(order(tmp_path)))
        refused = heard(channel)

    assert isinstance(ready, ZygoteReady)
    assert ready.threads == 2
    assert isinstance(refused, ForkFailed)
    assert "2 threads" in refused.reason


def test_a_zygote_has_one_thread(tmp_path: Path):
    with zygote(probes.zygote_with_a_curious_worker) as channel:
        ready = heard(channel)

    assert isinstance(ready, ZygoteReady)
    assert ready.threads == 1


# ---- spares


def spares_of(zygote: int) -> list[int]:
    return [child.pid for child in psutil.Process(zygote).children()]


def test_an_order_goes_to_a_process_that_was_there_before_it_and_another_takes_its_place(tmp_path: Path):
    with zygote(probes.zygote_with_a_curious_worker) as channel:
        heard(channel)
        pid = multiprocessing.active_children()[0].pid
        before = wait_for(lambda: len(spares_of(pid)) == SPARES and spares_of(pid))
        channel.send(encode(order(tmp_path)))
        forked = heard(channel)
        facts = json.loads(wait_for(lambda: (tmp_path / "facts").exists() and (tmp_path / "facts").read_text()))
        heard(channel)
        after = wait_for(lambda: len(spares_of(pid)) == SPARES and spares_of(pid))

    assert forked.pid in before
    assert facts["collects"] is True
    assert len(set(before) & set(after)) == SPARES - 1
    wait_for(lambda: not any(psutil.pid_exists(spare) for spare in after))


def test_spares_that_are_killed_are_not_replaced_without_end_and_orders_are_carried_out(tmp_path: Path):
    with zygote(probes.zygote_with_a_curious_worker) as channel:
        heard(channel)
        pid = multiprocessing.active_children()[0].pid
        for _ in range(SPARES):
            spares = wait_for(lambda: spares_of(pid))
            os.kill(spares[0], signal.SIGKILL)
            wait_for(lambda spares=spares: spares[0] not in spares_of(pid))
        wait_for(lambda: not spares_of(pid))
        channel.send(encode(order(tmp_path)))
        forked = heard(channel)
        reaped = heard(channel)

    assert isinstance(forked, Forked)
    assert reaped == Reaped(session="a", epoch=1, status=0)


def test_spares_end_with_a_zygote_that_is_killed():
    async def story(at: House) -> None:
        spares = await until(lambda: [pid for zygote in zygotes() for pid in spares_of(zygote)])
        os.kill(zygotes()[0], signal.SIGKILL)
        await until(lambda: not any(psutil.pid_exists(spare) for spare in spares))

    in_house(story)


# ---- its life


def in_house(story: object) -> None:
    async def run() -> None:
        async with house("local") as at:
            await story(at)

    asyncio.run(run())


def test_a_zygote_that_dies_is_replaced_before_anybody_asks_and_workers_go_on():
    async def story(at: House) -> None:
        at.order()
        await at.hello()
        old = zygotes()[0]
        os.kill(old, signal.SIGKILL)
        new = await until(lambda: next((pid for pid in zygotes() if pid != old), None))
        at.order("b")
        await at.hello("b")

        assert zygotes() == [new]
        assert [session for session, *_ in at.supervisor.running()] == ["a", "b"]

    in_house(story)


def test_an_order_that_a_stopped_zygote_does_not_confirm_fails_with_the_reason_and_it_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(local, "CONFIRM_S", 1.0)

    async def story(at: House) -> None:
        at.order()
        await at.hello()
        old = zygotes()[0]
        os.kill(old, signal.SIGSTOP)
        at.order("b")
        (failed,) = await until(lambda: at.of(SpawnFailed, "b"))
        at.order("c")
        await at.hello("c")

        assert failed.reason.startswith("the zygote died (it did not confirm an order within 1 s)")
        assert not failed.fatal
        assert not psutil.pid_exists(old)

    in_house(story)


def test_a_zygote_that_cannot_start_does_not_loop_and_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "run_zygote", probes.zygote_that_cannot_start)

    async def story(at: House) -> None:
        at.order()
        (failed,) = await until(lambda: at.of(SpawnFailed))
        await until(lambda: not has_zygote(at))
        births = len((at.folder / "births").read_text())
        at.order("b")
        (again,) = await until(lambda: at.of(SpawnFailed, "b"))
        await asyncio.sleep(1)

        assert births == local.DEATHS
        assert len((at.folder / "births").read_text()) == births + 1  # one more for the order, and no more by itself
        for reason in (failed.reason, again.reason):
            assert reason.startswith(f"the zygote died (exit code 1); see {at.folder / 'zygote.log'}")
            assert "no library for you" in reason
        assert "no library for you" in (at.folder / "zygote.log").read_text()
        assert at.of(WorkerSpawned) == []

    in_house(story)


def has_zygote(at: House) -> bool:
    return at.launcher._process is not None


def zygotes() -> list[int]:
    titles = {c.pid: Path(f"/proc/{c.pid}/cmdline").read_text() for c in psutil.Process().children()}
    return [pid for pid, title in titles.items() if title.startswith("chat-coord: zygote")]


def test_the_user_can_read_why_no_worker_starts(product: Product):
    product.env["PYTHONPATH"] = str(broken_library(product.home.parent))
    product.run("new", "a")
    failed = product.wait_session("a", lambda s: s["exit_card"] is not None)

    assert "the zygote died (exit code 1)" in failed["exit_card"]["reason"]
    assert "no library for you" in failed["exit_card"]["reason"]
    assert "no library for you" in (product.home / "logs" / "zygote.log").read_text()


def broken_library(folder: Path) -> Path:
    (folder / "broken" / "pydantic_ai").mkdir(parents=True)
    (folder / "broken" / "pydantic_ai" / "__init__.py").write_text("raise ImportError('no library for you')\n")
    return folder / "broken"
