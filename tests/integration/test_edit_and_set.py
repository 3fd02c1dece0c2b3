"""To ask again in other words, to change what answers, and to hear what the model did not see."""

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product

pytestmark = pytest.mark.integration


def test_a_prompt_is_asked_again_in_a_fork_and_a_sessions_model_is_set_from_a_shell(
    product: Product, model: ModelServer
):
    config = f"{(product.home / 'config.toml').read_text()}context_tokens = 256\n"
    other = config.partition("[models.scripted]")[2].partition("context_tokens")[0]
    product.configure(f"{config}[models.other]{other}")
    product.run("new", "a")
    for text in ("echo one", "echo two", "echo three"):
        product.run("send", "a", text)
    edited = product.json("edit", "a", "echo better", "--at", "3", "--name", "b")
    again = product.run("chat", "b", "--plain", stdin="/edit echo best\n/edit #1 echo first\n/edit #9 x\n/quit\n")

    assert edited["reply"] == "<echo one><echo better>"
    assert [row["text"] for row in product.json("history", "a") if row["role"] == "user"][-1] == "echo three"
    assert "<echo one><echo best>" in again
    assert "Session 'b-fork-fork' begins with 0 messages." in again
    assert "<echo first>" in again
    assert product.result("edit", "a", "x", "--at", "99").returncode == 1

    product.run("model", "set", "a", "other", "--temperature", "0.25")
    long = product.json("send", "a", "x" * 600)

    assert product.session("a")["model"] == "other"
    assert (model.calls[-1].temperature, long["left_out"]) == (0.25, 0)
    assert product.json("send", "b", "y" * 600)["left_out"] == 0
    seen = product.json("send", "b", "echo more")

    assert seen["left_out"] > 0
    assert f"first {seen['left_out']} messages" in product.result("send", "b", "echo and more").stderr
    assert product.json("model", "set", "a", "--temperature", "default")["temperature"] is None
    assert product.result("model", "set", "a", "--temperature", "hot").returncode == 2
    assert product.result("model", "set", "a", "nobody").returncode == 1
    assert product.run("chat", "a", "--plain", stdin="/temperature 0.5\n/temperature\n").count("It is 0.5.") == 2


def test_a_session_without_a_name_is_named_by_its_model_unless_a_person_was_first(product: Product, model: ModelServer):
    model.name = "Parser Crash Fix"
    product.run("start")
    first, second = product.json("new")["id"], product.json("new")["id"]
    product.run("send", first, "why does the old parser crash")
    product.wait_session("parser-crash-fix", lambda s: s["id"] == first)
    naming = model.calls[-1]

    assert "why does the old parser crash" in naming.prompt
    assert naming.tools == []
    spent = product.json("usage", first)["sessions"][0]
    assert spent["turns"] == 1
    assert spent["output_tokens"] > len(model.name)

    product.run("rename", second, "mine")
    product.run("send", second, "why does the old parser crash")
    product.run("send", second, "raw and again")

    assert [s["name"] for s in product.sessions()] == ["parser-crash-fix", "mine"]
    assert len(model.calls) == 4
