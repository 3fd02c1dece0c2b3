"""A scripted model: a real HTTP server on loopback that speaks the OpenAI protocol and keeps a ledger.

What it does is said by the prompt: ``echo`` answers with what it was shown, other words in ``BEHAVIOURS`` make it slow,
failing or silent.
"""

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How the question for a session's name ends.
NAMING = "Name this conversation."


@dataclass
class Call:
    """One request."""

    prompt: str
    messages: list[dict[str, str]]
    key: str
    began_s: float
    ended_s: float | None = None
    said: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    temperature: float | None = None
    images: list[str] = field(default_factory=list)

    @property
    def results(self) -> list[str]:
        """What tools had answered in this turn, by the time of this request."""
        since = max(i for i, m in enumerate(self.messages) if m["role"] == "user")
        return [m["content"] for m in self.messages[since:] if m["role"] == "tool"]


class ModelServer:
    """The server, its ledger and its high-water mark of requests at once.

    A request counts until its answer is whole or its sender has closed the connection, whichever comes first.
    ``refusals`` are answered first, by prompt: each a status and headers.
    """

    def __init__(self, key: str = "test-key") -> None:
        self.key = key
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.refusals: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.window: int | None = None  # what is longer, in characters, is refused; each counts as a token
        self.name: str | None = None  # what it would call any conversation
        self._open: dict[int, socket.socket] = {}
        self.gate = threading.Event()  # "wait" answers its second half only when this is set
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def calls_of(self, prompt: str) -> list[Call]:
        return [call for call in self.calls if call.prompt == prompt]

    @property
    def chats(self) -> list[Call]:
        """The requests that are not about a name."""
        return [call for call in self.calls if not call.prompt.endswith(NAMING)]

    @property
    def at_once(self) -> int:
        """Requests that are open now."""
        return len(self.open_calls())

    def open_calls(self) -> list[Call]:
        with self._lock:
            found = {key for key, connection in self._open.items() if not is_closed(connection)}
        return [call for call in list(self.calls) if id(call) in found]

    # ---- one request

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        sent = request.rfile.read(int(request.headers["content-length"]))
        if len(sent) < int(request.headers["content-length"]):
            return  # the worker was killed while it asked
        body = json.loads(sent)
        call = self._read(request, body)
        with self._lock:
            self.calls.append(call)
            self._open[id(call)] = request.connection
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._answer(request, body, call)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the worker was killed or cancelled
        finally:
            self._close(call)

    def _read(self, request: BaseHTTPRequestHandler, body: dict) -> Call:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        tools = [t["function"]["name"] for t in body.get("tools", [])]
        images = [url for m in body["messages"] for url in _images(m["content"])]
        messages = [m | {"content": _text(m["content"])} for m in body["messages"]]
        prompt = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        call = Call(prompt, messages, key, time.monotonic(), tools=tools, temperature=body.get("temperature"))
        call.images = images
        return call

    def _close(self, call: Call) -> None:
        call.ended_s = call.ended_s or time.monotonic()
        with self._lock:
            self._open.pop(id(call), None)

    def _answer(self, request: BaseHTTPRequestHandler, body: dict, call: Call) -> None:
        if call.key != self.key:
            self._refuse(request, 401, "that key is wrong")
            return
        if body["model"] != "scripted":
            self._refuse(request, 404, f"no model {body['model']}")
            return
        refusals = self.refusals.get(call.prompt)
        if refusals:
            status, headers = refusals.pop(0)
            self._close(call)
            self._refuse(request, status, "as it was scripted", headers)
            return
        said = sum(len(m["content"] or "") for m in call.messages)
        if self.window is not None and said > self.window:
            self._close(call)
            self._refuse(request, 400, self._too_long(said))
            return
        word, _, rest = call.prompt.partition(" ")
        if word == "slow":
            time.sleep(float(rest.partition(" ")[0]))
        if word == "status":
            self._refuse(request, int(rest), f"as you asked: {rest}")
            return
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.send_header("connection", "close")
        request.end_headers()
        request.close_connection = True
        calls = self._calls(word, rest, call)
        if word == "garbage":
            request.wfile.write(garbage(rest))
        elif calls:
            self._call_tools(request, calls, call)
        else:
            self._stream(request, word, rest, call)

    def _calls(self, word: str, rest: str, call: Call) -> list[dict]:
        return _calls(word, rest, call)

    def _too_long(self, said: int) -> str:
        words = f"This model's maximum context length is {self.window} tokens."
        return f"{words} However, your messages resulted in {said} tokens."

    def _stream(self, request: BaseHTTPRequestHandler, word: str, rest: str, call: Call) -> None:
        for piece in self._pieces(word, rest, call):
            call.said.append(piece)
            self._send(request, {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        if word == "break":
            return
        self._send(request, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        said = len("".join(call.said))
        usage = {"prompt_tokens": 10 * len(call.messages), "completion_tokens": said, "total_tokens": said}
        self._close(call)  # the last words may be read, and the next request come, before this thread goes on
        self._send(request, {"choices": [], "usage": usage})
        request.wfile.write(b"data: [DONE]\n\n")

    def _pieces(self, word: str, rest: str, call: Call):
        """Yield the pieces of the reply."""
        if self.name is not None and call.prompt.endswith(NAMING):
            yield self.name
        elif word == "count":  # count N TAG: N numbered pieces, slowly, each with the tag
            number, _, tag = rest.partition(" ")
            for i in range(int(number)):
                yield f"{tag}{i};"
                time.sleep(0.01)
        elif word == "wait":  # the first half, and after the gate opened the second
            yield "first half, "
            self.gate.wait(60)
            yield "second half"
        elif word == "endless":
            for i in range(6_000):
                yield f"{i};"
                time.sleep(0.01)
        elif word == "hold":  # hold SECONDS TAG: a piece, and after so long another
            yield "held "
            time.sleep(float(rest.partition(" ")[0]))
            yield "and done"
        elif word == "big":  # big N [wait]: so many letters, and then perhaps nothing until the gate opens
            size, _, wait = rest.partition(" ")
            yield "x" * int(size)
            if wait:
                self.gate.wait(60)
        elif word == "raw":  # the reply is the rest, as it is
            yield rest
        elif word == "break":
            yield "half a"
        elif word in {"use", "uses", "loop"}:  # the tools have answered: show what
            yield from (f"[{result}]" for result in call.results)
        else:  # everything that was said before by the user, so that context can be seen
            users = [m["content"] for m in call.messages if m["role"] == "user"]
            for user in users:
                yield f"<{user}>"

    def _call_tools(self, request: BaseHTTPRequestHandler, calls: list[dict], call: Call) -> None:
        """Say a word, then call tools, their arguments in two pieces, as endpoints do."""
        number = len(call.messages)
        self._send(request, {"choices": [{"index": 0, "delta": {"content": "Let me see."}, "finish_reason": None}]})
        for i, wanted in enumerate(calls):
            text = wanted["arguments"] if isinstance(wanted["arguments"], str) else json.dumps(wanted["arguments"])
            first = {"index": i, "id": wanted.get("id", f"call-{number}-{i}"), "type": "function"}
            first["function"] = {"name": wanted["tool"], "arguments": text[: len(text) // 2]}
            second = {"index": i, "function": {"arguments": text[len(text) // 2 :]}}
            for delta in (first, second):
                choice = {"index": 0, "delta": {"tool_calls": [delta]}, "finish_reason": None}
                self._send(request, {"choices": [choice]})
        self._send(request, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        usage = {"prompt_tokens": 10 * number, "completion_tokens": 5, "total_tokens": 10 * number + 5}
        self._close(call)
        self._send(request, {"choices": [], "usage": usage})
        request.wfile.write(b"data: [DONE]\n\n")

    def _send(self, request: BaseHTTPRequestHandler, facts: dict) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"} | facts
        request.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        request.wfile.flush()

    def _refuse(
        self, request: BaseHTTPRequestHandler, status: int, message: str, headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps({"error": {"message": message, "type": "refused"}}).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(body)))
        # Without a word of the script the SDK tries again at once instead of after a second.
        for name, value in ({"retry-after-ms": "1"} if headers is None else headers).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


def _text(content: object) -> object:
    """A message's text; beside images it comes in parts."""
    if not isinstance(content, list):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _images(content: object) -> list[str]:
    """The images of a message, each as a data URL."""
    parts = content if isinstance(content, list) else []
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def garbage(what: str) -> bytes:
    """Return what no endpoint should send."""
    text = {
        "": "{not json",
        "list": "[]",
        "number": "5",
        "text": '{"id": "c", "choices": "x", "type": "content_block_delta"}',
        "nothing": "null",
        "deep": "[" * 100_000,
        "line": "x" * (20 << 20),
    }.get(what, "")
    if what == "half":
        return b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "\xe2\x82\n\n'
    return f"data: {text}\n\n".encode()


def _calls(word: str, rest: str, call: Call) -> list[dict]:
    """Return the tools to call: ``use JSON`` one, ``uses JSON`` a list, once; ``loop JSON`` one again and again."""
    rest = rest.partition("\n\n")[0]  # behind it may be what the prompt says of its files
    if word == "loop":
        return [json.loads(rest)]
    if word not in {"use", "uses"} or call.results:
        return []
    return json.loads(rest) if word == "uses" else [json.loads(rest)]


def is_closed(connection: socket.socket) -> bool:
    """Say whether the other end has closed it, or has died."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
