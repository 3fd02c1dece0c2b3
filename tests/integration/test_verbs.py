"""Search, fork, usage and wait as a person and a script have them: real processes, real restarts."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration


def talk(product: Product, name: str, *prompts: str) -> None:
    product.run("new", name)
    for prompt in prompts:
        product.run("send", name, prompt)


def test_what_was_said_is_found_in_sessions_that_sleep_and_are_closed_and_none_wakes(product):
    talk(product, "awake", "echo the needle is here")
    talk(product, "asleep", "echo another needle")
    talk(product, "closed", "echo the last needle")
    product.run("hibernate", "asleep")
    product.run("close", "closed")
    before = {s["name"]: (s["residency"], s["pid"]) for s in product.sessions("--all")}

    found = product.json("search", "needle")

    ids = {s["id"]: s["name"] for s in product.sessions("--all")}
    assert {ids[row["session"]] for row in found} == {"awake", "asleep", "closed"}
    assert set(found[0]) == {"session", "seq", "role", "snippet", "at"}
    assert all("needle" in row["snippet"] for row in found)
    assert {s["name"]: (s["residency"], s["pid"]) for s in product.sessions("--all")} == before
    assert "needle" in product.run("search", "needle", "LAST")
    assert product.run("search", "elephant", code=1) == "Nothing was found.\n"
    assert product.json("search", "elephant", code=1) == []


@pytest.mark.parametrize("text", ['"', "a OR", "NEAR(", "*", "x" * 5_000, "text:needle", "'; --"])
def test_hostile_words_are_no_error_of_the_store(product, text):
    product.run("start")
    done = product.result("search", text)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "syntax" not in done.stderr
    assert product.json("status")["store"]["writable"]


def test_a_search_of_ten_megabytes_is_refused(product):
    product.run("start")
    script = (
        "import asyncio, sys; from client.asking import connected, search; from protocol.paths import find_home\n"
        "async def go():\n"
        "    async with connected(find_home(sys.argv[1])) as c: await search(c, 'x' * 10_000_000)\n"
        "asyncio.run(go())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(product.home)], capture_output=True, text=True, check=False, timeout=60
    )

    assert "10000000 bytes is too long" in done.stderr
    assert product.json("status")["store"]["writable"]


def test_a_fork_goes_its_own_way_and_its_source_sleeps_on(product, model):
    talk(product, "a", "echo one", "echo two")
    product.run("hibernate", "a")
    made = product.json("fork", "a", "--at", "2")

    assert (made["name"], made["residency"], made["messages"]) == ("a-fork", "hibernated", 2)
    assert made["parent"] == {"session": product.session("a")["id"], "seq": 2}
    product.run("send", "a-fork", "echo other")
    asked = [m["content"] for m in model.calls_of("echo other")[0].messages if m["role"] == "user"]
    assert asked == ["echo one", "echo other"]
    assert product.session("a")["residency"] == "hibernated"
    assert [r["text"] for r in product.json("history", "a")][2:3] == ["echo two"]
    assert product.json("fork", "a")["name"] == "a-fork-2"
    assert product.json("fork", "a", "--name", "b")["messages"] == 4
    assert "is not there" in product.result("fork", "a", "--at", "9").stderr


def test_a_fork_is_there_after_both_processes_were_killed(product):
    talk(product, "a", "echo one")
    product.run("fork", "a", "--name", "b")
    os.kill(product.json("status")["pid"], signal.SIGKILL)
    wait_for(lambda: product.result("status").returncode == 3)
    product.run("start")

    assert product.session("b")["parent"]["seq"] == 2
    assert [r["text"] for r in product.json("history", "b")] == [r["text"] for r in product.json("history", "a")]


def test_usage_counts_tokens_and_money(fresh, model):
    fresh.use_model(model.url)
    with (fresh.home / "config.toml").open("a") as file:
        file.write("input_price = 2.0\noutput_price = 10.0\n")
    talk(fresh, "a", "echo one", "echo two")
    talk(fresh, "b", "echo three")
    fresh.run("fork", "a")
    usage = fresh.json("usage")

    tokens = {s["name"]: s["tokens"] for s in fresh.sessions() if s["tokens"]}
    assert {s["name"]: s["input_tokens"] + s["output_tokens"] for s in usage["sessions"]} == tokens
    total = usage["total"]
    assert total["turns"] == 3
    assert total["cost"] == pytest.approx((2 * total["input_tokens"] + 10 * total["output_tokens"]) / 1e6)
    assert total["unpriced_tokens"] == 0
    assert usage["sessions"][0]["models"][0]["model"] == "scripted"
    assert [s["name"] for s in fresh.json("usage", "b", "--since", "1d")["sessions"]] == ["b"]
    assert fresh.json("usage", "--since", "2100-01-01")["sessions"] == []
    assert "scripted" in fresh.run("usage")
    assert fresh.result("usage", "--since", "soon").returncode == 2
    assert fresh.result("usage", "nobody").returncode == 1


def test_without_prices_there_is_no_money(product):
    talk(product, "a", "echo one")
    total = product.json("usage")["total"]

    assert total["cost"] is None
    assert total["unpriced_tokens"] == total["input_tokens"] + total["output_tokens"] > 0


# ---- wait


def test_wait_ends_when_the_reply_is_there_and_not_before(product, model):
    product.run("new", "a")
    product.run("send", "a", "wait for it", "--no-wait")
    assert product.result("wait", "a", "--until", "done", "--timeout", "0.5").returncode == 4
    waiter = product.popen("wait", "a", "--until", "done", "--timeout", "60", "--json")
    time.sleep(0.5)
    assert waiter.poll() is None
    model.gate.set()
    said, _ = waiter.communicate(timeout=60)

    assert waiter.returncode == 0
    assert json.loads(said)["unanswered"] == 0
    assert json.loads(said)["unread"]
    assert product.result("wait", "a", "--until", "waiting", "--timeout", "5").returncode == 0


def test_wait_sees_what_was_sent_to_a_sleeping_session_just_before(product):
    product.run("new", "a")
    product.live("a")
    for _ in range(5):
        product.run("hibernate", "a")
        product.run("send", "a", "echo x", "--no-wait")
        session = product.json("wait", "a", "--until", "done", "--timeout", "60")

        assert session["unanswered"] == 0
        assert session["messages"] % 2 == 0
        product.json("history", "a")


def test_wait_goes_on_over_a_restart_and_a_crash_of_the_coordinator(product, model):
    product.run("new", "a")
    product.run("send", "a", "wait for it", "--no-wait")
    wait_for(lambda: model.calls_of("wait for it"))
    waiter = product.popen("wait", "a", "--until", "done", "--timeout", "100")
    time.sleep(0.5)
    product.run("restart")
    os.kill(product.json("status")["pid"], signal.SIGKILL)
    wait_for(lambda: product.result("status").returncode == 3)
    product.run("start")
    assert waiter.poll() is None
    model.gate.set()
    waiter.communicate(timeout=100)

    assert waiter.returncode == 0


@pytest.mark.parametrize("how", ["close", "delete"])
def test_wait_says_no_when_it_can_never_be(product, how):
    product.run("new", "a")
    product.live("a")
    waiter = subprocess.Popen(
        ["chat-coord", "wait", "a", "--until", "waiting"], executable=sys.executable.replace("python", "chat-coord"),
        stderr=subprocess.PIPE, text=True, env=product.environment,
    )  # fmt: skip
    time.sleep(0.7)
    if how == "delete":
        product.run("hibernate", "a")
        product.run("delete", "a", "--yes")
    else:
        product.run("close", "a")
    _, complaint = waiter.communicate(timeout=30)

    assert waiter.returncode == 1
    assert "deleted" in complaint if how == "delete" else "not be waiting" in complaint
    assert product.result("wait", "nobody", "--until", "done").returncode == 1
    assert product.result("wait", "a").returncode == 2


def test_wait_says_no_when_the_session_fails(fresh, model):
    fresh.use_model(model.url, more="restart_limit = 0")
    fresh.run("new", "a")
    session = fresh.live("a")
    fresh.run("send", "a", "wait", "--no-wait")
    wait_for(lambda: model.calls)
    os.kill(session["pid"], signal.SIGKILL)
    fresh.wait_session("a", lambda s: s["residency"] == "failed")

    assert fresh.result("wait", "a", "--until", "idle", "--timeout", "20").returncode == 1


def test_the_terminal_forks_searches_and_exports(product):
    product.run("new", "a")
    target = product.home.parent / "chat.html"
    lines = ["echo <b>the needle</b>", "/search needle", f"/export {target}", f"/export {target}", "/fork", "/fork x",
             "/session-name", "/search", "/quit"]  # fmt: skip
    done = product.result("chat", "a", "--plain", stdin="\n".join(lines) + "\n")

    assert "a  1  " in done.stdout
    assert "2 messages are in" in done.stdout
    assert "is there already" in done.stderr
    assert "Session 'a-fork' begins with 2 messages." in done.stdout
    assert "[now in a-fork]" in done.stdout
    assert "no number of a message" in done.stderr
    assert "\na-fork\n" in done.stdout
    assert "Say what to look for" in done.stdout
    page = target.read_text()
    assert "&lt;b&gt;the needle&lt;/b&gt;" in page
    assert "<b>" not in page
