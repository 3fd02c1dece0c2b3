"""MCP servers without a worker: over HTTP, which tools are offered, what they may do, and when a server is ended."""

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from protocol.errors import ConfigBad
from protocol.messages import McpServer, ToolRule
from protocol.settings import settings_of
from workers.core.calls import Call, NeedsYes, Refusal
from workers.tools.box import Box, Silence, Where
from workers.tools.files import ToolFailed
from workers.tools.mcp_servers import Listed, Servers

ASK = ToolRule(rule="ask")
SERVER = str(Path(__file__).parent.parent / "support" / "mcp_server.py")
OBJECT = {"type": "object"}


class Fake:
    """A connection that is there, with these tools."""

    def __init__(self, *tools: Listed) -> None:
        self.tools = list(tools)
        self.why_over: str | None = None
        self.pid = None
        self.calls: list[tuple[str, dict]] = []

    async def open(self) -> None:
        pass

    def end(self) -> None:
        self.why_over = "it was ended"

    async def close(self) -> None:
        self.end()

    async def call(self, name: str, arguments: dict, timeout_s: float) -> str:
        self.calls.append((name, arguments))
        return "done"


def served(*servers: McpServer, fakes: dict[str, Fake]) -> Servers:
    found = Servers(Path("/"), "s.1", lambda server, *_: fakes[server.name])
    asyncio.run(found.open(list(servers)))
    return found


def with_pipe(wanted: McpServer, do: Callable[[Servers], Awaitable[None]]) -> None:
    async def play() -> None:
        servers = Servers(Path("/"), "s.1")
        try:
            await servers.open([wanted])
            await do(servers)
        finally:
            await servers.open([])

    asyncio.run(play())


def test_only_what_an_endpoint_takes_and_the_rules_do_not_deny_is_offered():
    names = ("good", "secret_one", "with space", "x" * 70)
    tools = [Listed(name, "d" * 5_000, OBJECT) for name in names]
    tools += [Listed("no_object", "", {"type": "string"}), Listed("vast", "", OBJECT | {"x": "y" * 20_000})]
    rule = ToolRule(rule="ask", allow=["good"], deny=["secret*"])
    servers = served(McpServer(name="one", command=["x"], rule=rule), fakes={"one": Fake(*tools)})
    offered = servers.tools()

    assert list(offered) == ["one__good"]
    assert offered["one__good"].rule == "allow"
    assert len(offered["one__good"].tool.description) == 2_000


def test_what_was_approved_is_what_runs_also_when_the_server_is_another_one_now():
    fake = Fake(Listed("go", "", OBJECT))
    server = McpServer(name="one", command=["first"], rule=ASK)
    box = Box({}, Where(Path("/"), "", 1.0), Silence(), served(server, fakes={"one": fake}))
    call = Call("c", "one__go", {"to": ["a", 1]})
    asked = box.judge(call)
    other = McpServer(name="one", command=["second"], rule=ASK)
    changed = Box({}, Where(Path("/"), "", 1.0), Silence(), served(other, fakes={"one": fake}))

    assert isinstance(asked, NeedsYes)
    assert asked.argv == ["one__go", '{"to": ["a", 1]}']
    assert "this is not what was approved" in asyncio.run(changed.run(call, asked.digest))
    assert "this is not what was approved" in asyncio.run(box.run(Call("d", "one__go", {"to": []}), asked.digest))
    assert fake.calls == []
    assert asyncio.run(box.run(call, asked.digest)) == "done"
    assert fake.calls == [("go", {"to": ["a", 1]})]


def test_a_tool_whose_server_is_gone_is_refused_with_the_reason():
    fake = Fake(Listed("go", "", OBJECT))
    servers = served(McpServer(name="one", command=["x"], rule=ASK), fakes={"one": fake})
    fake.why_over = "it ended with exit code 3"
    box = Box({}, Where(Path("/"), "", 1.0), Silence(), servers)

    assert box.tools == []
    assert box.judge(Call("c", "one__go", {})) == Refusal(
        "The MCP server 'one' is not there: it ended with exit code 3."
    )
    assert box.judge(Call("c", "two__go", {})) == Refusal("There is no tool 'two__go'.")


def test_a_server_is_started_again_after_it_ended_and_one_that_failed_is_left_alone_for_a_while():
    starts: list[str] = []

    def connect(server: McpServer, *_: object) -> Fake:
        starts.append(server.name)
        if server.name == "bad":
            raise ToolFailed("it cannot")
        return Fake()

    good, bad = (McpServer(name=name, command=["x"], rule=ASK, idle_s=0.0) for name in ("good", "bad"))
    servers = Servers(Path("/"), "s.1", connect)

    assert asyncio.run(servers.open([good, bad])) == {"bad": "it cannot"}

    servers.end_idle()  # nobody used it for longer than idle_s
    asyncio.run(servers.open([good, bad]))

    assert starts == ["good", "bad", "good"]


def test_what_a_command_gets_is_the_sessions_environment_without_keys_and_its_own_secrets(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "canary")
    monkeypatch.setenv("PLAIN", "yes")
    seen: list[str] = []

    async def look(servers: Servers) -> None:
        connection = servers.tools()["one__env"].connection
        names = ("SOME_TOKEN", "PLAIN", "OWN_KEY", "CHAT_COORD_TOOL")
        seen.extend([await connection.call("env", {"name": name}, 5.0) for name in names])

    with_pipe(McpServer(name="one", command=[sys.executable, SERVER], secrets={"OWN_KEY": "k"}, rule=ASK), look)

    assert seen == ["(not set)", "yes", "k", "s.1.mcp-one-1"]


# ---- over HTTP


class Http:
    """An MCP server over HTTP; ``wrong`` says what it does with calls of tools."""

    def __init__(self) -> None:
        outer = self
        self.wrong = ""
        self.keys: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self)

            def do_GET(self) -> None:
                self.send_error(405)

            def do_DELETE(self) -> None:
                self.send_error(405)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/mcp"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        said = json.loads(request.rfile.read(int(request.headers["content-length"])))
        self.keys.append(request.headers.get("authorization"))
        number, method = said.get("id"), said["method"]
        if number is None:
            request.send_response(202)
            request.end_headers()
            return
        if method == "tools/call" and self.wrong:
            self._misbehave(request)
            return
        info = {"name": "http", "version": "1"}
        results = {
            "initialize": {
                "protocolVersion": said.get("params", {}).get("protocolVersion"),
                "capabilities": {"tools": {}},
                "serverInfo": info,
            },
            "tools/list": {"tools": [{"name": "hello", "inputSchema": OBJECT}]},
            "tools/call": {"content": [{"type": "text", "text": "hello over HTTP"}]},
        }
        error = {"code": -32601, "message": "no such method"}
        body = {"result": results[method]} if method in results else {"error": error}
        data = json.dumps({"jsonrpc": "2.0", "id": number} | body).encode()
        request.send_response(200)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _misbehave(self, request: BaseHTTPRequestHandler) -> None:
        if self.wrong == "status":
            request.send_error(500)
            return
        request.send_response(200)
        kind = "text/event-stream" if self.wrong == "events" else "application/json"
        request.send_header("content-type", kind)
        request.end_headers()
        try:
            while self.wrong != "cut":
                request.wfile.write(b": flood\n\n" * 8_192 if self.wrong == "events" else b" " * 65_536)
        except OSError:
            pass


@pytest.fixture
def http():
    server = Http()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("flood", "that nobody asked for"),
        ("events", "that nobody asked for"),
        ("status", "did not do it"),
        ("cut", "did not do it"),
    ],
)
def test_a_server_over_http_gets_its_key_and_what_it_does_wrong_costs_its_call(http: Http, wrong: str, why: str):
    async def play(servers: Servers) -> None:
        wanted = McpServer(name="far", url=http.url, api_key="its-key", rule=ASK)

        assert await servers.open([wanted]) == {}
        assert await servers.tools()["far__hello"].connection.call("hello", {}, 5.0) == "hello over HTTP"

        http.wrong = wrong
        with pytest.raises(ToolFailed, match=why):
            await servers.tools()["far__hello"].connection.call("hello", {}, 5.0)

        http.wrong = ""
        await servers.open([wanted])

        assert await servers.tools()["far__hello"].connection.call("hello", {}, 5.0) == "hello over HTTP"

        await servers.open([])

    asyncio.run(play(Servers(Path("/"), "s.1")))

    assert set(http.keys) == {"Bearer its-key"}


def test_an_address_where_nobody_answers_is_said_to():
    async def play() -> dict[str, str]:
        servers = Servers(Path("/"), "s.1")
        return await servers.open([McpServer(name="far", url="http://127.0.0.1:9/mcp", rule=ASK)])

    assert "ConnectError" in asyncio.run(play())["far"]


# ---- configured


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("a_b", {"command": ["x"]}, "no name for a server"),
        ("a", {}, "give command or url"),
        ("a", {"command": ["x"], "url": "http://h"}, "give command or url"),
        ("a", {"url": "ftp://h"}, "no http or https address"),
        ("a", {"command": ["x"], "api_key_env": "K"}, "are for url"),
        ("a", {"url": "http://h", "pass_env": ["K"]}, "is for a command"),
        ("a", {"url": "http://h", "api_key_env": "K", "api_key_file": "/k"}, "both given"),
        ("a", {"command": ["x"], "rule": "maybe"}, "mcp.a.rule"),
        ("a", {"command": ["x"], "other": 1}, "no key 'mcp.a.other'"),
        ("a", {"command": ["x"], "start_s": 0}, "from 0.1 to 300"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_key(name: str, table: dict, said: str):
    with pytest.raises(ConfigBad) as refused:
        settings_of("config.toml", {"mcp": {name: table}}, {})

    assert said in f"{refused.value.message} {refused.value.hint}"


def test_the_next_start_is_not_ended_with_the_one_before_which_takes_its_time():
    server = McpServer(name="one", command=[sys.executable, SERVER, "deaf"], rule=ASK)

    async def play(servers: Servers) -> None:
        for text in ("first", "second"):
            await servers.open([server])
            connection = servers.tools()["one__echo"].connection

            assert await connection.call("echo", {"text": text}, 5.0) == text

            with pytest.raises(ToolFailed, match=r"longer than 0\.2 s"):
                await connection.call("misbehave", {"how": "hang"}, 0.2)
        await servers.open([server])
        await asyncio.sleep(1.5)  # longer than from SIGTERM to SIGKILL

        assert await servers.tools()["one__echo"].connection.call("echo", {"text": "third"}, 5.0) == "third"

    with_pipe(server, play)
