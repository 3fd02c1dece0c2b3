"""Tools of MCP servers: offered, asked for, run once; and servers that die, hang and flood while the session lives."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

SERVER = Path(__file__).parent.parent / "support" / "mcp_server.py"


def table(name: str, *arguments: str, more: str = "") -> str:
    command = json.dumps([sys.executable, str(SERVER), *arguments])
    return f"[mcp.{name}]\ncommand = {command}\n{more}\n"


def use(tool: str, **arguments: object) -> str:
    return f"use {json.dumps({'tool': tool, 'arguments': arguments})}"


def below(product: Product, name: str) -> list[psutil.Process]:
    pid = product.session(name)["pid"]
    return psutil.Process(pid).children(recursive=True) if pid else []


def test_a_tool_of_a_server_is_asked_for_survives_everything_and_runs_once(product: Product, model: ModelServer):
    folder = product.home.parent / "work"
    folder.mkdir()
    product.env["FOR_THE_SERVER"] = "canary-for-the-server"
    product.env["OPENAI_API_KEY"] = "canary-of-nobody"
    more = 'pass_env = ["FOR_THE_SERVER"]\nallow = ["env", "cwd"]'
    product.use_model(model.url, more="")
    product.configure((product.home / "config.toml").read_text() + table("test", more=more) + table("dead", "dead"))
    product.run("start")
    product.run("new", "a", "--cwd", str(folder))
    product.run("send", "a", use("test__echo", text="once"), "--no-wait")
    ask = wait_for(lambda: next(iter(product.json("inbox")), None))

    assert ask["argv"] == ["test__echo", '{"text": "once"}']
    assert f'"{SERVER}"]' in ask["text"]
    assert {"test__echo", "test__env", "test__cwd", "run_command"} <= set(model.calls[0].tools)
    assert not any(tool.startswith("dead") for tool in model.calls[0].tools)
    assert "I cannot start" in product.run("logs", "a")
    assert len(below(product, "a")) == 1

    product.run("hibernate", "a")  # its server is no reason to stay
    product.wait_session("a", lambda s: s["residency"] == "hibernated")
    product.run("restart")
    product.run("approve", ask["id"])
    wait_for(lambda: product.json("history", "a")[-1]["text"].endswith("[once]"))

    told = product.result("send", "a", use("test__cwd"))
    assert told.stdout.endswith(f"[{folder}]\n")
    assert "[mcp dead: its tools are missing: it ended with exit code 1; it said: I cannot start]" in told.stderr
    secret = product.json("send", "a", use("test__env", name="FOR_THE_SERVER"))["reply"]
    assert secret.endswith("[canary-for-the-server]")
    assert product.json("send", "a", use("test__env", name="OPENAI_API_KEY"))["reply"].endswith("[(not set)]")
    processes = below(product, "a")
    product.run("kill", "a")
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes), 10)


def test_a_server_that_misbehaves_costs_its_call_and_the_session_lives(product: Product, model: ModelServer):
    product.use_model(model.url, more="tool_timeout_s = 5.0\n")
    product.configure((product.home / "config.toml").read_text() + table("test", more='rule = "allow"'))
    product.run("start")
    product.run("new", "a")

    def reply(how: str) -> str:
        return product.json("send", "a", use("test__misbehave", how=how))["reply"]

    assert "ended with exit code 3; it said: I am going to die" in reply("die")
    assert "It took longer than 5 s" in reply("hang")
    assert "a line of more than 4194304 bytes" in reply("line")
    assert "messages that nobody asked for" in reply("messages")
    assert "after the garbage" in reply("garbage")
    assert "Error: it went wrong" in reply("error")
    assert "[… cut: 200000 bytes in all" in reply("big")
    child = int(reply("child").rpartition("[")[2].rstrip("]"))
    product.run("hibernate", "a")
    product.wait_session("a", lambda s: s["residency"] == "hibernated")
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 10)

    assert product.json("send", "a", use("test__echo", text="and on"))["reply"].endswith("[and on]")
