"""A first chat: prompts, replies, context, and what survives the end of a process."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration

SESSION_KEYS = {
    "id",
    "name",
    "number",
    "active",
    "type",
    "model",
    "node",
    "cwd",
    "residency",
    "work",
    "work_detail",
    "display",
    "unread",
    "pinned",
    "attached",
    "archived",
    "messages",
    "tokens",
    "pid",
    "epoch",
    "waiting_since",
    "ask",
    "exit_card",
    "memory",
    "created_at",
    "last_active_at",
    "unanswered",
    "parent",
    "origin",
    "group",
    "template",
    "proposed_type",
    "temperature",
}


def test_a_prompt_is_answered_with_everything_a_script_needs(product: Product):
    product.run("new", "a")
    answer = product.json("send", "a", "hello")

    assert set(answer) == {
        "session",
        "seq",
        "turn_id",
        "reply",
        "stop_reason",
        "usage",
        "queued_ms",
        "first_piece_ms",
        "duration_ms",
        "left_out",
    }
    assert (answer["seq"], answer["reply"], answer["stop_reason"]) == (1, "<hello>", "completed")
    assert answer["usage"] == {"input_tokens": 20, "output_tokens": 7}
    assert 0 <= answer["queued_ms"] <= answer["duration_ms"]


def test_the_list_has_every_promised_key(product: Product):
    made = product.json("new", "a")
    product.run("send", "a", "hello")
    (listed,) = product.sessions()

    assert set(made) == set(listed) == SESSION_KEYS
    assert (listed["messages"], listed["tokens"], listed["residency"], listed["work"]) == (2, 27, "live", "idle")


def test_a_worker_is_named_for_its_session_and_is_a_process_apart(product: Product):
    product.run("new", "my chat")
    worker = psutil.Process(product.live("my chat")["pid"])

    assert worker.cmdline()[0] == "chat-coord: my chat"
    assert os.getsid(worker.pid) == worker.pid
    assert worker.cwd() == str(product.home.parent)

    product.run("rename", "my chat", "other")

    assert wait_for(lambda: worker.cmdline()[0] == "chat-coord: other")


def test_after_a_kill_the_next_prompt_has_its_context_in_a_new_process(product: Product):
    product.run("new", "a")
    product.run("new", "b")
    product.run("send", "a", "first")
    before, other = product.live("a"), product.live("b")
    os.kill(before["pid"], signal.SIGKILL)
    dead = product.wait_session("a", lambda s: s["exit_card"] is not None)

    assert (dead["residency"], dead["pid"]) == ("hibernated", None)
    assert (dead["exit_card"]["signal"], dead["exit_card"]["exit_code"]) == ("SIGKILL", None)
    assert product.json("send", "a", "second")["reply"] == "<first><second>"

    after = product.session("a")

    assert after["pid"] != before["pid"]
    assert after["epoch"] == before["epoch"] + 1
    assert product.session("b")["pid"] == other["pid"]


def test_after_stop_and_start_the_next_prompt_has_its_context(product: Product):
    product.run("new", "a")
    product.run("send", "a", "first")
    product.run("stop")

    assert product.result("sessions").returncode == 3

    product.run("start")
    (kept,) = product.sessions()

    assert (kept["residency"], kept["messages"], kept["pid"]) == ("hibernated", 2, None)
    assert product.json("send", "a", "second")["reply"] == "<first><second>"


def test_a_prompt_sent_twice_under_one_key_is_one_prompt(product: Product, model: ModelServer):
    product.run("new", "a")
    first = product.json("send", "a", "hello", "--idem", "k1")
    again = product.json("send", "a", "hello", "--idem", "k1")
    other = product.result("send", "a", "something else", "--idem", "k1")

    assert (again["seq"], again["turn_id"], again["reply"]) == (first["seq"], first["turn_id"], first["reply"])
    assert len(model.calls) == 1
    assert other.returncode == 1
    assert "key was used for another text" in other.stderr


def test_prompts_are_answered_one_at_a_time_in_their_order(product: Product, model: ModelServer):
    product.run("new", "a")
    for word in ("one", "two", "three"):
        product.run("send", "a", word, "--no-wait")
    product.wait_session("a", lambda s: s["messages"] == 6)

    assert [row["text"] for row in product.json("history", "a")] == [
        "one",
        "<one>",
        "two",
        "<one><two>",
        "three",
        "<one><two><three>",
    ]
    assert model.most_at_once == 1


def test_a_timeout_ends_the_waiting_and_not_the_turn(product: Product, model: ModelServer):
    product.run("new", "a")
    late = product.result("send", "a", "wait", "--timeout", "0.5")

    assert late.returncode == 4
    assert "The turn goes on" in late.stderr

    model.gate.set()
    product.wait_session("a", lambda s: s["unread"])

    assert product.json("history", "a")[1]["text"] == "first half, second half"


def test_a_system_prompt_reaches_the_model(product: Product, model: ModelServer):
    product.run("new", "a", "--system", "Speak like a pirate.")
    product.run("send", "a", "hello")

    assert model.calls[0].messages[0] == {"role": "system", "content": "Speak like a pirate."}


def test_a_reply_of_megabytes_comes_whole_and_the_next_worker_has_it(product: Product):
    product.run("new", "a")
    answer = product.json("send", "a", f"big {3 << 20}")

    assert answer["reply"] == "x" * (3 << 20)

    os.kill(product.live("a")["pid"], signal.SIGKILL)

    assert product.json("send", "a", "still here")["reply"].endswith("<still here>")
    assert product.json("history", "a")[1]["text"] == answer["reply"]


def test_a_reply_that_is_too_long_is_cut_with_a_mark(product: Product):
    product.run("new", "a")
    answer = product.json("send", "a", f"big {9 << 20}")

    assert answer["stop_reason"] == "completed"
    assert answer["reply"].endswith("[… cut: the reply was longer than 8388608 bytes]")
    assert len(answer["reply"].encode()) <= 8_388_608
    assert product.json("send", "a", "still here")["stop_reason"] == "completed"


def test_a_prompt_from_standard_input_is_sent_as_it_is(product: Product, model: ModelServer):
    product.run("new", "a")
    product.run("send", "a", "-", stdin="two\nlines\n")

    assert model.calls[0].prompt == "two\nlines\n"


def test_the_product_starts_where_a_folder_is_named_like_one_of_its_packages(product: Product):
    work = product.home.parent / "work"
    for name in ("client", "coordinator", "workers", "protocol"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise SystemExit('the wrong package was imported')\n")
    done = subprocess.run(
        [COMMAND, "new", "a"], cwd=work, env=product.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert product.json("send", "a", "hello")["reply"] == "<hello>"


def test_start_says_where_and_is_content_when_it_runs_already(product: Product):
    first = product.run("start")
    again = product.run("start")
    status = product.json("status")

    assert f"The coordinator runs: pid {status['pid']}, home {product.home}." in first
    assert f"is running already: pid {status['pid']}" in again
    assert set(status) >= {
        "pid",
        "boot",
        "version",
        "home",
        "uptime_s",
        "sessions",
        "permits",
        "memory",
        "store",
        "rejected_frames",
        "launcher",
    }


def test_a_second_foreground_coordinator_leaves_with_75(product: Product):
    product.run("start")
    second = product.result("start", "--foreground")

    assert second.returncode == 75
    assert second.stderr == (
        f"Another coordinator owns {product.home}.\nHint: Use it, or stop it with `chat-coord stop`.\n"
    )


def test_a_coordinator_in_the_foreground_refuses_as_commands_do_and_cannot_steer_the_terminal(fresh: Product):
    fresh.configure('"\\u001b]0;evil\\u0007" = 1\n')
    foreground = fresh.result("start", "--foreground")
    background = fresh.result("start")

    assert foreground.returncode == background.returncode == 78
    assert foreground.stderr == background.stderr
    assert "evil" in foreground.stderr
    assert "\nHint: Keys are: " in foreground.stderr
    assert not set("\x1b\x07") & set(foreground.stderr)


def test_sigterm_drains_and_leaves_with_0(product: Product):
    process = product.popen("start", "--foreground")
    try:
        wait_for(lambda: product.result("status").returncode == 0)
        product.run("new", "a")
        product.run("send", "a", "first")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)

        assert process.wait(8) == 0
        assert time.monotonic() - began_s < 8
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    product.run("start")

    assert product.json("send", "a", "second")["reply"] == "<first><second>"


def test_a_killed_coordinator_is_replaced_and_its_workers_are_kept(product: Product, model: ModelServer):
    product.run("new", "a")
    product.run("send", "a", "first")
    pid = product.live("a")["pid"]
    product.run("send", "a", "wait", "--no-wait")
    wait_for(lambda: model.calls_of("wait"))
    os.kill(product.json("status")["pid"], signal.SIGKILL)

    assert product.result("sessions").returncode == 3

    product.run("start")
    model.gate.set()
    kept = product.wait_session("a", lambda s: s["messages"] == 4)

    assert kept["pid"] == pid
    assert len(model.calls_of("wait")) == 1  # the turn went on; it was not bought twice
    assert product.json("history", "a")[3]["text"] == "first half, second half"


def test_the_command_line_imports_no_heavy_library():
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import client.cli"], capture_output=True, text=True, check=True
    ).stderr

    for heavy in ("pydantic", "openai", "httpx2", "zmq", "sqlite3", "asyncio", "psutil"):
        assert f" {heavy}\n" not in listed
