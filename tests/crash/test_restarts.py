"""The coordinator is replaced, killed, stopped by a signal, or loses its sockets: sessions go on, nothing is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pexpect
import psutil
import pytest

from protocol.paths import Home, read_discovery, runtime_folder
from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, our_processes, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]


def kill_coordinator(product: Product) -> None:
    """SIGKILL, and wait until it is gone."""
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in our_processes(product.home.parent))


def begun(product: Product, model: ModelServer, prompt: str) -> subprocess.Popen[str]:
    """Send a prompt and return when the model has begun to answer."""
    sender = product.popen("send", "a", prompt, "--json")
    wait_for(lambda: model.calls_of(prompt) and model.calls_of(prompt)[0].said)
    return sender


def test_a_restart_keeps_every_pid_and_the_running_turn(product: Product, model: ModelServer):
    product.run("new", "a")
    product.run("new", "b")
    pids = [product.live(name)["pid"] for name in "ab"]
    before = product.json("status")
    sender = begun(product, model, "wait one")
    after = product.json("restart")

    assert after["pid"] != before["pid"]
    assert after["boot"] == before["boot"] + 1
    assert [product.live(name)["pid"] for name in "ab"] == pids

    model.gate.set()
    printed, _ = sender.communicate(timeout=120)

    assert json.loads(printed)["reply"] == "first half, second half"
    assert len(model.calls_of("wait one")) == 1
    assert product.json("send", "b", "hello")["reply"] == "<hello>"
    assert [product.session(name)["epoch"] for name in "ab"] == [1, 1]


def test_a_restart_with_a_bad_configuration_leaves_the_old_one_running_and_without_one_it_starts_one(product: Product):
    assert product.json("restart")["boot"] == 1

    pid = product.json("status")["pid"]
    good = (product.home / "config.toml").read_text()
    product.configure("max_active_sessions = 0\n" + good)

    assert "max_active_sessions" in product.result("restart").stderr
    assert product.json("status")["pid"] == pid


def test_a_reply_that_is_finished_while_no_coordinator_runs_is_kept(product: Product, model: ModelServer):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    sender = begun(product, model, "wait one")
    sender.kill()
    sender.communicate()
    kill_coordinator(product)
    model.gate.set()
    wait_for(lambda: model.calls_of("wait one")[0].ended_s)
    product.run("start")
    product.wait_session("a", lambda s: s["messages"] == 2)

    assert product.json("history", "a")[1]["text"] == "first half, second half"
    assert product.live("a")["pid"] == pid
    assert len(model.calls_of("wait one")) == 1


def test_after_the_end_of_all_processes_every_session_is_there_and_answers_with_its_context(
    product: Product, model: ModelServer
):
    for name in "ab":
        product.run("new", name, "--type", "review")
        product.run("send", name, f"first of {name}")
    product.run("send", "a", "wait one", "--no-wait")
    wait_for(lambda: model.calls_of("wait one") and model.calls_of("wait one")[0].said)
    product.run("send", "a", "second of a", "--no-wait")
    for pid in our_processes(product.home.parent):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not our_processes(product.home.parent))
    model.gate.set()
    product.run("start")
    asleep = product.session("b")

    assert (asleep["residency"], asleep["pid"], asleep["type"]) == ("hibernated", None, "review")

    product.wait_session("a", lambda s: s["messages"] == 6)  # what was acknowledged and had not begun is answered

    assert product.json("send", "b", "second of b")["reply"] == "<first of b><second of b>"
    assert [row["stop_reason"] for row in product.json("history", "a") if row["role"] == "assistant"] == [
        "completed",
        "interrupted",
        "completed",
    ]
    assert {s["name"] for s in product.sessions("--all")} == {"a", "b"}
    assert len(model.calls_of("wait one")) == 1


def test_a_runtime_folder_that_is_removed_is_made_again_and_nobody_is_cut_off(product: Product):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    folder = runtime_folder(Home(product.home))
    shutil.rmtree(folder)
    (product.home / "coordinator.json").unlink()
    wait_for(lambda: (folder / "clients.sock").exists() and (folder / "workers.sock").exists())
    wait_for((product.home / "coordinator.json").exists)

    assert product.json("send", "a", "hello")["reply"] == "<hello>"

    product.run("new", "b")

    assert product.json("send", "b", "hello")["reply"] == "<hello>"
    assert product.session("a")["pid"] == pid


def test_a_coordinator_that_stood_still_for_longer_than_a_silence_kills_no_worker(product: Product):
    product.use_model("http://127.0.0.1:9/v1", more="start_timeout_s = 4")
    product.run("new", "a")
    pid = product.live("a")["pid"]
    coordinator = product.json("status")["pid"]
    with subprocess.Popen([COMMAND, "new", "b"], stdout=subprocess.DEVNULL, env=product.environment) as creating:
        os.kill(coordinator, signal.SIGSTOP)  # perhaps in the middle of a start
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "30"], timeout=12, check=False)  # longer than 10 s of silence, and than a start
        os.kill(coordinator, signal.SIGCONT)
        creating.wait(60)
    born = product.live("b") if any(s["name"] == "b" for s in product.sessions()) else None

    assert product.live("a")["pid"] == pid
    assert product.session("a")["exit_card"] is None
    assert born is None or born["exit_card"] is None


def test_of_fifty_starts_at_once_one_owns_the_home_and_the_others_leave_with_75(product: Product):
    command = [sys.executable, "-P", "-m", "coordinator", "--home", str(product.home)]
    racers = [
        subprocess.Popen(command, env=product.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(50)
    ]
    try:
        wait_for(lambda: sum(racer.poll() is not None for racer in racers) == 49, 120)
        (owner,) = [racer for racer in racers if racer.poll() is None]

        assert {racer.returncode for racer in racers if racer is not owner} == {75}
        assert wait_for(lambda: read_discovery(Home(product.home))).pid == owner.pid
        assert product.json("status")["pid"] == owner.pid
    finally:
        product.stop()
        for racer in racers:
            racer.wait(60)


def test_a_worker_without_a_coordinator_leaves_after_its_time_and_the_session_is_whole(
    product: Product, model: ModelServer
):
    product.use_model(model.url, more="orphan_exit_s = 1")
    product.run("new", "a")
    sender = begun(product, model, "wait one")
    sender.kill()
    sender.communicate()
    worker = product.session("a")["pid"]
    kill_coordinator(product)
    wait_for(lambda: not [t for t in our_processes(product.home.parent).values() if t == "chat-coord: zygote"])
    model.gate.set()  # its turn comes first, then it leaves
    wait_for(lambda: worker not in our_processes(product.home.parent))
    product.run("start")
    product.wait_session("a", lambda s: s["messages"] == 2)

    assert product.json("history", "a")[1]["stop_reason"] == "completed"
    assert product.json("send", "a", "next")["stop_reason"] == "completed"
    assert len(model.calls_of("wait one")) == 1


def test_a_coordinator_with_its_sockets_elsewhere_is_found_by_the_workers(product: Product):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    elsewhere = product.home.parent / "run"
    elsewhere.mkdir(mode=0o700)
    try:
        product.env["XDG_RUNTIME_DIR"] = str(elsewhere)
        product.run("restart")

        assert str(elsewhere) in read_discovery(Home(product.home)).workers
        assert product.live("a")["pid"] == pid
        assert product.json("send", "a", "hello")["reply"] == "<hello>"
    finally:
        product.stop()
        del product.env["XDG_RUNTIME_DIR"]


def test_watch_goes_on_after_a_crash_and_tells_what_changed_meanwhile(product: Product):
    product.run("new", "a")
    product.live("a")
    watcher = subprocess.Popen(
        [COMMAND, "watch", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=product.environment,
    )  # fmt: skip
    guard = threading.Timer(120, watcher.kill)  # so that no line is waited for for ever
    guard.start()
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    try:
        assert "Following" in watcher.stderr.readline()

        product.run("new", "b")
        changes = map(json.loads, watcher.stdout)
        identity = product.session("b")["id"]

        assert any((c["session"], c["to"]) == (identity, "idle") for c in changes)

        kill_coordinator(product)

        assert "has gone" in watcher.stderr.readline()

        product.run("close", "b", code=3)
        product.run("start")

        assert "is back: boot 2" in watcher.stderr.readline()

        product.run("close", "b")

        assert any((c["session"], c["to"]) == (identity, "stopped") for c in changes)
    finally:
        guard.cancel()
        watcher.kill()
        watcher.communicate()


def test_a_terminal_says_that_the_coordinator_went_and_came_back_and_loses_nothing(
    product: Product, model: ModelServer
):
    terminal = pexpect.spawn(
        COMMAND, ["chat", "--plain"], env=product.environment, encoding="utf-8", timeout=60, dimensions=(40, 120)
    )
    try:
        terminal.expect("session-1> ")
        terminal.sendline("wait one")
        terminal.expect("first half, ")
        kill_coordinator(product)
        terminal.expect(r"\[the coordinator has gone")
        terminal.sendline("two")  # it starts the next one
        terminal.expect(r"\[the coordinator is back\]")
        model.gate.set()
        terminal.expect("second half")
        terminal.expect("<wait one><two>")
        terminal.expect("session-1> ")
        terminal.sendline("/quit")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)

    assert [row["text"] for row in product.json("history", "session-1")] == [
        "wait one",
        "first half, second half",
        "two",
        "<wait one><two>",
    ]
    assert len(model.calls_of("wait one")) == len(model.calls_of("two")) == 1


def test_a_supervised_coordinator_is_restarted_in_its_own_process_and_its_supervisor_hears_how_it_is(
    product: Product, model: ModelServer
):
    """What systemd does with a unit of Type=notify."""
    where = str(product.home.parent / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(where)
        supervisor.settimeout(60)
        product.env |= {"NOTIFY_SOCKET": where, "JOURNAL_STREAM": "1:2", "SCRIPTED_KEY": "test-key"}
        text = (product.home / "config.toml").read_text()
        key = next(line for line in text.splitlines() if line.startswith("api_key_file"))
        product.configure(text.replace(key, 'api_key_env = "SCRIPTED_KEY"'))
        command = [COMMAND, "start", "--foreground"]
        errors = product.home.parent / "errors"
        with errors.open("w") as file:
            service = subprocess.Popen(command, env=product.environment, stderr=file, cwd=product.home.parent)
        product.env.clear()  # later commands have neither the key nor the socket
        try:
            assert supervisor.recv(100) == b"READY=1"
            product.run("new", "a")
            worker = product.live("a")["pid"]
            sender = begun(product, model, "wait one")
            after = product.json("restart")

            assert [supervisor.recv(100), supervisor.recv(100)] == [b"RELOADING=1", b"READY=1"]
            assert (after["pid"], after["boot"]) == (service.pid, 2)
            assert product.live("a")["pid"] == worker
            model.gate.set()
            printed, _ = sender.communicate(timeout=120)
            assert json.loads(printed)["reply"] == "first half, second half"
            assert product.json("send", "a", "two")["reply"] == "<wait one><two>"  # with the key of the service

            product.run("restart")
            states = [process.status() for process in psutil.Process(service.pid).children()]
            assert psutil.STATUS_ZOMBIE not in states
            service.terminate()
            assert service.wait(60) == 0
            assert supervisor.recv(100) == b"RELOADING=1"
            assert supervisor.recv(100) == b"READY=1"
            assert supervisor.recv(100) == b"STOPPING=1"
        finally:
            service.kill()
            service.wait()
    assert errors.read_text() == ""
