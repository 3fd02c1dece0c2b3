"""A store that cannot write: no false acknowledgement, a clear message, all can be read, and it comes back alone."""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.disks import fill, remount, small_disk
from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]


@contextlib.contextmanager
def no_large_files(product: Product) -> Iterator[str]:
    """The coordinator may not make its files longer: a write that fails, as on a disk that gives errors."""
    pid = product.json("status")["pid"]
    limit = (product.home / "chat-coord.db-wal").stat().st_size
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        yield "the disk refused"
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def full_disk(product: Product) -> Iterator[str]:
    """Not a block is left on the home's disk."""
    fill(product.home / "filler")
    try:
        yield "no room is left"
    finally:
        (product.home / "filler").unlink()


@contextlib.contextmanager
def foreign_lock(product: Product) -> Iterator[str]:
    """Somebody has a transaction open in a sqlite3 shell."""
    with contextlib.closing(sqlite3.connect(product.home / "chat-coord.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield "another program holds a lock"


def store(product: Product) -> dict:
    return product.json("status")["store"]


def follow(product: Product, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a command whose output goes to a file."""
    out = product.home.parent / f"{'-'.join(words[:2])}.out"
    with out.open("w") as file:
        process = subprocess.Popen(
            [COMMAND, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL, env=product.environment
        )
    return process, out


def store_turns(changes: Path) -> list[tuple[str, str]]:
    whole, _, _ = changes.read_text().rpartition("\n")  # it may be writing the next line just now
    lines = [json.loads(line) for line in whole.splitlines()]
    return [(line["from"], line["to"]) for line in lines if line["session"] is None]


def all_refused(product: Product, reason: str) -> None:
    for words in (
        ("send", "idle", "meanwhile", "--no-wait"),
        ("new", "more"),
        ("rename", "idle", "x"),
        ("close", "idle"),
    ):
        done = product.result(*words)

        assert done.returncode == 1, done
        assert done.stdout == ""
        assert reason in done.stderr
        assert "nothing was acknowledged" in done.stderr
        assert "Hint: " in done.stderr


def story(product: Product, model: ModelServer, trouble: Callable[[Product], contextlib.AbstractContextManager[str]]):
    product.env["CHAT_COORD_START_TIMEOUT_S"] = "120"  # a slow machine is no crash
    for name in ("busy", "idle", "crashes"):
        product.run("new", name)
    for name in ("idle", "crashes"):
        product.live(name)
    watching, changes = follow(product, "watch", "--json")
    sending, said = follow(product, "send", "busy", "wait", "--json")
    crashes = follow(product, "send", "crashes", "wait")[0]
    product.wait_session("crashes", lambda s: s["display"] == "running")
    wait_for(lambda: len(model.calls_of("wait")) == 2)
    product.run("send", "crashes", "queued", "--no-wait")
    acknowledged = [f"before {i}" for i in range(2)]
    for text in acknowledged:
        product.run("send", "idle", text, "--json")
    wait_for(lambda: "from" in changes.read_text())  # it listens
    before = product.session("crashes")
    try:
        with trouble(product) as reason:
            all_refused(product, reason)
            assert not store(product)["writable"]
            assert reason in store(product)["fault"]
            assert "READ ONLY" in product.run("status")
            assert [r["text"] for r in product.json("history", "idle")][::2] == acknowledged

            os.kill(before["pid"], signal.SIGKILL)
            product.wait_session("crashes", lambda s: s["residency"] in {"starting", "waking"})
            assert product.session("crashes")["epoch"] == before["epoch"]
            model.gate.set()
            wait_for(lambda: model.calls_of("wait")[0].ended_s and model.calls_of("wait")[1].ended_s)
            assert sending.poll() is None  # the reply is finished and is not final
            assert [r["role"] for r in product.json("history", "busy")] == ["user"]

        wait_for(lambda: store(product)["writable"])  # by itself
        assert sending.wait(60) == 0
        assert json.loads(said.read_text())["reply"] == "first half, second half"
        assert len(model.calls_of("wait")) == 2  # nothing was paid for twice
        after = product.live("crashes")
        assert after["epoch"] > before["epoch"]
        assert after["exit_card"]["restarts"] == 0  # what the store could not do was not counted as its crashes
        product.wait_session("crashes", lambda s: s["messages"] == 4)
        acknowledged += ["after"]
        product.run("send", "idle", "after")
        wait_for(lambda: store_turns(changes)[-1:] == [("read-only", "writable")])
    finally:
        model.gate.set()
        crashes.wait(60)
        watching.terminate()
        watching.wait(60)
    assert store_turns(changes)[0] == ("writable", "read-only")

    os.kill(product.json("status")["pid"], signal.SIGKILL)
    product.run("start")
    assert [r["text"] for r in product.json("history", "idle")][::2] == acknowledged
    assert {s["name"] for s in product.sessions("--all")} == {"busy", "idle", "crashes"}


def test_a_disk_that_refuses_to_write(product: Product, model: ModelServer):
    story(product, model, no_large_files)


def test_a_lock_of_another_program(product: Product):
    product.run("new", "idle")
    product.run("send", "idle", "before")
    with foreign_lock(product) as reason:
        all_refused(product, reason)
        assert reason in store(product)["fault"]
        assert [r["text"] for r in product.json("history", "idle")] == ["before", "<before>"]

    wait_for(lambda: store(product)["writable"])
    assert product.json("send", "idle", "after")["reply"] == "<before><after>"


def test_a_full_disk(product: Product, model: ModelServer):
    config = (product.home / "config.toml").read_text()
    with small_disk(product.home, 16):
        product.configure(config)
        try:
            story(product, model, full_disk)
        finally:
            product.stop()
            wait_for(lambda: not (product.home / "coordinator.json").exists())


def test_a_home_that_is_full_at_the_start_or_read_only_is_said_clearly_and_can_be_exported(
    product: Product, tmp_path: Path
):
    config = (product.home / "config.toml").read_text()
    with small_disk(product.home, 16):
        product.configure(config)
        product.run("new", "a")
        product.run("send", "a", "hello")
        product.run("stop")
        fill(product.home / "filler")
        full = product.result("start")

        assert full.returncode in {1, 78}
        assert str(product.home) in full.stderr
        assert "no room is left" in full.stderr
        assert "Traceback" not in full.stderr

        (product.home / "filler").unlink()
        remount(product.home, "ro")
        done = product.result("start")

        assert done.returncode == 78
        assert f"The folder {product.home} cannot be written." in done.stderr
        assert "export --all" in done.stderr
        assert product.json("export", "--all", str(tmp_path / "out"))["complete"]
        assert "<hello>" in next((tmp_path / "out").iterdir()).read_text()
        product.run("backup", str(tmp_path / "copy.db"))
