"""Commands that fork, flood, hang and ignore signals: bounded, and gone with their tool, their turn or their worker."""

import json
import os
import signal
import time

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

ALLOW = 'tools = { run_command = { rule = "allow" }, write_file = { rule = "allow" } }\n'


def use(command: str) -> str:
    return f"use {json.dumps({'tool': 'run_command', 'arguments': {'command': command}})}"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids_of(path) -> list[int]:
    """The pids that a command wrote down, a line each."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def work(product: Product, model: ModelServer):
    """A session ``a`` whose model may run commands without asking, and its folder."""
    folder = product.home.parent / "work"
    folder.mkdir()
    product.use_model(model.url, more=f"{ALLOW}tool_timeout_s = 3\n")
    product.run("start")
    product.run("new", "a", "--cwd", str(folder))
    return folder


def test_a_command_that_hangs_ignores_signals_and_keeps_the_pipe_is_ended_with_everything_it_started(
    product: Product, work
):
    command = (
        "trap '' TERM; (sh -c 'echo $$ >> pids; trap \"\" TERM; sleep 300') & "
        "setsid sh -c 'echo $$ >> pids; exec sleep 300' & echo $$ >> pids; wait; sleep 300"
    )
    begun_s = time.monotonic()
    reply = product.json("send", "a", use(command))
    took_s = time.monotonic() - begun_s

    assert "[ended after 3 s, which is tool_timeout_s]" in reply["reply"]
    assert took_s < 30
    pids = pids_of(work / "pids")
    assert len(pids) == 3
    wait_for(lambda: not any(map(alive, pids)), 10)


def test_what_a_command_leaves_running_ends_with_it_and_nobody_waits_for_its_pipe(product: Product, work):
    reply = product.json("send", "a", use("(sleep 300; echo late) & echo $! > pids; echo done"))

    assert "done\n\n[exit code 0]" in reply["reply"]
    assert "late" not in reply["reply"]
    wait_for(lambda: not any(map(alive, pids_of(work / "pids"))), 10)


def test_a_flood_is_cut_and_the_session_lives(product: Product, work):
    reply = product.json("send", "a", use("yes flood"))["reply"]

    assert "[… cut: " in reply
    assert "the first 65536 are shown]" in reply
    assert len(reply) < 70_000
    assert product.json("send", "a", "raw still here")["reply"] == "still here"


def test_a_killed_worker_takes_its_tools_along(product: Product, work):
    product.run("send", "a", use("setsid sleep 300 & echo $! > pids; echo $$ >> pids; sleep 300"), "--no-wait")
    wait_for(lambda: len(pids_of(work / "pids")) == 2)
    pids = pids_of(work / "pids")
    os.kill(product.session("a")["pid"], signal.SIGKILL)

    wait_for(lambda: not any(map(alive, pids)), 10)
    row = wait_for(lambda: next((r for r in product.json("history", "a") if r["role"] == "assistant"), None))
    assert row["stop_reason"] == "interrupted"
    assert "nobody knows what it did: run_command" in product.run("history", "a")


def test_cancel_ends_the_tool_and_the_turn_and_keeps_the_text(product: Product, work):
    product.run("send", "a", use("echo $$ > pids; sleep 300"), "--no-wait")
    wait_for(lambda: pids_of(work / "pids"))
    product.run("cancel", "a")
    row = product.json("history", "a")[-1]

    assert (row["stop_reason"], row["text"]) == ("cancelled", "Let me see.")
    assert not product.session("a")["unread"]
    wait_for(lambda: not any(map(alive, pids_of(work / "pids"))), 10)
    assert product.result("cancel", "a").returncode == 1


def test_the_environment_of_a_command_has_no_keys(product: Product, model: ModelServer):
    folder = product.home.parent / "work"
    folder.mkdir()
    product.use_model(model.url, more=f'{ALLOW}pass_env = ["GITHUB_TOKEN", "MY_API_KEY", "COLOUR"]\n')
    product.env |= {
        "GITHUB_TOKEN": "canary-1",
        "MY_API_KEY": "canary-2",
        "COLOUR": "blue",
        "OPENAI_API_KEY": "canary-3",
    }
    product.run("start")
    product.run("new", "a", "--cwd", str(folder))
    reply = product.json("send", "a", use("env; tr '\\0' '\\n' < /proc/$PPID/environ"))["reply"]

    assert "COLOUR=blue" in reply
    assert "canary" not in reply
    assert "test-key" not in reply


def test_two_sessions_that_write_the_same_file_are_told(product: Product, work):
    product.run("new", "b", "--cwd", str(work))
    write = f"use {json.dumps({'tool': 'write_file', 'arguments': {'path': 'shared.txt', 'text': 'x'}})}"
    first = product.json("send", "a", write)["reply"]
    second = product.json("send", "b", write)["reply"]

    assert "Careful" not in first
    assert "Careful: the session 'a' wrote this file lately, too." in second
    assert (work / "shared.txt").read_text() == "x"
