"""The bridge for editors, driven by the client of the protocol's own library, and by peers that break its rules."""

import asyncio
import json
import os
import signal
import subprocess
import time

import psutil
import pytest
from acp import RequestError
from acp.schema import EmbeddedResourceContentBlock, ImageContentBlock, TextResourceContents

from tests.support.editor import editor
from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration


def use(tool: str, **arguments: object) -> str:
    return f"use {json.dumps({'tool': tool, 'arguments': arguments})}"


def test_a_session_of_an_editor_from_its_first_word_to_its_deletion(product: Product, model: ModelServer):
    folder = str(product.home.parent)

    async def story() -> None:
        async with editor(product) as one:
            new = await one.agent.new_session(cwd=folder, mcp_servers=[])
            key = new.session_id
            answer = await one.say(key, "hello")

            assert answer.stop_reason == "end_turn"
            assert (answer.usage.input_tokens, answer.usage.output_tokens) > (0, 0)
            assert one.heard(key) == "<hello>"
            await one.until(lambda: one.of_kind("available_commands_update"))
            assert one.of_kind("available_commands_update")[0].available_commands[0].name == "retry"
            assert {o.id: o.current_value for o in new.config_options} == {"model": "scripted", "type": "development"}

            changed = await one.agent.set_config_option(config_id="type", session_id=key, value="review")
            assert {o.id: o.current_value for o in changed.config_options}["type"] == "review"
            await one.say(key, "/rename from-the-editor")
            listed = await one.agent.list_sessions(cwd=folder)
            assert [(s.session_id, s.title) for s in listed.sessions] == [(key, "from-the-editor")]
            assert (await one.agent.list_sessions(cwd="/")).sessions == []
            resource = TextResourceContents(uri="file:///a.txt", text="in the file")
            block = EmbeddedResourceContentBlock(type="resource", resource=resource)
            await one.agent.prompt(session_id=key, prompt=[{"type": "text", "text": "look"}, block])
            assert "in the file" in model.calls[-1].prompt

            fork = await one.agent.fork_session(session_id=key, cwd=folder)
            await one.say(fork.session_id, "more")
            assert "<hello>" in one.heard(fork.session_id)
            await one.agent.close_session(session_id=key)
            assert product.session("from-the-editor")["residency"] == "hibernated"
            await one.agent.close_session(session_id=key)

            await one.agent._conn.send_request("session/delete", {"sessionId": fork.session_id})
            assert [s["name"] for s in product.sessions("--all")] == ["from-the-editor"]

    asyncio.run(story())


@pytest.mark.parametrize("is_approved", [True, False])
def test_what_asks_is_asked_in_the_editor(product: Product, model: ModelServer, is_approved: bool):
    folder = product.home.parent / "work"
    folder.mkdir()

    async def story() -> None:
        async with editor(product) as one:
            one.answer = lambda _: "approve" if is_approved else "deny"
            key = (await one.agent.new_session(cwd=str(folder), mcp_servers=[])).session_id
            await one.say(key, use("run_command", command="echo ran >> it; echo said"))

            call = one.questions[0][1]
            assert call.content[0].content.text.endswith("echo ran >> it; echo said")
            assert one.of_kind("tool_call")[0].tool_call_id == call.tool_call_id
            assert len(one.of_kind("tool_call")) == 1
            ends = [u.status for u in one.of_kind("tool_call_update") if u.tool_call_id == call.tool_call_id]
            assert ends[-1] == ("completed" if is_approved else "failed")
            assert ("[said" in one.heard(key)) is is_approved

    asyncio.run(story())

    assert (folder / "it").exists() is is_approved
    assert product.json("inbox") == []


def test_the_first_answer_counts_and_one_from_elsewhere_is_one(product: Product, model: ModelServer):
    async def story() -> None:
        async with editor(product) as one:
            one.wait = asyncio.Event()
            key = (await one.agent.new_session(cwd=str(product.home.parent), mcp_servers=[])).session_id
            turn = asyncio.create_task(one.say(key, use("run_command", command="echo said")))
            await one.until(lambda: one.questions)
            ask = (await asyncio.to_thread(product.json, "inbox"))[0]
            await asyncio.to_thread(product.run, "deny", ask["id"], "not now")
            await turn
            one.wait.set()  # the editor says yes when it is over

            assert "not now" in one.heard(key)
            assert "[said" not in one.heard(key)
            turn = asyncio.create_task(one.say(key, use("ask_person", question="Which colour?")))
            await one.until(lambda: "[Which colour?]" in one.heard(key))
            ask = (await asyncio.to_thread(product.json, "inbox"))[0]
            await asyncio.to_thread(product.run, "answer", ask["id"], "blue")
            assert (await turn).stop_reason == "end_turn"
            assert "blue" in one.heard(key)
            assert len(one.questions) == 1  # it has no yes and no no
            assert (await one.say(key, "hello")).stop_reason == "end_turn"

    asyncio.run(story())


def test_cancel_ends_the_editor_s_turn_alone(product: Product, model: ModelServer):
    async def story() -> None:
        async with editor(product) as one, editor(product) as two:
            key = (await one.agent.new_session(cwd=str(product.home.parent), mcp_servers=[])).session_id
            turn = asyncio.create_task(one.say(key, "endless"))
            await one.until(lambda: len(one.heard(key)) > 10)
            await two.agent.load_session(session_id=key, cwd="/", mcp_servers=[])
            await two.agent.cancel(session_id=key)  # the turn of another client is none of its business
            assert not turn.done()
            waits = asyncio.create_task(two.say(key, "after it"))
            await asyncio.sleep(0.2)
            await one.agent.cancel(session_id=key)

            assert (await asyncio.wait_for(turn, 20)).stop_reason == "cancelled"
            assert (await asyncio.wait_for(waits, 20)).stop_reason == "end_turn"
            asked = asyncio.create_task(one.say(key, use("run_command", command="true")))
            one.wait = asyncio.Event()
            await one.until(lambda: one.questions)
            one.answer = lambda _: None
            await one.agent.cancel(session_id=key)
            one.wait.set()
            assert (await asyncio.wait_for(asked, 20)).stop_reason == "cancelled"
            at_once = asyncio.create_task(one.say(key, "endless"))
            await asyncio.sleep(0)
            await one.agent.cancel(session_id=key)
            assert (await asyncio.wait_for(at_once, 20)).stop_reason == "cancelled"

    asyncio.run(story())

    assert product.json("inbox") == []


def test_worker_coordinator_and_editor_die_and_another_goes_on_with_the_history(product: Product, model: ModelServer):
    async def story() -> None:
        async with editor(product) as one:
            key = (await one.agent.new_session(cwd=str(product.home.parent), mcp_servers=[])).session_id
            await one.say(key, "first")
            turn = asyncio.create_task(one.say(key, "endless"))
            await one.until(lambda: "1;" in one.heard(key))
            os.kill(psutil.Process((await asyncio.to_thread(product.sessions))[0]["pid"]).pid, signal.SIGKILL)
            with pytest.raises(RequestError) as said:
                await asyncio.wait_for(turn, 30)
            assert said.value.data["code"] == "turn.interrupted"

            turn = asyncio.create_task(one.say(key, "wait"))
            await one.until(lambda: "first half" in one.heard(key))
            os.kill((await asyncio.to_thread(product.json, "status"))["pid"], signal.SIGKILL)
            model.gate.set()
            assert (await asyncio.wait_for(turn, 30)).stop_reason == "end_turn"  # a coordinator was started again
            assert one.heard(key).endswith("first half, second half")

            model.gate.clear()
            lost = asyncio.create_task(one.say(key, "wait once more"))
            await one.until(lambda: len(model.calls_of("wait once more")) == 1)
            os.kill(one.pid, signal.SIGKILL)
            lost.cancel()
        model.gate.set()
        async with editor(product) as two:
            await two.until(lambda: product.sessions()[0]["unanswered"] == 0)
            await two.agent.load_session(session_id=key, cwd="/", mcp_servers=[])
            assert two.heard(key, "user_message_chunk") == "firstendlesswaitwait once more"
            assert two.heard(key).endswith("first half, second half")
            seen = len(two.heard(key))
            await two.say(key, "last")
            assert "<first>" in two.heard(key)[seen:]
            await two.agent.resume_session(session_id=key, cwd="/", mcp_servers=[])

    asyncio.run(story())


def test_an_editor_that_dies_in_the_middle_of_a_question_loses_nothing(product: Product, model: ModelServer):
    async def story() -> None:
        async with editor(product) as one:
            one.wait = asyncio.Event()
            key = (await one.agent.new_session(cwd=str(product.home.parent), mcp_servers=[])).session_id
            turn = asyncio.create_task(one.say(key, use("run_command", command="echo said")))
            await one.until(lambda: one.questions)
            os.kill(one.pid, signal.SIGKILL)
            turn.cancel()

    asyncio.run(story())

    ask = product.json("inbox")[0]
    product.run("approve", ask["id"])
    wait_for(lambda: product.sessions()[0]["messages"] == 2)
    assert "said" in product.json("history", ask["session"])[-1]["text"]


def test_what_is_not_there_is_refused_in_the_protocol_s_own_words(product: Product):
    async def story() -> list[int]:
        codes = []
        async with editor(product) as one:
            raw = one.agent._conn.send_request
            key = (await one.agent.new_session(cwd=str(product.home.parent), mcp_servers=[])).session_id
            picture = ImageContentBlock(type="image", data="AA==", mime_type="image/png")
            for wrong in (
                one.say("0123456789abcdef", "hello"),
                one.agent.load_session(session_id="1", cwd="/", mcp_servers=[]),
                one.agent.new_session(cwd="not/absolute", mcp_servers=[]),
                one.agent.new_session(cwd="/no/such/folder", mcp_servers=[]),
                one.agent.prompt(session_id=key, prompt=[picture]),
                one.say(key, "x" * 300_000),
                one.agent.set_config_option(config_id="model", session_id=key, value="nosuch"),
                one.agent.list_sessions(cursor="x"),
                raw("session/prompt", {"sessionId": 7}),
                raw("session/prompt", [1, 2]),
                raw("no/such", {}),
                raw("_private", {}),
                raw("session/prompt", {"sessionId": key, "prompt": [], "_meta": {"prompt": 5}}),
            ):
                with pytest.raises(RequestError) as refused:
                    await wrong
                codes.append(refused.value.code)
            assert (await one.say(key, "hello")).stop_reason == "end_turn"
        return codes

    codes = asyncio.run(story())

    assert codes[:2] == [-32002, -32002]
    assert codes[2:10] == [-32602] * 8
    assert codes[10:12] == [-32601] * 2
    assert codes[12] == -32602  # what a client adds for itself is no argument


def test_garbage_is_answered_and_one_who_never_reads_holds_up_nobody(product: Product, model: ModelServer):
    hello = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":99}}\n'
    garbage = [b"\xff\xfe nonsense", b"[1,2]", b"7", b'{"id":[1],"method":"x"}', b'{"id":3,"method":7}', b"[" * 100_000]
    lines = b"\n".join(
        [*garbage, b'{"jsonrpc":"2.0","id":2,"method":"x","params":"' + b"y" * (9 << 20) + b'"}', b"", hello]
    )
    done = subprocess.run(
        [COMMAND, "acp"], input=lines, env=product.environment, capture_output=True, timeout=60, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0
    assert done.stderr == b""
    assert [a["error"]["code"] for a in answers[:-1]] == [-32700, -32600, -32600, -32600, -32600, -32700, -32600]
    assert answers[-1]["result"]["protocolVersion"] == 1

    product.run("new", "a", "--cwd", str(product.home.parent))
    key = product.session("a")["id"]
    deaf = subprocess.Popen(
        [COMMAND, "acp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=product.environment
    )
    assert deaf.stdin is not None
    prompt = {"sessionId": key, "prompt": [{"type": "text", "text": "big 4000000"}]}
    for number in range(3):
        request = {"jsonrpc": "2.0", "id": number, "method": "session/prompt", "params": prompt}
        deaf.stdin.write(json.dumps(request).encode() + b"\n")
        deaf.stdin.flush()
        wait_for(lambda number=number: product.session("a")["messages"] == 2 * min(number + 1, 1))
    product.run("new", "b")
    assert product.json("send", "b", "hello")["reply"] == "<hello>"
    assert psutil.Process(deaf.pid).memory_info().rss < 400 << 20
    deaf.stdin.close()
    began_s = time.monotonic()
    deaf.wait(30)
    assert time.monotonic() - began_s < 10
    assert deaf.stdout is not None
    deaf.stdout.close()
    assert deaf.stderr is not None
    deaf.stderr.close()
