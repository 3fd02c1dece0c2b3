"""A crash of one worker touches nobody else."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]


def test_killing_one_worker_leaves_the_reply_of_another_unchanged_byte_for_byte(product: Product, model: ModelServer):
    product.run("new", "victim")
    product.run("new", "bystander")
    victim, bystander = product.live("victim"), product.live("bystander")
    reader = product.popen("send", "bystander", "count 150 b")
    product.run("send", "victim", "count 150 v", "--no-wait")
    wait_for(lambda: model.calls_of("count 150 v") and len(model.calls_of("count 150 v")[0].said) > 5)
    os.kill(victim["pid"], signal.SIGKILL)
    printed, _ = reader.communicate(timeout=120)

    assert reader.returncode == 0
    assert printed == "".join(f"b{i};" for i in range(150)) + "\n"
    assert product.session("bystander")["pid"] == bystander["pid"]
    assert product.session("bystander")["exit_card"] is None

    after = product.wait_session("victim", lambda s: s["messages"] == 2)
    ended = product.json("history", "victim")[1]

    assert ended["stop_reason"] == "interrupted"
    assert ended["text"].startswith("v0;v1;")
    assert after["exit_card"]["seq_in_flight"] == 1
    assert len(model.calls_of("count 150 v")) == 1  # it was not asked again by itself
    assert product.json("send", "victim", "hello")["stop_reason"] == "completed"


def test_a_worker_whose_interpreter_hangs_is_replaced(product: Product):
    product.run("new", "a")
    product.run("send", "a", "first")
    pid = product.live("a")["pid"]
    os.kill(pid, signal.SIGSTOP)
    dead = product.wait_session("a", lambda s: s["exit_card"] is not None)

    assert dead["exit_card"]["reason"] == "its main loop stopped answering"
    assert product.json("send", "a", "second")["reply"] == "<first><second>"


def test_a_worker_that_hangs_in_the_middle_of_a_turn_and_hears_no_signal_is_killed(product: Product, tmp_path: Path):
    product.env |= {"CC_FAILPOINT": "worker.piece:sleep=60", "CC_FAILPOINT_ONCE": str(tmp_path)}  # its loop, that is
    product.run("new", "a")
    cut = product.json("send", "a", "raw one", code=1)
    card = product.session("a")["exit_card"]

    assert cut["stop_reason"] == "interrupted"
    assert (card["reason"], card["signal"]) == ("its main loop stopped answering", "SIGKILL")
    assert product.json("send", "a", "raw two")["reply"] == "two"


def test_a_worker_that_dies_again_and_again_gives_up_with_a_reason_and_others_go_on(product: Product):
    product.configure((product.home / "config.toml").read_text().replace("\n[", "\nrestart_limit = 2\n[", 1))
    product.run("new", "a")
    product.run("new", "b")
    for _ in range(3):
        killed = product.live("a")
        product.run("send", "a", "wait", "--no-wait")
        product.wait_session("a", lambda s: s["work"] == "running")
        os.kill(killed["pid"], signal.SIGKILL)
        product.wait_session("a", lambda s, pid=killed["pid"]: s["pid"] != pid and s["work"] == "idle")
    failed = product.wait_session("a", lambda s: s["residency"] == "failed")

    assert failed["exit_card"]["signal"] == "SIGKILL"
    assert failed["exit_card"]["restarts"] == 2
    assert product.json("send", "b", "hello")["reply"] == "<hello>"


def test_a_prompt_that_three_workers_died_with_is_skipped_and_the_next_is_served(product: Product, model: ModelServer):
    product.env["CC_FAILPOINT"] = "worker.delivered:kill"
    product.run("new", "a")
    skipped = product.json("send", "a", "deadly", code=1)
    died = product.wait_session("a", lambda s: s["epoch"] == 4)  # and the fourth lives

    assert skipped["stop_reason"] == "poisoned"
    assert (died["exit_card"]["signal"], died["exit_card"]["seq_in_flight"]) == ("SIGKILL", 1)
    assert model.calls == []

    product.run("stop")
    del product.env["CC_FAILPOINT"]

    assert product.json("send", "a", "raw harmless")["reply"] == "harmless"
    assert [row["stop_reason"] for row in product.json("history", "a")] == [None, "poisoned", None, "completed"]
    assert model.calls_of("deadly") == []


def test_the_zygote_may_die_and_workers_neither_notice_nor_run_out(product: Product):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    zygote = next(p for p, title in _ours(product) if title == "chat-coord: zygote")
    os.kill(zygote, signal.SIGKILL)
    product.run("new", "b")

    assert product.json("send", "b", "hello")["reply"] == "<hello>"
    assert product.json("send", "a", "hello")["reply"] == "<hello>"
    assert product.session("a")["pid"] == pid


def _ours(product: Product) -> list[tuple[int, str]]:
    """Pids and titles of the processes that this product's coordinator started."""
    import psutil

    coordinator = psutil.Process(product.json("status")["pid"])
    return [(child.pid, (child.cmdline() or [""])[0]) for child in coordinator.children()]
