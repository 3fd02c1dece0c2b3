"""The scripted model once more, speaking the Anthropic protocol; prompts and ledger are those of ``model_server``."""

import json
import time
from http.server import BaseHTTPRequestHandler

from tests.support.model_server import Call, ModelServer


class AnthropicServer(ModelServer):
    """The server. The ledger's messages are in the form of the OpenAI protocol, so that tests read both alike."""

    def __init__(self, key: str = "test-key") -> None:
        super().__init__(key)
        self.url = self.url.removesuffix("/v1")
        self.bodies: list[dict] = []

    def _read(self, request: BaseHTTPRequestHandler, body: dict) -> Call:
        assert request.path.partition("?")[0] == "/v1/messages"
        assert body["max_tokens"] > 0
        assert request.headers["anthropic-version"]
        self.bodies.append(body)
        messages = [m for message in body["messages"] for m in _flat(message)]
        prompt = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        tools = [tool["name"] for tool in body.get("tools", [])]
        key = request.headers.get("authorization", "").removeprefix("Bearer ")  # so does the SDK; X-Api-Key once
        return Call(prompt, messages, key, time.monotonic(), tools=tools, temperature=body.get("temperature"))

    def _too_long(self, said: int) -> str:
        return f"prompt is too long: {said} tokens > {self.window} maximum"

    def _stream(self, request: BaseHTTPRequestHandler, word: str, rest: str, call: Call) -> None:
        self._begin(request, call)
        self._event(request, "content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in self._pieces(word, rest, call):
            call.said.append(piece)
            self._event(request, "content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            self._event(request, "ping")
        if word == "break":
            return
        if word == "overload":
            self._event(request, "error", error={"type": "overloaded_error", "message": "too much to do"})
            return
        self._event(request, "content_block_stop", index=0)
        self._end(request, call, "end_turn", len("".join(call.said)))

    def _call_tools(self, request: BaseHTTPRequestHandler, calls: list[dict], call: Call) -> None:
        self._begin(request, call)
        self._event(request, "content_block_start", index=0, content_block={"type": "text", "text": ""})
        self._event(request, "content_block_delta", index=0, delta={"type": "text_delta", "text": "Let me see."})
        self._event(request, "content_block_stop", index=0)
        for i, wanted in enumerate(calls, start=1):
            text = wanted["arguments"] if isinstance(wanted["arguments"], str) else json.dumps(wanted["arguments"])
            name = wanted.get("id", f"toolu_{len(call.messages)}_{i}")
            block = {"type": "tool_use", "id": name, "name": wanted["tool"], "input": {}}
            self._event(request, "content_block_start", index=i, content_block=block)
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                delta = {"type": "input_json_delta", "partial_json": part}
                self._event(request, "content_block_delta", index=i, delta=delta)
            self._event(request, "content_block_stop", index=i)
        self._end(request, call, "tool_use", 5)

    def _begin(self, request: BaseHTTPRequestHandler, call: Call) -> None:
        usage = {"input_tokens": 10 * len(call.messages), "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "scripted"}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        self._event(request, "message_start", message=message)

    def _end(self, request: BaseHTTPRequestHandler, call: Call, why: str, said: int) -> None:
        self._close(call)
        delta = {"stop_reason": why, "stop_sequence": None}
        self._event(request, "message_delta", delta=delta, usage={"output_tokens": said})
        self._event(request, "message_stop")

    def _event(self, request: BaseHTTPRequestHandler, kind: str, **facts: object) -> None:
        request.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind} | facts)}\n\n".encode())
        request.wfile.flush()


def _flat(message: dict) -> list[dict[str, str]]:
    """Return a message as those of the OpenAI protocol."""
    if isinstance(message["content"], str):
        return [{"role": message["role"], "content": message["content"]}]
    found = []
    for block in message["content"]:
        if block["type"] == "text":
            found.append({"role": message["role"], "content": block["text"]})
        elif block["type"] == "tool_result":
            content = block["content"]
            text = content if isinstance(content, str) else "".join(part["text"] for part in content)
            found.append({"role": "tool", "content": text})
        elif block["type"] != "image":
            found.append({"role": "assistant", "content": json.dumps(block)})
    return found
