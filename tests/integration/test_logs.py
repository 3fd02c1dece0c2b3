"""A session's log from the command line: of living, dead and closed sessions, and of homes without a coordinator."""

import json
import os
import select
import signal
import time

import pytest

from tests.support.disks import fill, small_disk
from tests.support.model_server import ModelServer
from tests.support.product import Product, our_processes, wait_for

pytestmark = pytest.mark.integration


def append(product: Product, session: str, ending: str, text: str) -> None:
    with (product.home / "logs" / f"{session}.{ending}").open("a") as file:
        file.write(text)


def test_a_log_is_shown_newest_last_with_standard_error_marked(product: Product):
    made = product.json("new", "a")
    product.run("send", "a", "hello")
    for number in range(3):
        append(product, made["id"], "jsonl", json.dumps({"at": 4e9, "level": "INFO", "message": f"m{number}", "n": 7}))
        append(product, made["id"], "jsonl", "\n")
    append(product, made["id"], "stderr", "it broke\n")
    later = time.time() + 1_000
    os.utime(product.home / "logs" / f"{made['id']}.stderr", (later, later))
    lines = product.run("logs", "a", "-n", "2").splitlines()
    documents = product.json("logs", "a", "-n", "2")

    assert [line.split(" ", 2)[2] for line in lines[:2]] == ["INFO m1 n=7", "INFO m2 n=7"]
    assert lines[2:] == ["stderr: it broke"]
    nothing = dict.fromkeys(("process", "boot", "session", "turn"))
    assert documents[1] == {"source": "log", "at": 4e9, "level": "INFO", "message": "m2", "n": 7} | nothing
    assert documents[2] == {"source": "stderr", "at": None, "level": None, "message": "it broke"} | nothing
    assert product.json("logs", "a", "-n", "0") == []


def test_a_closed_session_and_a_home_without_a_coordinator_have_their_logs(product: Product):
    made = product.json("new", "a")
    product.live("a")
    product.run("close", "a")
    product.wait_session("a", lambda s: s["residency"] == "stopped")
    append(product, made["id"], "jsonl", '{"at": 4e9, "message": "late"}\n')

    assert product.json("logs", "a")[-1]["message"] == "late"

    product.run("stop")

    assert product.json("logs", made["id"][:10])[-1]["message"] == "late"
    assert product.json("logs")[-1]["message"] == "coordinator ended"
    assert product.result("logs", "a name").returncode == 3
    assert product.result("logs", "../coordinator").returncode == 3


def test_a_log_cannot_steer_the_terminal_and_a_broken_line_is_shown(product: Product):
    made = product.json("new", "a")
    product.live("a")
    append(product, made["id"], "jsonl", '{"at": 1, "message": "evil\\u001b[2J\\nforged"}\nhalf a li\x1b[2Jne\n[1]\n')
    append(product, made["id"], "stderr", "\x1b]0;owned\x07\n")
    shown = product.run("logs", "a")

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "evil\ufffd[2J forged" in shown
    assert "half a li" in shown
    assert "\x1b" not in product.run("logs", "a", "--json")


def test_following_shows_what_comes_until_it_is_interrupted(product: Product):
    made = product.json("new", "a")
    product.live("a")
    follower = product.popen("logs", "a", "-n", "0", "-f", "--json")
    out = follower.stdout
    assert out is not None

    shown = bytearray()

    def lines() -> list[str]:
        if select.select([out], [], [], 0)[0]:
            shown.extend(os.read(out.fileno(), 65_536))
        return [json.loads(line)["message"] for line in shown.splitlines(keepends=True) if line.endswith(b"\n")]

    def first() -> list[str]:
        # It stands behind what was there once it has begun; so lines are written until one is seen.
        append(product, made["id"], "stderr", "again\n")
        return lines()

    try:
        assert wait_for(first)[0] == "again"

        (product.home / "logs" / f"{made['id']}.stderr").write_text("anew\n")
        wait_for(lambda: "anew" in lines())
        follower.send_signal(signal.SIGINT)

        assert follower.wait(5) == 0
    finally:
        follower.kill()
        follower.wait()
        out.close()


@pytest.mark.crash
def test_a_full_log_folder_stops_nobody(product: Product):
    logs = product.home / "logs"
    with small_disk(logs, 1):
        try:
            product.run("new", "a")
            product.run("send", "a", "one")
            fill(logs / "filler")
            product.run("new", "b")
            os.kill(product.live("a")["pid"], signal.SIGKILL)

            assert product.json("send", "a", "two")["reply"] == "<one><two>"
            assert product.json("send", "b", "three")["reply"] == "<three>"

            os.kill(product.json("status")["pid"], signal.SIGKILL)
            product.run("start")

            assert product.json("send", "b", "four")["reply"] == "<three><four>"
        finally:
            product.stop()
            wait_for(lambda: not our_processes(product.home.parent))


def test_an_unknown_session_is_refused(product: Product):
    product.run("start")

    assert product.result("logs", "nobody").returncode == 1


def test_lines_of_all_processes_have_one_shape_and_nobody_said_what_they_say(product: Product, model: ModelServer):
    made = product.json("new", "a")
    product.run("new", "b")
    turn = product.json("send", "a", "canary one")["turn_id"]
    product.run("send", "b", "canary two")
    model.refusals["canary three"] = [(400, {})]
    product.run("send", "a", "canary three", code=1)
    product.run("restart")
    product.run("send", "a", "canary four")
    lines = product.json("logs", "a", "-n", "1000")
    logs = [line for line in lines if line["source"] == "log"]

    first = ["source", "at", "level", "process", "boot", "session", "turn"]
    assert {tuple(line)[:7] for line in logs} == {tuple(first)}
    assert {line["session"] for line in logs} == {made["id"]}
    assert {line["process"] for line in logs} == {"coordinator", "worker"}
    assert {line["boot"] for line in logs if line["message"] == "turn ended"} == {1, 2}
    assert [line["at"] for line in logs] == sorted(line["at"] for line in logs)
    assert [line["message"] for line in product.json("logs", "a", "--turn", turn[:12])] == ["turn ended"]
    assert {line["boot"] for line in product.json("logs", "a", "--boot", "2")} == {2}
    own = product.json("logs", "-n", "1000")
    assert {line["process"] for line in own if line["source"] == "log"} == {"coordinator"}
    assert {line["boot"] for line in own if line["message"] == "coordinator ready"} == {1, 2}
    shown = product.run("logs", "a")
    assert "INFO coordinator: turn ended turn=" in shown
    assert made["id"] not in shown

    written = b"".join(path.read_bytes() for path in (product.home / "logs").iterdir())
    assert b"canary" not in written
    assert b"turn ended" in written
