"""Sessions with models of both protocols: tools, switching in the middle, temperatures, windows that are outgrown."""

import json
from collections.abc import Iterator

import pytest

from tests.support.anthropic_server import AnthropicServer
from tests.support.model_server import ModelServer
from tests.support.product import Product

pytestmark = pytest.mark.integration


@pytest.fixture
def other() -> Iterator[AnthropicServer]:
    server = AnthropicServer()
    yield server
    server.close()


@pytest.fixture
def two(product: Product, other: AnthropicServer) -> Product:
    """The product with a model of each protocol."""
    more = f"""
[models.claude]
provider = "anthropic"
model = "scripted"
base_url = "{other.url}"
api_key_file = "{product.home.parent / "key"}"
temperature = 0.25
"""
    product.configure((product.home / "config.toml").read_text() + more)
    return product


def test_a_session_with_an_anthropic_model_streams_and_uses_tools(two: Product, other: AnthropicServer):
    (two.home.parent / "there.txt").write_text("what is there")
    two.run("new", "a", "--model", "claude")
    said = two.json("send", "a", "count 3 x")
    call = {"tool": "read_file", "arguments": {"path": "there.txt"}}
    used = two.json("send", "a", f"use {json.dumps(call)}")

    assert (said["reply"], said["stop_reason"]) == ("x0;x1;x2;", "completed")
    assert said["usage"] == {"input_tokens": 10, "output_tokens": 9}
    assert "what is there" in used["reply"]
    # Two requests: the prompt with what was said before, and again with the call and its answer.
    assert used["usage"]["input_tokens"] == sum(10 * len(call.messages) for call in other.calls[1:])
    assert two.session("a")["tokens"] == sum(sum(turn["usage"].values()) for turn in (said, used))
    assert "chat-coord" not in two.run("logs", "a")


@pytest.mark.parametrize("name", ["scripted", "claude"])
def test_a_turn_that_asks_goes_on_after_the_yes_and_counts_all_its_requests(
    two: Product, model: ModelServer, other: AnthropicServer, name: str
):
    two.run("new", "a", "--model", name)
    call = {"tool": "write_file", "arguments": {"path": "made.txt", "text": "by the model"}}
    seq = two.json("send", "a", f"use {json.dumps(call)}", "--no-wait")["seq"]
    ask = two.wait_session("a", lambda s: s["ask"])["ask"]

    assert ask["tool"] == "write_file"

    two.run("approve", ask["id"])
    two.wait_session("a", lambda s: s["work"] == "idle" and s["messages"] == 2)
    calls = (other if name == "claude" else model).calls

    assert (two.home.parent / "made.txt").read_text() == "by the model"
    assert two.json("history", "a")[-1]["stop_reason"] == "completed"
    assert seq == 1
    assert len(calls) == 2
    spent = sum(10 * len(call.messages) for call in calls) + 5 + sum(len("".join(call.said)) for call in calls)
    assert two.session("a")["tokens"] == spent


def test_the_zygote_has_what_is_configured_and_only_that(two: Product):
    two.run("new", "a", "--model", "claude")
    two.run("send", "a", "x")
    pid = two.session("a")["pid"]
    uss = two.wait_session("a", lambda s: s["memory"]["uss_bytes"])["memory"]["uss_bytes"]

    assert pid is not None
    # Importing the library in the worker itself takes about 40 MiB.
    assert uss < 40 << 20


def test_without_the_extra_only_its_models_fail_and_say_how_to_get_it(two: Product, other: AnthropicServer):
    folder = two.home.parent / "python"
    folder.mkdir()
    (folder / "anthropic.py").write_text("raise ImportError('no such package here')")
    two.env["PYTHONPATH"] = str(folder)
    two.run("new", "a", "--model", "claude")
    two.run("new", "b")
    failed = two.result("send", "a", "x")

    assert failed.returncode == 1
    assert "pip install 'pydantic-ai-slim[anthropic]'" in failed.stderr
    assert other.calls == []
    assert two.run("send", "b", "count 1 z") == "z0;\n"
    assert "pydantic-ai-slim[anthropic]" in (two.home / "logs" / "zygote.log").read_text()


def test_an_anthropic_endpoint_that_refuses_fails_the_turn_in_one_sentence(two: Product, other: AnthropicServer):
    other.refusals["limited"] = [(429, {"retry-after": "0.2"})]
    two.run("new", "a", "--model", "claude")

    assert two.json("send", "a", "limited")["stop_reason"] == "completed"
    assert "broke off" in two.result("send", "a", "break").stderr
    assert "HTTP 400" in two.result("send", "a", "status 400").stderr
    assert two.run("send", "a", "count 1 z") == "z0;\n"


def test_another_model_answers_from_the_next_turn_on_and_after_a_restart(
    two: Product, model: ModelServer, other: AnthropicServer
):
    two.run("new", "a")
    two.run("send", "a", "one")
    shown = two.run("chat", "a", "--plain", stdin="/model\n/model nobody\n/model claude\n/model\ntwo\n/quit\n")

    assert "scripted\n" in shown
    assert "From the next turn on, claude answers in 'a'." in shown
    assert "claude\n" in shown
    assert [call.prompt for call in model.calls] == ["one"]
    assert [m["content"] for m in other.calls[0].messages] == ["one", "<one>", "two"]
    assert two.session("a")["model"] == "claude"

    two.run("stop", "--now")
    two.run("send", "a", "three")

    assert two.session("a")["model"] == "claude"
    assert [call.prompt for call in other.calls] == ["two", "three"]


def test_a_model_that_is_not_configured_cannot_be_switched_to(product: Product):
    product.run("new", "a")
    said = product.result("chat", "a", "--plain", stdin="/model nobody\n/quit\n")

    assert "no model 'nobody'" in said.stdout + said.stderr
    assert product.session("a")["model"] == "scripted"


def test_the_running_turn_keeps_its_model(two: Product, model: ModelServer, other: AnthropicServer):
    two.run("new", "a")
    running = two.popen("send", "a", "wait")
    two.wait_session("a", lambda s: s["work"] == "running" and model.calls)
    two.run("chat", "a", "--plain", stdin="/model claude\n/quit\n")
    model.gate.set()
    said, _ = running.communicate(timeout=30)

    assert said == "first half, second half\n"
    assert two.json("send", "a", "next")["stop_reason"] == "completed"
    assert [call.prompt for call in other.calls] == ["next"]


def test_a_temperature_is_the_sessions_or_else_the_models(two: Product, model: ModelServer, other: AnthropicServer):
    two.run("new", "warm", "--temperature", "0.75")
    two.run("new", "plain")
    two.run("new", "theirs", "--model", "claude")
    two.run("new", "both", "--model", "claude", "--temperature", "0")
    for name in ("warm", "plain", "theirs", "both"):
        two.run("send", name, name)

    assert {call.prompt: call.temperature for call in model.calls} == {"warm": 0.75, "plain": None}
    assert {call.prompt: call.temperature for call in other.calls} == {"theirs": 0.25, "both": 0.0}
    assert two.session("warm")["temperature"] == 0.75
    assert two.session("plain")["temperature"] is None
    assert "0<=x<=2" in two.result("new", "hot", "--temperature", "2.5").stderr


def test_a_temperature_outlives_a_restart(product: Product, model: ModelServer):
    product.run("new", "a", "--temperature", "0.5")
    product.run("stop", "--now")
    product.run("send", "a", "x")

    assert model.calls[0].temperature == 0.5


def test_what_outgrows_the_window_is_said_to_the_model_and_to_people(product: Product, model: ModelServer):
    text = (product.home / "config.toml").read_text()
    product.configure(text + "context_tokens = 256\n")
    product.run("new", "a")
    long = "x" * 200
    shown = product.run("chat", "a", "--plain", stdin=f"raw {long}\nraw {long}\nlast\n/quit\n")
    sent = [m["content"] for m in model.calls[-1].messages if m["role"] == "user"]

    assert "[the model no longer sees the first 2 messages; the history keeps them]" in shown
    assert sent[0].startswith("[earlier messages left out: 2]\n\nraw ")
    assert len(product.json("history", "a")) == 6
    assert product.json("history", "a")[0]["text"] == f"raw {long}"

    product.run("hibernate", "a")
    product.run("send", "a", "later")
    woken = [m["content"] for m in model.calls[-1].messages if m["role"] == "user"]

    assert woken[0].startswith("[earlier messages left out: ")


def test_a_model_that_refuses_the_length_is_asked_once_more_with_less(product: Product, model: ModelServer):
    product.run("new", "a")
    for n in range(4):
        product.run("send", "a", f"raw {n}{'x' * 100}")
    model.window = 700
    before = len(model.calls)
    said = product.json("send", "a", "last")

    assert said["stop_reason"] == "completed"
    assert len(model.calls) == before + 2
    assert "[earlier messages left out: " in said["reply"]
    assert sum(len(m["content"]) for m in model.calls[-1].messages) <= 700
    # It is known now, and not found out by a refusal in every turn.
    before = len(model.calls)
    assert product.json("send", "a", "and on")["stop_reason"] == "completed"
    assert len(model.calls) == before + 1

    model.window = 40
    before = len(model.calls)
    failed = product.result("send", "a", "p" * 100)

    assert failed.returncode == 1
    assert "takes no conversation this long" in failed.stderr
    assert len(model.calls) == before + 2
    model.window = None
    assert product.json("send", "a", "count 1 y")["stop_reason"] == "completed"


@pytest.mark.parametrize("what", ["half", "line", "deep"])
def test_garbage_ends_the_turn_in_one_sentence_and_the_session_lives(product: Product, what: str):
    product.run("new", "a")
    pid = product.live("a")["pid"]
    failed = product.result("send", "a", f"garbage {what}")

    assert failed.returncode == 1
    assert "answered in a way that cannot be used" in failed.stderr
    assert product.run("send", "a", "count 1 z") == "z0;\n"
    assert product.session("a")["pid"] == pid


def test_a_reply_of_ten_megabytes_is_cut_with_a_mark(product: Product, model: ModelServer):
    product.run("new", "a")
    said = product.json("send", "a", f"big {10 << 20}")

    assert len(said["reply"]) < 10 << 20
    assert "cut: the reply was longer" in said["reply"][-100:]
    # The next turn goes on without it, and its model is told so.
    assert product.run("send", "a", "next") == "<[earlier messages left out: 2]\n\nnext>\n"


def test_an_endless_stream_ends_with_the_time_of_its_turn(product: Product, model: ModelServer):
    product.use_model(model.url, more="turn_timeout_s = 1.5")
    product.run("new", "a")
    failed = product.result("send", "a", "endless")

    assert failed.returncode == 1
    assert "0;1;2;" in failed.stdout
    assert product.run("send", "a", "count 1 z") == "z0;\n"
