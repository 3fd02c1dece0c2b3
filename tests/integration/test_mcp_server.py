"""Sessions as tools of another model, called by the client of the protocol's own library."""

import asyncio
import json
import subprocess
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product

pytestmark = pytest.mark.integration


def test_a_model_opens_a_session_talks_waits_lists_and_lets_it_sleep(product: Product, model: ModelServer):
    folder = str(product.home.parent)

    async def story() -> None:
        server = StdioServerParameters(command=COMMAND, args=["mcp"], env=product.environment)
        async with Client(stdio_client(server)) as client:

            async def call(tool: str, **arguments: Any) -> Any:
                done = await client.call_tool(tool, arguments)
                text = "".join(part.text for part in done.content)
                return text if done.is_error else done.structured_content

            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["open_session", "say", "wait", "list_sessions", "hibernate"]
            made = await call("open_session", name="a", cwd=folder)
            assert (made["name"], made["cwd"]) == ("a", folder)
            said = await call("say", session="a", text="hello", key="k")
            assert (said["is_over"], said["reply"], said["stop_reason"]) == (True, "<hello>", "completed")
            assert (await call("say", session="a", text="hello", key="k"))["reply"] == "<hello>"
            assert len(model.calls) == 1

            slow = await call("say", session="a", text="wait", timeout_s=1)
            assert (slow["is_over"], slow["said_so_far"]) == (False, "first half, ")
            model.gate.set()
            over = await call("wait", session="a", timeout_s=30)
            assert (over["last_reply"], over["unanswered"]) == ("first half, second half", 0)

            wish = {"tool": "run_command", "arguments": {"command": "echo said"}}
            asks = await call("say", session="a", text=f"use {json.dumps(wish)}")
            assert "echo said" in asks["asks_a_person"]
            assert [s["name"] for s in (await call("list_sessions", waiting=True))["result"]] == ["a"]
            ask = (await asyncio.to_thread(product.json, "inbox"))[0]
            await asyncio.to_thread(product.run, "approve", ask["id"])
            assert "said" in (await call("wait", session="a", timeout_s=30))["last_reply"]
            assert (await call("hibernate", session="a"))["display"] in {"hibernated", "unread"}

            assert "(session.unknown)" in await call("say", session="nobody", text="hello")
            assert "(name.taken)" in await call("open_session", name="a")
            assert "folder" in await call("open_session", cwd="not/absolute")

    asyncio.run(story())


def test_garbage_ends_nothing(product: Product):
    garbage = "nonsense\n[1]\n{}\n"
    done = subprocess.run(
        [COMMAND, "mcp"],
        input=garbage,
        capture_output=True,
        text=True,
        env=product.environment,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in done.stdout.splitlines())
