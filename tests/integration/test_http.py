"""The HTTP door: sessions as resources, OpenAI's protocol with its own client, and requests that are none."""

import json
import os
import signal
import socket
import stat
import threading

import openai
import psutil
import pytest

from tests.support.http_door import Door, http_door
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration


def use(tool: str, **arguments: object) -> str:
    return f"use {json.dumps({'tool': tool, 'arguments': arguments})}"


def events(data: bytes) -> list[tuple[str, dict]]:
    found = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_sessions_are_resources_and_turns_are_replies_or_events(product: Product, model: ModelServer):
    with http_door(product) as door:
        status, made = door.ask("POST", "/sessions", {"name": "a", "type": "planning"})
        again = door.ask("POST", "/sessions", {"name": "a", "type": "planning"})
        assert (status, made["name"], made["type"]) == (201, "a", "planning")
        assert (again[0], again[1]["error"]["code"]) == (409, "name.taken")
        assert [s["id"] for s in door.ask("GET", "/sessions")[1]["sessions"]] == [made["id"]]

        prompt = {"text": "hello", "key": "k"}
        status, reply = door.ask("POST", "/sessions/a/prompts", prompt)
        assert (status, reply["reply"], reply["stop_reason"]) == (200, "<hello>", "completed")
        assert reply["usage"]["input_tokens"] > 0
        assert door.ask("POST", "/sessions/a/prompts", prompt)[1]["seq"] == reply["seq"]
        assert door.ask("POST", "/sessions/a/prompts", prompt | {"text": "x"})[1]["error"]["code"] == "prompt.conflict"

        _, data = door.raw("POST", "/sessions/a/prompts", b'{"text": "count 5 x"}', accept="text/event-stream")
        told = events(data)
        assert [kind for kind, _ in (told[0], told[-1])] == ["accepted", "reply"]
        assert "".join(d["text"] for kind, d in told if kind == "text") == told[-1][1]["reply"] == "x0;x1;x2;x3;x4;"

        assert door.ask("POST", "/sessions/a/prompts", {"text": "wait", "wait": False})[0] == 202
        assert door.ask("POST", "/sessions/a/prompts", {"text": "then", "timeout_s": 0.1})[0] == 202
        assert door.ask("POST", "/sessions/a/cancel")[0] == 200
        model.gate.set()
        wait_for(lambda: door.ask("GET", "/sessions/a")[1]["unanswered"] == 0)
        rows = door.ask("GET", "/sessions/a/messages?after=0")[1]["messages"]
        assert [r["stop_reason"] for r in rows if r["role"] == "assistant"][2] == "cancelled"

        changed = door.ask("PATCH", "/sessions/a", {"name": "b", "type": "development", "pinned": False})[1]
        assert (changed["name"], changed["type"]) == ("b", "development")
        assert door.ask("POST", "/sessions/b/hibernate")[1]["residency"] == "hibernated"
        assert door.ask("POST", "/sessions/b/wake")[0] == 200
        assert door.ask("POST", "/sessions/b/close")[1]["residency"] in {"stopping", "stopped"}
        assert door.ask("DELETE", "/sessions/b")[0] == 204
        assert door.ask("GET", "/sessions/b")[1]["error"]["code"] == "session.unknown"


def test_asks_and_changes_are_told_and_answered(product: Product, model: ModelServer):
    with http_door(product) as door:
        door.ask("POST", "/sessions", {"name": "a", "cwd": str(product.home.parent)})
        with socket.create_connection(("127.0.0.1", door.port), timeout=30) as follows:
            follows.sendall(
                f"GET /events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {door.token}\r\n\r\n".encode()
            )
            assert b"200 OK" in follows.recv(4096)
            body = json.dumps({"text": use("run_command", command="echo said")}).encode()
            got: list[bytes] = []
            asking = threading.Thread(
                target=lambda: got.append(door.raw("POST", "/sessions/a/prompts", body, accept="text/event-stream")[1])
            )
            asking.start()
            ask = wait_for(lambda: door.ask("GET", "/asks")[1]["asks"])[0]
            assert door.ask("POST", f"/asks/{ask['id']}", {"approve": True})[1]["approved"] is True
            assert door.ask("POST", f"/asks/{ask['id']}", {"approve": True})[1]["error"]["code"] == "ask.resolved"
            asking.join(30)
            wish = {"text": use("ask_person", question="Which colour?"), "wait": False}
            assert door.ask("POST", "/sessions/a/prompts", wish)[0] == 202
            question = wait_for(lambda: door.ask("GET", "/asks")[1]["asks"])[0]
            assert door.ask("POST", f"/asks/{question['id']}", {"approve": True})[0] == 409
            assert door.ask("POST", f"/asks/{question['id']}", {"approve": True, "answer": "blue"})[0] == 200
            wait_for(lambda: door.ask("GET", "/sessions/a")[1]["unanswered"] == 0)
            assert "blue" in door.ask("GET", "/sessions/a/messages")[1]["messages"][-1]["text"]
            heard = follows.recv(65536)

    kinds = [kind for kind, _ in events(got[0])]
    assert {"ask", "tool", "reply"} <= set(kinds)
    assert "said" in events(got[0])[-1][1]["reply"]
    assert b'"requires_action"' in heard


def test_the_client_of_openai_talks_to_sessions(product: Product, model: ModelServer):
    with http_door(product, "--session", "assistant") as door:
        with openai.OpenAI(base_url=f"{door.url}/v1", api_key=door.token, max_retries=0) as client:
            assert [m.id for m in client.models.list()] == ["embedded", "scripted"]
            talk = client.chat.completions
            said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
            first = talk.create(model="scripted", messages=said, user="a")
            assert first.choices[0].message.content == "<hello>"
            assert first.choices[0].finish_reason == "stop"
            assert first.usage.total_tokens > 0
            assert "Be brief." in str(model.calls[-1].messages)
            chunks = list(
                talk.create(
                    model="scripted",
                    messages=[{"role": "user", "content": [{"type": "text", "text": "and more"}]}],
                    stream=True,
                    stream_options={"include_usage": True},
                    extra_headers={"X-Session": "a"},
                    temperature=0.1,
                )
            )
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "<hello><and more>"
            assert chunks[-1].usage.prompt_tokens > 0
            talk.create(model="scripted", messages=[{"role": "user", "content": "unnamed"}])
            assert {s["name"] for s in product.sessions()} == {"a", "assistant"}

            with pytest.raises(openai.APIStatusError) as unknown:
                talk.create(model="gpt-9", messages=said, user="a")
            assert unknown.value.code == "model.unknown"
            with pytest.raises(openai.APIStatusError) as failed:
                talk.create(model="scripted", messages=[{"role": "user", "content": "status 400"}], user="a")
            assert failed.value.status_code == 502
            with pytest.raises(openai.APIError) as broken:
                list(talk.create(model="scripted", messages=[{"role": "user", "content": "status 400"}], stream=True))
            assert "model" in str(broken.value.code)
        with (
            openai.OpenAI(base_url=f"{door.url}/v1", api_key="wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError),
        ):
            stranger.models.list()


def test_a_turn_streams_on_over_a_coordinator_that_is_killed(product: Product, model: ModelServer):
    with http_door(product) as door:
        door.ask("POST", "/sessions", {"name": "a"})
        got: list[bytes] = []
        body = b'{"text": "wait", "key": "k"}'
        turn = threading.Thread(
            target=lambda: got.append(door.raw("POST", "/sessions/a/prompts", body, accept="text/event-stream")[1])
        )
        turn.start()
        wait_for(lambda: model.calls_of("wait") and model.calls_of("wait")[0].said)
        os.kill(product.json("status")["pid"], signal.SIGKILL)
        model.gate.set()
        turn.join(40)

        assert events(got[0])[-1][1]["reply"] == "first half, second half"
        assert len(model.calls_of("wait")) == 1


def refuses(door: Door, method: str, path: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    status, body = door.raw(method, path, data, **headers)
    return status, json.loads(body)["error"]["code"]


def flood(connection: socket.socket) -> None:
    """Send a body of 100 MB in pieces."""
    for _ in range(100):
        connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")


def test_what_is_no_request_is_refused_and_bounded(product: Product, model: ModelServer):
    with http_door(product) as door:
        assert stat.S_IMODE((product.home / "http-token").stat().st_mode) == 0o600
        door.ask("POST", "/sessions", {"name": "a"})
        assert refuses(door, "GET", "/sessions", authorization="Bearer wrong") == (401, "http.token")
        assert refuses(door, "GET", "/sessions", authorization=None) == (401, "http.token")
        assert refuses(door, "GET", "/sessions", host="evil.example:80") == (400, "http.host")
        assert refuses(door, "GET", "/nothing") == (404, "http.404")
        assert refuses(door, "PUT", "/sessions") == (405, "http.405")
        assert refuses(door, "GET", "/sessions?offset=-1") == (400, "http.query")
        assert refuses(door, "GET", "/sessions?offset=1&offset=2") == (400, "http.query")
        for body in (b"", b"[" * 100_000, b"{}", b'{"text": 7}', b'{"text": "x", "more": 1}', b"\xff"):
            assert refuses(door, "POST", "/sessions/a/prompts", body) == (400, "http.body")
        assert refuses(door, "POST", "/sessions/a/prompts", b'{"text": ""}') == (409, "prompt.empty")
        assert refuses(door, "POST", "/sessions", b'{"cwd": "/no\\u0000thing"}') == (409, "value.illegal")
        large = json.dumps({"text": "x" * 300_000}).encode()
        assert refuses(door, "POST", "/sessions/a/prompts", large) == (409, "prompt.too_large")

        with socket.create_connection(("127.0.0.1", door.port), timeout=30) as sends:
            head = f"POST /sessions/a/prompts HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {door.token}\r\n"
            sends.sendall(f"{head}content-length: {100 << 20}\r\n\r\n".encode())
            assert b"413" in sends.recv(4096).splitlines()[0]
        with socket.create_connection(("127.0.0.1", door.port), timeout=30) as sends:
            sends.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                flood(sends)
        deaf = socket.create_connection(("127.0.0.1", door.port), timeout=30)
        body = b'{"text": "big 4000000"}'
        deaf.sendall(f"{head}accept: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: door.ask("GET", "/sessions/a")[1]["messages"] == 2)
        assert door.ask("POST", "/sessions/a/prompts", {"text": "hello"})[1]["stop_reason"] == "completed"
        assert psutil.Process(door.process.pid).memory_info().rss < 300 << 20
        deaf.close()

    (product.home / "http-token").chmod(0o644)
    assert product.result("http", "--port", "0").returncode == 78
