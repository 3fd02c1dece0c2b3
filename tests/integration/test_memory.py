"""Memory governed with real processes: soft and hard limit, the budget, what status tells, and a full log folder."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from protocol.launch import MARK
from protocol.paths import Home
from protocol.processes import start_ticks
from tests.support.disks import fill, small_disk
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

MIB = 1 << 20


def test_a_session_that_grew_over_the_soft_limit_sleeps_when_it_is_idle_and_wakes_with_its_context(
    product: Product, model: ModelServer
):
    product.use_model(model.url, more=f"memory_soft_bytes = {30 * MIB}\n")
    product.run("new", "a")
    product.run("new", "small")
    watcher = product.popen("watch", "--json")
    try:
        product.run("send", "a", "first")
        big = product.json("send", "a", "big 3000000")
        asleep = product.wait_session("a", lambda s: s["residency"] == "hibernated")
        told = next(line for line in iter(watcher.stdout.readline, "") if "hibernating" in line)
    finally:
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=20)

    assert big["stop_reason"] == "completed"
    assert asleep["pid"] is None
    assert asleep["memory"] == {"uss_bytes": None, "rss_bytes": None}
    assert asleep["exit_card"] is None
    assert json.loads(told)["cause"] == "over memory_soft_bytes"
    assert product.session("small")["residency"] == "live"
    assert product.json("send", "a", "second")["reply"] == "<first><big 3000000><second>"


def test_a_worker_over_the_hard_limit_is_killed_and_comes_back_with_its_context(product: Product, model: ModelServer):
    product.use_model(model.url, more=f"memory_soft_bytes = {30 * MIB}\nmemory_hard_bytes = {32 * MIB}\n")
    product.run("new", "a")
    product.run("send", "a", "first")
    victim = product.live("a")
    product.run("send", "a", "big 4000000 wait", code=1)  # it is still being answered when its memory is read
    killed = product.wait_session("a", lambda s: s["exit_card"] is not None)

    assert "of memory of its own, and memory_hard_bytes allows 32.0 MiB" in killed["exit_card"]["reason"]
    assert killed["exit_card"]["signal"] == "SIGKILL"
    assert killed["exit_card"]["oom_suspected"] is False
    wait_for(lambda: start_ticks(victim["pid"]) is None)
    assert product.json("send", "a", "third")["reply"].startswith("<first>")


def test_status_counts_everything_and_names_who_goes_next(product: Product):
    product.run("new", "a")
    product.run("new", "b")
    product.run("pin", "a")
    memory = wait_for(
        lambda: next(
            (
                m
                for m in [product.json("status")["memory"]]
                if m["zygote_rss_bytes"] and (m["workers_uss_bytes"] or 0) > MIB
            ),
            None,
        )
    )
    facts = psutil.virtual_memory()

    assert memory["coordinator_rss_bytes"] > 20 * MIB
    assert memory["zygote_rss_bytes"] > 40 * MIB
    assert memory["model_server_rss_bytes"] is None
    assert memory["workers_uss_bytes"] < memory["total_pss_bytes"] < 400 * MIB
    assert memory["limit_bytes"] == memory["machine_bytes"] // 2 <= facts.total // 2
    assert memory["tool_limit_bytes"] == memory["machine_bytes"] // 4
    assert 0 < memory["available_bytes"] < facts.total
    assert memory["short"] is None
    assert [n["name"] for n in memory["next_to_hibernate"]] == ["b"]
    assert "nobody works on it, and it is not pinned" in memory["next_to_hibernate"][0]["why"]

    text = product.run("status")
    assert "\nmemory       coordinator " in text
    assert "\nnext to go   b: idle for " in text


def test_over_the_budget_idle_sessions_sleep_new_ones_are_refused_and_a_prompt_still_gets_its_answer(
    product: Product, model: ModelServer
):
    product.use_model(model.url, more=f"memory_total_bytes = {128 * MIB}\n")
    product.run("start")
    # Coordinator, zygote and one worker alone are about as much; the second makes it too much.
    product.run("new", "a", code=None)
    product.run("send", "a", "big 8000000", code=None)
    refused = wait_for(lambda: next((r for r in [product.result("new")] if r.returncode == 1), None), 30)

    assert "Memory is short: all processes together have" in refused.stderr
    assert "memory_total_bytes allows 128.0 MiB" in refused.stderr
    wait_for(lambda: "SHORT: all processes together" in product.run("status"))
    wait_for(lambda: all(s["residency"] != "live" for s in product.sessions()), 30)
    assert product.json("send", "a", "hello")["stop_reason"] == "completed"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("memory_soft_bytes = 1000", "memory_soft_bytes"),
        (f"memory_soft_bytes = {64 * MIB}\nmemory_hard_bytes = {64 * MIB}", "memory_hard_bytes (67108864) is not more"),
    ],
)
def test_limits_that_cannot_work_stop_the_start_with_78(fresh: Product, text: str, named: str):
    fresh.configure(text)
    refused = fresh.result("start")

    assert refused.returncode == 78
    assert named in refused.stderr


@pytest.mark.crash
def test_what_a_worker_left_while_no_coordinator_ran_is_gone_after_the_next_start(product: Product):
    product.run("new", "a")
    worker = product.live("a")
    # What its tool would be: below it once, with the mark, in a session of its own.
    environment = os.environ | {MARK: f"{worker['id']}-{worker['epoch']}"}
    left = os.posix_spawn("/bin/sleep", ["sleep", "600"], environment, setsid=True)
    try:
        coordinator = product.json("status")["pid"]
        os.kill(coordinator, signal.SIGKILL)
        wait_for(lambda: start_ticks(coordinator) is None)
        os.kill(worker["pid"], signal.SIGKILL)
        wait_for(lambda: start_ticks(worker["pid"]) is None)
        assert start_ticks(left) is not None

        product.run("start")
        wait_for(lambda: start_ticks(left) is None, 10)
    finally:
        os.kill(left, signal.SIGKILL)
        os.waitpid(left, 0)


def test_a_full_log_folder_stops_nobody(fresh: Product, model: ModelServer):
    fresh.use_model(model.url)
    logs = Home(fresh.home).logs
    with small_disk(logs, 1):
        fresh.run("start")
        fill(logs / "filler")
        fresh.run("new", "a")

        assert fresh.json("send", "a", "hello")["reply"] == "<hello>"
        os.kill(fresh.live("a")["pid"], signal.SIGKILL)
        fresh.wait_session("a", lambda s: s["exit_card"] is not None)
        assert fresh.json("send", "a", "again")["reply"] == "<hello><again>"
        fresh.stop()
        time.sleep(0.2)


def test_the_output_of_a_running_process_is_bounded(fresh: Product, model: ModelServer):
    fresh.use_model(model.url)
    logs = Home(fresh.home).logs
    logs.mkdir(parents=True, mode=0o700)
    loud = logs / "model-loud.log"
    loud.write_bytes(b"x" * (6 << 20))
    fresh.run("start")

    wait_for(lambda: loud.stat().st_size == 0, 10)
    assert Path(f"{loud}.1").stat().st_size == 5 << 20
