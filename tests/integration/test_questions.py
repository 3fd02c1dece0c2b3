"""A model asks a person: the question outlives worker and coordinator, and the answer is what its call returns."""

import json
import os
import signal
import subprocess

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration

QUESTION = "Which file: a or b?\nBoth are old."
ASK = f"use {json.dumps({'tool': 'ask_person', 'arguments': {'question': QUESTION}})}"


def asked(product: Product) -> dict:
    return wait_for(lambda: next(iter(product.json("inbox")), None))


def test_a_question_outlives_everything_and_its_answer_goes_to_the_model(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    product.run("send", "a", ASK, "--no-wait")
    ask = asked(product)
    waiting = product.json("sessions", "--waiting")[0]

    assert (ask["kind"], ask["tool"], ask["text"]) == ("question", "ask_person", QUESTION)
    assert (waiting["display"], waiting["ask"]["kind"]) == ("requires_action", "question")
    assert "a asks you" in product.run("inbox")

    product.run("hibernate", "a")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    product.run("start")

    assert product.json("inbox") == [ask]
    assert "is a question" in product.result("approve", ask["id"]).stderr
    product.run("answer", ask["id"][:8], "-", stdin="b, the newer one\n")
    row = wait_for(lambda: next((r for r in product.json("history", "a") if r["role"] == "assistant"), None))

    assert row["text"] == "Let me see.\n\n[b, the newer one\n]"
    assert "was answered by cli" in product.result("answer", ask["id"], "no, a").stderr
    assert len(model.calls) == 2


def test_in_the_terminal_a_question_is_answered_or_not(product: Product, model: ModelServer):
    product.run("start")
    product.run("new", "a")
    terminal = subprocess.Popen(
        [COMMAND, "chat", "a", "--plain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=product.environment,
    )  # fmt: skip
    assert terminal.stdin is not None
    terminal.stdin.write(f"{ASK}\n")
    terminal.stdin.flush()
    first = asked(product)
    product.run("deny", first["id"], "you choose")
    wait_for(lambda: [r for r in product.json("history", "a") if r["role"] == "assistant"])
    out, _ = terminal.communicate(timeout=60)

    assert "[it asks you something: /answer TEXT, or /deny WHY]\n    Which file: a or b?\n    Both are old." in out
    assert "[The user said no to this call: you choose.]" in out

    product.run("send", "a", ASK, "--no-wait")
    second = asked(product)
    said = product.run("chat", "a", "--plain", stdin="/answer a, please\n/answer again\n")

    assert "[answered]" in said
    assert "This session asks nothing." in said
    wait_for(lambda: [r for r in product.json("history", "a") if "[a, please]" in r["text"]])
    assert second["id"] != first["id"]
