"""One worker from outside and inside, with real processes: also one that hangs, stands still, sleeps or is gone."""

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from protocol import failpoints
from protocol.processes import start_ticks
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

WORKER_KEYS = {
    "pid", "epoch", "started_at", "uptime_s", "heartbeat_age_ms", "loop_lag_ms", "restarts", "exit_card", "memory",
    "cpu_percent", "threads", "open_files", "children", "inbox", "permit", "stacks",
}  # fmt: skip
MEMORY_KEYS = {
    "rss_bytes", "pss_bytes", "uss_bytes", "swap_bytes", "tree_uss_bytes", "soft_limit_bytes", "hard_limit_bytes",
    "history",
}  # fmt: skip


def shape(found: dict) -> tuple:
    return (
        set(found), set(found["worker"]), set(found["worker"]["memory"]), set(found["worker"]["permit"]),
        set(found["conversation"]),
    )  # fmt: skip


SHAPE = (
    {"session", "worker", "conversation"}, WORKER_KEYS, MEMORY_KEYS, {"held", "position", "waited_ms"},
    {"messages", "tokens", "snapshot_bytes", "buffered_bytes"},
)  # fmt: skip


def test_a_live_session_is_shown_and_its_numbers_agree_with_those_of_the_system(product: Product):
    product.run("new", "a")
    product.run("send", "a", "hello")
    product.wait_session("a", lambda s: s["memory"]["uss_bytes"])
    found = product.json("inspect", "a")
    process = psutil.Process(found["worker"]["pid"])
    own = process.memory_full_info()
    worker, memory = found["worker"], found["worker"]["memory"]

    assert shape(found) == SHAPE
    assert found["session"] == product.session("a") | {"memory": found["session"]["memory"]}
    assert memory["rss_bytes"] == pytest.approx(own.rss, rel=0.05)
    assert memory["uss_bytes"] == pytest.approx(own.uss, rel=0.05)
    assert memory["pss_bytes"] == pytest.approx(own.pss, rel=0.05)
    assert memory["tree_uss_bytes"] == memory["uss_bytes"]
    assert (memory["soft_limit_bytes"], memory["hard_limit_bytes"]) == (52_428_800, 536_870_912)
    assert memory["history"][-1]["uss_bytes"] > 1 << 20
    assert (worker["threads"], worker["open_files"]) == (process.num_threads(), process.num_fds())
    assert worker["started_at"] == pytest.approx(process.create_time(), abs=2)
    assert 0 <= worker["heartbeat_age_ms"] < 5_000
    assert 0 <= worker["cpu_percent"] < 50
    assert (worker["children"], worker["inbox"], worker["stacks"]) == ([], 0, None)
    assert worker["permit"] == {"held": False, "position": None, "waited_ms": None}
    assert found["conversation"]["messages"] == 2
    assert found["conversation"]["snapshot_bytes"] is None

    text = product.run("inspect", "a")
    for words in ("session       a (", "state         o idle", "memory        own (USS)", "cpu           "):
        assert words in text


def test_a_session_that_answers_shows_its_permit_its_inbox_and_what_is_buffered(product: Product, model: ModelServer):
    product.use_model(model.url, more="max_concurrent_api_calls = 1\n")
    product.run("new", "a")
    product.run("new", "b")
    product.run("send", "a", "wait", "--no-wait")
    product.run("send", "a", "later", "--no-wait")
    wait_for(lambda: model.at_once)
    product.run("send", "b", "x", "--no-wait")
    product.wait_session("b", lambda s: s["work"] == "throttled")
    a = wait_for(
        lambda: next(
            (f for f in [product.json("inspect", "a")] if f["conversation"]["buffered_bytes"]),
            None,
        )
    )
    b = product.json("inspect", "b")
    model.gate.set()

    assert (a["worker"]["permit"]["held"], a["worker"]["inbox"]) == (True, 1)
    assert a["conversation"]["buffered_bytes"] == len("first half, ")
    assert b["worker"]["permit"]["position"] == 1
    assert b["worker"]["permit"]["waited_ms"] > 0


def test_sleeping_sessions_are_shown_without_waking_and_those_that_never_started_too(product: Product):
    product.configure((product.home / "config.toml").read_text().replace("\n", "\nmax_active_sessions = 1\n", 1))
    product.run("new", "a")
    product.run("send", "a", "hello")
    product.run("hibernate", "a")
    product.run("new", "b")
    product.run("pin", "b")
    product.run("new", "never")
    asleep, never = product.json("inspect", "a", "--stacks"), product.json("inspect", "never", "--stacks")

    assert shape(asleep) == shape(never) == SHAPE
    assert asleep["conversation"]["snapshot_bytes"] > 10
    assert asleep["conversation"]["messages"] == 2
    assert (never["worker"]["pid"], never["worker"]["epoch"], never["worker"]["stacks"]) == (None, 0, None)
    for found, where in ((asleep, "hibernated"), (never, "queued")):
        assert found["session"]["residency"] == where
        assert found["worker"]["pid"] is None
        assert found["worker"]["memory"]["uss_bytes"] is None
        assert found["worker"]["cpu_percent"] is None
    assert product.session("a")["residency"] == "hibernated"
    assert "worker        none" in product.run("inspect", "never")


@pytest.mark.crash
def test_a_session_that_gave_up_shows_its_last_exit(product: Product):
    product.env["CHAT_COORD_RESTART_LIMIT"] = "0"
    product.run("new", "a")
    worker = product.live("a")
    product.run("send", "a", "wait", "--no-wait")
    product.wait_session("a", lambda s: s["work"] == "running")
    os.kill(worker["pid"], signal.SIGSEGV)
    product.wait_session("a", lambda s: s["residency"] == "failed")
    found = product.json("inspect", "a")

    assert shape(found) == SHAPE
    assert found["worker"]["exit_card"]["signal"] == "SIGSEGV"
    assert "signal SIGSEGV" in product.run("inspect", "a")


def test_processes_that_vanish_while_they_are_read_are_no_error(product: Product):
    product.run("new", "a")
    for _ in range(8):
        pid = product.session("a")["pid"]
        reader = product.popen("inspect", "a", "--json")
        time.sleep(0.25)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        out, _ = reader.communicate(timeout=30)
        assert reader.returncode == 0
        assert shape(json.loads(out)) == SHAPE
        product.run("wake", "a")


# ---- stacks


def line_of(function: str) -> int:
    """The line in the product's file where the hanging call stands."""
    text = Path(failpoints.__file__).read_text(encoding="utf-8")
    place = text.index("re.match(", text.index(f"def {function}"))
    return text.count("\n", 0, place) + 1


def test_a_worker_in_a_regular_expression_without_end_is_shown_at_that_line_within_two_seconds(fresh: Product, model):
    fresh.env["CC_FAILPOINT"] = "worker.started:hang"
    fresh.use_model(model.url)
    fresh.run("new", "a")
    fresh.run("new", "b")
    worker = fresh.live("a")
    fresh.run("send", "a", "hello", "--no-wait")
    busy = psutil.Process(worker["pid"])
    wait_for(lambda: busy.cpu_percent(0.2) > 30)
    begun_s = time.monotonic()
    found = fresh.json("inspect", "a", "--stacks")
    took_s = time.monotonic() - begun_s
    stacks = found["worker"]["stacks"]

    assert took_s < 3.5  # with the start of the command itself, on a busy machine; the coordinator waits 1 s
    assert f'protocol/failpoints.py", line {line_of("hang_in_a_regular_expression")} in hang_in_a' in stacks
    assert "The main loop does not answer within 1 s" in stacks
    assert found["worker"]["cpu_percent"] > 20
    assert fresh.json("inspect", "b", "--stacks")["worker"]["stacks"]  # nobody else noticed
    again = fresh.json("inspect", "a", "--stacks")["worker"]["stacks"]
    assert again.count("Current thread") == 1  # what was written before is gone
    os.kill(worker["pid"], signal.SIGKILL)


def test_threads_and_tasks_of_a_worker_that_is_well_are_shown_and_leave_nothing(product: Product, model: ModelServer):
    product.run("new", "a")
    product.run("send", "a", "wait", "--no-wait")
    worker = product.wait_session("a", lambda s: s["work"] == "running")
    wait_for(lambda: model.at_once)
    log = product.home / "logs" / f"{worker['id']}.stderr"
    before = log.read_text()
    stacks = [product.json("inspect", "a", "--stacks")["worker"]["stacks"] for _ in range(3)][-1]
    files = psutil.Process(worker["pid"]).num_fds()
    text = product.run("inspect", "a", "--stacks")
    files_after = psutil.Process(worker["pid"]).num_fds()
    model.gate.set()

    assert re.search(r"^Current thread 0x[0-9a-f]+", stacks, re.MULTILINE)
    assert "in run_forever" in stacks  # wherever in its loop the main thread was hit
    for place in ("Worker.serve", "Worker._beat", "Worker._answer", "PydanticAiModel.stream"):
        assert re.search(rf"line \d+ in {re.escape(place)}", stacks), place
    assert "\nTasks of the main loop\n" in text
    assert log.read_text() == before
    assert files_after == files  # both while the turn runs: its end closes its connection
    product.wait_session("a", lambda s: s["messages"] == 2)


def test_a_worker_that_stands_still_is_said_to(product: Product):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        stacks = product.json("inspect", "a", "--stacks")["worker"]["stacks"]
    finally:
        os.kill(pid, signal.SIGCONT)

    assert "wrote no stacks within 1 s; it is stopped" in stacks
    assert "The main loop does not answer" in stacks


# ---- by hand


@pytest.mark.crash
def test_kill_ends_the_worker_with_all_below_it_and_the_session_goes_on(product: Product):
    product.run("new", "a")
    product.run("send", "a", "first")
    worker = product.live("a")
    killed = product.json("kill", "a")

    assert start_ticks(worker["pid"]) is None
    assert (killed["residency"], killed["pid"]) == ("hibernated", None)
    assert killed["exit_card"]["reason"] == "killed by hand"
    refused = product.result("kill", "a")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (
        1, "The session 'a' has no worker: it is hibernated."
    )  # fmt: skip
    assert product.json("send", "a", "second")["reply"] == "<first><second>"


def test_restart_worker_replaces_the_process_and_keeps_the_conversation(product: Product, model: ModelServer):
    product.run("new", "a")
    product.run("send", "a", "first")
    product.run("pin", "a")
    before = product.live("a")
    after = product.json("restart-worker", "a")
    assert (after["residency"], after["exit_card"]) == ("live", None)
    assert after["pid"] != before["pid"]
    assert product.json("send", "a", "second")["reply"] == "<first><second>"

    product.run("send", "a", "wait", "--no-wait")
    wait_for(lambda: model.at_once)
    refused = product.result("restart-worker", "a")
    assert (refused.returncode, "it is answering" in refused.stderr) == (1, True)
    assert product.session("a")["pid"] == after["pid"]

    forced = product.json("restart-worker", "a", "--force")
    assert forced["pid"] not in {after["pid"], None}
    assert product.json("history", "a")[-1]["stop_reason"] == "interrupted"


def test_hooks_are_run_for_what_happens_and_one_that_hangs_stops_nothing(product: Product, model: ModelServer):
    out = product.home.parent / "told"
    product.use_model(
        model.url,
        more='hook_completed = ["sleep", "600"]\n'
        f'hook_failed = ["sh", "-c", \'echo "$CHAT_COORD_SESSION_NAME $CHAT_COORD_EVENT" >>{out}\']\n',
    )
    product.run("new", "a b")
    for _ in range(3):
        product.run("send", "a b", "hi")
    product.run("send", "a b", "status 500", code=1)

    assert wait_for(lambda: out.exists() and out.read_text(), 60) == "a b failed\n"
    assert product.live("a b")


# ---- top


def test_top_once_lists_what_runs_with_the_totals_and_who_goes_next(product: Product):
    product.run("new", "a")
    product.run("new", "b")
    product.run("pin", "a")
    product.wait_session("b", lambda s: s["memory"]["uss_bytes"])
    found = product.json("top", "--once")
    row = next(s for s in found["sessions"] if s["name"] == "b")

    assert set(found) == {"sessions", "totals", "next_to_hibernate"}
    assert set(product.session("b")) < set(row)
    assert row["memory"]["rss_bytes"] == pytest.approx(psutil.Process(row["pid"]).memory_info().rss, rel=0.05)
    assert row["history"] == [row["memory"]["uss_bytes"]] or len(row["history"]) > 1
    assert 0 <= row["cpu_percent"] < 50
    assert found["totals"]["sessions"]["live"] == 2
    assert found["totals"]["permits"]["limit"] == 5
    assert found["totals"]["memory"]["limit_bytes"] > 0
    assert 0 <= found["totals"]["cpu_percent"] < 100
    assert [n["name"] for n in found["next_to_hibernate"]] == ["b"]

    lines = product.run("top", "--once").splitlines()
    assert lines[0].startswith("chat-coord top   2 of 10 slots")
    assert "hibernated next: b" in lines
    assert [line.split()[1] for line in lines[4:]] in (["a", "b"], ["b", "a"])
    assert product.run("top").splitlines()[3] == lines[3]  # without a terminal it is printed once too
    assert product.result("top", "--json").returncode == 2


def test_plain_shows_and_kills_too(product: Product):
    product.run("new", "a")
    product.live("a")
    said = product.run("chat", "a", "--plain", stdin="/inspect\n/top\n/inspect --stacks\n/kill\n/kill a\n/quit\n")

    assert "session       a (" in said
    assert "chat-coord top   1 of 10 slots" in said
    assert "Tasks of the main loop" in said
    assert "Say which: /kill NAME." in said
    assert "The worker of 'a' is dead" in said
