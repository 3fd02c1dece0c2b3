"""The Python library, as a program uses it that has packages named `client` and `protocol` of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import chat_coord
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"
OWN = """
import client, protocol
assert client.__file__ == protocol.__file__.replace("protocol", "client"), client
assert client.WHOSE == "the program's"
from client.connection import Connection
assert Connection == "the program's"
"""


def test_every_example_of_the_page_runs_beside_packages_of_the_same_names(product: Product):
    project = product.home.parent / "project"
    for name in ("client", "protocol", "coordinator", "workers"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text('WHOSE = "the program\'s"\n')
    (project / "client" / "connection.py").write_text('Connection = "the program\'s"\n')
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (project / "program.py").write_text("\n".join([OWN, *blocks, OWN]))

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=project,
        env=product.environment | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(blocks) == 6
    assert "<What is the capital of France?><And of Japan?>" in done.stdout
    assert product.session("two")["messages"] == 2


def test_a_prompt_outlives_the_coordinator_and_the_same_key_buys_nothing_twice(product: Product, model: ModelServer):
    with chat_coord.Coordinator(product.home) as coordinator:
        session = coordinator.new("a", cwd=product.home.parent)
        said = []
        for event in session.stream("wait for it", key="k"):
            if isinstance(event, chat_coord.Text) and not said:
                pid = product.json("status")["pid"]
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid: not psutil.pid_exists(pid))
                model.gate.set()
            said.append(event)
        again = session.send("wait for it", key="k")

    reply = said[-1]
    assert isinstance(reply, chat_coord.Reply)
    assert reply.text == again.text == "first half, second half"
    assert "".join(e.text for e in said[:-1] if isinstance(e, chat_coord.Text)) == reply.text
    assert len(model.calls_of("wait for it")) == 1


def test_a_coordinator_that_was_stopped_stays_so_until_something_is_asked(product: Product):
    with chat_coord.Coordinator(product.home) as coordinator:
        session = coordinator.new("a")
        product.run("stop")
        product.run("status", code=3)

        assert session.send("hello").text == "<hello>"
    with pytest.raises(chat_coord.Error) as refused, chat_coord.Coordinator(product.home) as coordinator:
        coordinator.new("a")
    assert refused.value.code == "name.taken"
    product.run("stop")
    with pytest.raises(chat_coord.Absent), chat_coord.Coordinator(product.home, start=False):
        pass


def test_who_waits_too_long_is_told_and_can_wait_on_and_cancel(product: Product, model: ModelServer):
    with chat_coord.Coordinator(product.home) as coordinator:
        session = coordinator.new("a")
        with pytest.raises(chat_coord.TimedOut):
            session.send("wait", key="k", timeout_s=0.5)
        with pytest.raises(chat_coord.TimedOut):
            session.wait("idle", timeout_s=0.2)
        session.cancel()
        reply = session.send("wait", key="k")

        assert reply.stop_reason == "cancelled"
        assert session.wait("idle", timeout_s=20).work == "idle"
        assert [m.stop_reason for m in session.history()] == [None, "cancelled"]
        assert session.history(after=session.history()[0].seq)[0].reply_to == reply.seq
        wish = {"tool": "ask_person", "arguments": {"question": "Which colour?"}}
        for event in session.stream(f"use {json.dumps(wish)}"):
            if isinstance(event, chat_coord.Ask):
                assert (event.kind, event.text) == ("question", "Which colour?")
                coordinator.answer(event.id, "blue")
        assert isinstance(event, chat_coord.Reply)
        assert "blue" in event.text
        session.delete()
        assert coordinator.sessions(everything=True) == []
        left = coordinator.new("b").stream("hello")
        next(left)
    for use in (coordinator.inbox, session.refresh):
        with pytest.raises(chat_coord.Error) as closed:
            use()
        assert closed.value.code == "library.closed"
    left.close()
