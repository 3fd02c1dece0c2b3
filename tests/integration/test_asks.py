"""A session asks before it acts; the ask outlives every process, and what was approved runs once, where it should."""

import json
import os
import signal
import subprocess

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration


def use(tool: str, **arguments: object) -> str:
    """A prompt that makes the scripted model call a tool."""
    return f"use {json.dumps({'tool': tool, 'arguments': arguments})}"


def asked(product: Product) -> dict:
    """The one ask that waits."""
    return wait_for(lambda: next(iter(product.json("inbox")), None))


def last(product: Product, name: str) -> dict:
    return product.json("history", name)[-1]


def over(product: Product, name: str) -> dict:
    """How the last turn ended, once it has."""
    wait_for(lambda: last(product, name)["role"] == "assistant")
    return last(product, name)


def kill_coordinator(product: Product) -> None:
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(("is_approved", "is_killed"), [(True, True), (False, True), (True, False), (False, False)])
def test_an_ask_outlives_worker_and_coordinator_and_what_was_approved_runs_once(
    product: Product, model: ModelServer, is_approved: bool, is_killed: bool
):
    folder = product.home.parent / "work"
    folder.mkdir()
    product.run("start")
    product.run("new", "builder", "--cwd", str(folder))
    command = "pwd >> ran.txt; echo it ran"
    product.run("send", "builder", use("run_command", command=command), "--no-wait")
    ask = asked(product)
    waiting = product.json("sessions", "--waiting")

    assert [s["name"] for s in waiting] == ["builder"]
    assert waiting[0]["work"] == waiting[0]["display"] == "requires_action"
    assert waiting[0]["ask"]["argv"] == ask["argv"] == ["/bin/sh", "-c", command]
    assert set(ask) == {"id", "session", "name", "kind", "tool", "argv", "text", "since"}
    assert not (folder / "ran.txt").exists()

    if is_killed:
        os.kill(product.session("builder")["pid"], signal.SIGKILL)
    else:
        product.run("hibernate", "builder")
    product.wait_session("builder", lambda s: s["residency"] == "hibernated")
    kill_coordinator(product)
    product.run("start")

    assert product.json("inbox") == [ask]
    assert product.session("builder")["work"] == "requires_action"

    product.run(*(["approve", ask["id"]] if is_approved else ["deny", ask["id"][:6], "not today"]))
    row = over(product, "builder")

    assert row["stop_reason"] == "completed"
    assert product.json("inbox") == []
    results = model.calls[-1].results
    if is_approved:
        assert (folder / "ran.txt").read_text() == f"{folder}\n"
        assert results == ["it ran\n\n[exit code 0]"]
    else:
        assert not (folder / "ran.txt").exists()
        assert results == ["The user said no to this call: not today."]
    assert row["text"] == f"Let me see.\n\n[{results[0]}]"
    assert len(model.calls) == 2


def test_the_first_answer_counts_and_the_second_is_told_who_gave_it(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    product.run("send", "a", use("run_command", command="true"), "--no-wait")
    ask = asked(product)
    product.run("deny", ask["id"])
    second = product.result("approve", ask["id"])

    assert second.returncode == 1
    assert f"The ask {ask['id']} was denied by cli (pid " in second.stderr
    assert product.result("approve", "ffff").returncode == 1
    over(product, "a")


def test_send_tells_that_the_turn_needs_a_yes_and_goes_on_waiting(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    sending = product.popen("send", "a", use("run_command", command="echo out"), "--json")
    ask = asked(product)
    product.run("approve", ask["id"])
    out, _ = sending.communicate(timeout=60)

    assert json.loads(out)["stop_reason"] == "completed"
    assert "out" in json.loads(out)["reply"]


def test_a_fetch_goes_to_the_address_that_was_approved_and_a_turn_has_a_last_round(
    product: Product, model: ModelServer
):
    product.use_model(model.url, more='tools = { fetch_url = { rule = "allow" } }\n')
    product.run("start")
    product.run("new", "a")
    reply = product.json("send", "a", use("fetch_url", url=f"{model.url}/nothing"))["reply"]
    endless = json.dumps({"tool": "list_directory", "arguments": {"path": "."}})
    ended = product.result("send", "a", f"loop {endless}")

    assert "[501, " in reply
    assert ended.returncode == 1
    assert "more than 50 rounds" in ended.stderr


def test_the_plain_terminal_shows_an_ask_its_answer_and_what_the_tool_did(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    terminal = subprocess.Popen(
        [COMMAND, "chat", "a", "--plain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=product.environment,
    )  # fmt: skip
    assert terminal.stdin is not None
    terminal.stdin.write(f"{use('run_command', command='echo out')}\n")
    terminal.stdin.flush()
    product.run("approve", asked(product)["id"])
    out, _ = terminal.communicate(timeout=60)

    assert "[run_command needs your yes: /approve, or /deny WHY]" in out
    assert ": echo out\n" in out
    assert "[run_command approved by cli (pid " in out
    assert "[run_command: echo out … done, 3 lines]" in out


def test_commands_of_the_plain_terminal_answer_what_a_session_asks(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    product.run("send", "a", use("run_command", command="echo out"), "--no-wait")
    asked(product)
    out = product.run("chat", "a", "--plain", stdin="/inbox\n/deny not like that\n")

    assert "a wants run_command" in out
    assert "[run_command denied]" in out
    assert over(product, "a")["text"].endswith("[The user said no to this call: not like that.]")

    product.run("send", "a", use("run_command", command="echo out"), "--no-wait")
    asked(product)
    product.run("chat", "a", "--plain", stdin="/cancel\n")

    assert last(product, "a")["stop_reason"] == "cancelled"
    assert product.json("inbox") == []


def test_a_command_that_a_session_runs_cannot_approve_its_own_call(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a", "--cwd", str(product.home.parent))
    product.run("new", "b", "--cwd", str(product.home.parent))
    product.run("send", "b", use("run_command", command="touch b-ran"), "--no-wait")
    ask = asked(product)
    line = f"{COMMAND} --home {product.home} approve {ask['id']}; echo code $?"
    product.run("send", "a", use("run_command", command=line), "--no-wait")
    mine = wait_for(lambda: next((a for a in product.json("inbox") if a["name"] == "a"), None))
    product.run("approve", mine["id"])
    row = over(product, "a")

    assert "code 1" in row["text"]
    assert "may not answer what sessions ask" in row["text"]
    assert [a["id"] for a in product.json("inbox")] == [ask["id"]]
    assert not (product.home.parent / "b-ran").exists()
    product.run("cancel", "b")


def test_reading_in_the_folder_needs_no_yes_and_outside_is_refused(product: Product, model: ModelServer):
    folder = product.home.parent / "work"
    folder.mkdir()
    (folder / "note.txt").write_text("inside\n")
    (product.home.parent / "secret.txt").write_text("outside\n")
    (folder / "link").symlink_to(product.home.parent / "secret.txt")
    product.run("start")
    product.run("new", "a", "--cwd", str(folder))
    for path in ("note.txt", "../secret.txt", "link", "no\u0000thing", "missing"):
        product.run("send", "a", use("read_file", path=path))
    texts = [row["text"] for row in product.json("history", "a") if row["role"] == "assistant"]

    assert "[inside\n]" in texts[0]
    assert all("do not allow read_file of" in text for text in texts[1:3])
    assert "NUL" in texts[3]
    assert "cannot be read: No such file" in texts[4]
    assert not any("outside" in text for text in texts)


def test_bad_arguments_and_unknown_tools_are_told_to_the_model_and_the_session_lives(
    product: Product, model: ModelServer
):
    product.run("start")
    product.run("new", "a")
    wishes = [
        {"tool": "run_command", "arguments": {"cmd": 1}},
        {"tool": "run_command", "arguments": "[1, 2]"},
        {"tool": "run_command", "arguments": "{broken"},
        {"tool": "no_such_tool", "arguments": {}},
        {"tool": "fetch_url", "arguments": {"url": "file:///etc/passwd"}},
        {"tool": "write_file", "arguments": {"path": "x", "text": "y" * 200_000}},
    ]
    for wish in wishes:
        sent = product.run("send", "a", "-", "--json", stdin=f"use {json.dumps(wish)}")
        assert json.loads(sent)["stop_reason"] == "completed", wish

    assert product.json("inbox") == []
    assert product.json("send", "a", "raw still here")["reply"] == "still here"
