"""A worker dies in the middle of a turn: the turn is marked, or begins again once, and never by itself otherwise."""

import os
import signal

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.crash


def kill_in_mid_turn(product: Product, model: ModelServer, prompt: str) -> None:
    """Send a prompt and kill the worker when the model has begun to answer."""
    known = len(model.calls_of(prompt))
    product.run("send", "a", prompt, "--no-wait")
    wait_for(lambda: len(model.calls_of(prompt)) > known and model.calls_of(prompt)[-1].said)
    os.kill(product.live("a")["pid"], signal.SIGKILL)


def test_an_interrupted_turn_is_marked_and_only_retry_runs_it_again(product: Product, model: ModelServer):
    product.run("new", "a")

    assert product.result("retry", "a").returncode == 1

    kill_in_mid_turn(product, model, "wait one")
    marked = product.wait_session("a", lambda s: s["messages"] == 2 and s["residency"] == "live")
    (_, reply) = product.json("history", "a")

    assert reply["stop_reason"] == "interrupted"
    assert "first half, ".startswith(reply["text"])  # what had come by then
    assert marked["exit_card"]["signal"] == "SIGKILL"
    assert marked["exit_card"]["seq_in_flight"] == 1
    assert len(model.calls_of("wait one")) == 1

    model.gate.set()
    again = product.json("retry", "a")

    assert (again["reply"], again["stop_reason"]) == ("first half, second half", "completed")
    assert len(model.calls_of("wait one")) == 2

    refused = product.result("retry", "a")

    assert refused.returncode == 1
    assert "completed" in refused.stderr


def test_with_resume_an_interrupted_turn_runs_again_once_by_itself(product: Product, model: ModelServer):
    product.use_model(model.url, more='on_interrupt = "resume"')
    product.run("new", "a")
    kill_in_mid_turn(product, model, "wait one")
    model.gate.set()
    product.wait_session("a", lambda s: s["messages"] == 2)
    (_, reply) = product.json("history", "a")

    assert (reply["stop_reason"], reply["text"]) == ("completed", "first half, second half")
    assert len(model.calls_of("wait one")) == 2

    model.gate.clear()
    kill_in_mid_turn(product, model, "wait two")
    wait_for(lambda: len(model.calls_of("wait two")) == 2 and model.calls_of("wait two")[-1].said)
    os.kill(product.live("a")["pid"], signal.SIGKILL)
    product.wait_session("a", lambda s: s["messages"] == 4)

    assert product.json("history", "a")[-1]["stop_reason"] == "interrupted"
    assert len(model.calls_of("wait two")) == 2
