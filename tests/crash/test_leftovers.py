"""What an earlier coordinator left: its zygote, a dead worker nobody reaped, a worker that comes to itself too late."""

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import psutil
import pytest

from protocol.paths import Home, runtime_folder
from protocol.processes import start_ticks
from tests.support.model_server import ModelServer
from tests.support.product import Product, our_processes, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]


def kill_coordinator(product: Product) -> None:
    """SIGKILL, and wait until it is gone."""
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: start_ticks(pid) is None)


def holders(product: Product) -> set[str]:
    """Return the titles of the product's processes that have the lock's file open."""
    lock = str(Home(product.home).lock)
    found = set()
    for pid, title in our_processes(product.home.parent).items():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if str(link.readlink()) == lock:
                    found.add(title)
    return found


def test_a_zygote_that_stays_behind_holds_neither_the_lock_nor_a_dead_worker_alive(product: Product):
    product.run("new", "a")
    worker = product.live("a")["pid"]
    zygote = next(p for p, t in our_processes(product.home.parent).items() if t == "chat-coord: zygote")

    assert holders(product) == {"chat-coord: coordinator"}

    os.kill(zygote, signal.SIGSTOP)  # it neither leaves with its coordinator nor reaps its worker
    try:
        kill_coordinator(product)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
        product.run("start")

        assert product.session("a")["pid"] is None
        assert product.json("send", "a", "hello")["reply"] == "<hello>"
        assert psutil.Process(worker).status() == psutil.STATUS_ZOMBIE
    finally:
        os.kill(zygote, signal.SIGCONT)
    wait_for(lambda: start_ticks(zygote) is None)


def test_a_worker_that_comes_to_itself_after_it_was_replaced_writes_nothing(product: Product, model: ModelServer):
    product.run("new", "a")
    stale = product.live("a")
    product.run("send", "a", "wait one", "--no-wait")
    wait_for(lambda: model.calls_of("wait one") and model.calls_of("wait one")[0].said)
    product.wait_session("a", lambda s: s["work"] == "running")
    os.kill(stale["pid"], signal.SIGSTOP)
    try:
        kill_coordinator(product)
        with contextlib.closing(sqlite3.connect(product.home / "chat-coord.db")) as database, database:
            database.execute("UPDATE sessions SET start_ticks = start_ticks + 1")  # as if that pid were another's
        product.run("start")
        product.run("send", "a", "two")
        model.gate.set()  # the stale worker has a finished reply in its hands as soon as it runs
        wait_for(lambda: model.calls_of("wait one")[0].ended_s)
        before = product.json("history", "a")

        assert product.session("a")["epoch"] > stale["epoch"]
        assert [row["stop_reason"] for row in before if row["role"] == "assistant"] == ["interrupted", "completed"]
    finally:
        os.kill(stale["pid"], signal.SIGCONT)
    wait_for(lambda: start_ticks(stale["pid"]) is None)

    assert '"fenced"' in (Home(product.home).logs / f"{stale['id']}.jsonl").read_text()
    assert product.json("history", "a") == before

    product.run("stop")
    product.run("start")  # what it may have noted on its way out is not taken for a reply either

    assert product.json("history", "a") == before
    assert len(model.calls_of("wait one")) == 1


@pytest.mark.parametrize("name", ["clients.sock", "workers.sock"])
def test_a_folder_in_the_place_of_a_socket_is_left_alone(product: Product, name: str):
    in_the_way = runtime_folder(Home(product.home)) / name
    in_the_way.mkdir()
    mine = in_the_way / "mine"
    mine.write_text("precious")
    try:
        refused = product.result("start")

        assert refused.returncode == 78
        assert f"{in_the_way} is in the way" in refused.stderr
        assert mine.read_text() == "precious"
        assert not Home(product.home).discovery.exists()
    finally:
        mine.unlink()
        in_the_way.rmdir()


def test_a_link_in_the_place_of_the_lock_is_refused_and_a_lock_file_that_was_left_is_used(product: Product):
    home = Home(product.home)
    theirs = product.home.parent / "theirs"
    theirs.write_text("precious")
    home.lock.symlink_to(theirs)
    refused = product.result("start")

    assert refused.returncode == 78
    assert f"{home.lock} cannot be opened" in refused.stderr
    assert theirs.read_text() == "precious"

    home.lock.unlink()
    home.lock.write_text("4711\n")

    assert product.json("start")["boot"] == 1
