"""Models behind the port, by both protocols, against real servers on loopback: what comes, and what goes wrong."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from pydantic_ai.exceptions import ModelHTTPError

from protocol.messages import Endpoint
from protocol.views import Usage
from tests.support.anthropic_server import AnthropicServer
from tests.support.model_server import ModelServer
from workers.core.calls import Call, Refusal, Tool
from workers.core.conversation import Line
from workers.models import speakers
from workers.models.failures import http_failure
from workers.models.permit_client import TRIES
from workers.models.port import Answered, ContextTooLong, ModelFailed, Outcome, Question
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.models.warm_up import warm_up


class Counted:
    """Permits that are given at once, and counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.held: set[int] = set()
        self.back: list[Outcome] = []

    async def acquire(self) -> int:
        self.calls += 1
        self.held.add(self.calls)
        return self.calls

    def release(self, call: int, outcome: Outcome) -> None:
        self.held.discard(call)
        self.back.append(outcome)


class Box:
    """One tool that says what it was given."""

    tools = [Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})]  # noqa: RUF012

    def judge(self, call: Call) -> Refusal | None:
        return None

    async def run(self, call: Call, digest: str | None) -> str:
        return f"saw {call.arguments['at']}"


@pytest.fixture(params=["openai", "anthropic"])
def server(request) -> Iterator[ModelServer]:
    server = ModelServer() if request.param == "openai" else AnthropicServer()
    server.provider = request.param
    yield server
    server.close()


@pytest.fixture
def permits() -> Counted:
    return Counted()


def endpoint(server: ModelServer, **more) -> Endpoint:
    facts = {"model": "scripted", "api_key": server.key, "context_tokens": None, "max_output_tokens": None} | more
    return Endpoint(provider=server.provider, base_url=server.url, **facts)


def ask(server, prompt, permits, pieces=None, *, earlier=(), toolbox=None, instructions=None, **more) -> Answered:
    said = [] if pieces is None else pieces
    question = Question(instructions, list(earlier), prompt)
    return asyncio.run(
        PydanticAiModel().stream(endpoint(server, **more), question, said.append, permits, toolbox=toolbox)
    )


def failure(server, prompt, permits, **more) -> ModelFailed:
    with pytest.raises(ModelFailed) as failed:
        ask(server, prompt, permits, **more)
    assert permits.held == set()
    assert len(permits.back) == permits.calls
    return failed.value


def test_a_reply_streams_with_what_was_said_before(server, permits):
    pieces = []
    earlier = [Line("user", "one"), Line("assistant", "two")]
    answered = ask(server, "count 3 x", permits, pieces, earlier=earlier, instructions="be kind")

    assert "".join(pieces) == "x0;x1;x2;"
    assert len([piece for piece in pieces if piece]) > 1
    assert [m["content"] for m in server.calls[0].messages if m["role"] in {"user", "assistant"}][:2] == ["one", "two"]
    assert answered.usage.output_tokens == 9
    assert permits.back == [Outcome(200, None, answered.usage)]


def test_what_a_long_reply_cost_is_found_at_its_beginning_too(server, permits):
    answered = ask(server, "big 20000", permits)

    assert answered.usage == Usage(input_tokens=10, output_tokens=20_000)
    assert permits.back == [Outcome(200, None, answered.usage)]


def test_instructions_and_temperature_reach_the_endpoint(server, permits):
    ask(server, "x", permits, instructions="be kind", temperature=0.5)
    ask(server, "x", permits)

    assert [call.temperature for call in server.calls] == [0.5, None]
    if server.provider == "anthropic":
        assert "be kind" in json.dumps(server.bodies[0]["system"])
    else:
        assert server.calls[0].messages[0]["content"] == "be kind"


def test_a_temperature_beyond_what_the_anthropic_protocol_has_is_its_highest(permits):
    server = AnthropicServer()
    server.provider = "anthropic"
    ask(server, "x", permits, temperature=1.7)
    server.close()

    assert server.calls[0].temperature == 1.0


def test_a_loop_of_tools_takes_a_permit_for_each_request_and_its_usage_adds_up(server, permits):
    pieces = []
    calls = [{"tool": "look", "arguments": {"at": where}} for where in ("here", "there")]
    answered = ask(server, f"uses {json.dumps(calls)}", permits, pieces, toolbox=Box())

    assert server.calls[0].tools == ["look"]
    assert server.calls[1].results == ["saw here", "saw there"]
    assert "".join(pieces) == "Let me see.\n\n[saw here][saw there]"
    each = [outcome.usage for outcome in permits.back]
    assert len(each) == 2
    assert answered.usage == Usage(
        input_tokens=sum(usage.input_tokens for usage in each), output_tokens=sum(usage.output_tokens for usage in each)
    )
    assert answered.usage.output_tokens == 5 + len("[saw here][saw there]")


def test_a_refusal_for_the_rate_is_waited_for_in_line(server, permits):
    server.refusals["x"] = [(429, {"retry-after": "2"}), (529, {}), (503, {"retry-after": "3"})]
    ask(server, "x", permits)

    assert [(o.status, o.retry_after_s) for o in permits.back] == [(429, 2.0), (529, None), (503, 3.0), (200, None)]


@pytest.mark.parametrize(
    ("status", "case", "tries"),
    [
        (401, "model.key_refused", 1),
        (404, "model.unknown", 1),
        (400, "model.refused", 1),
        (429, "model.rate_limited", TRIES),
        (529, "model.server_error", TRIES),
        (500, "model.server_error", TRIES),
    ],
)
def test_every_refusal_has_its_code(server, permits, status, case, tries):
    server.refusals["x"] = [(status, {"retry-after-ms": "1"})] * 20

    failed = failure(server, "x", permits)

    assert failed.case == case
    assert "as it was scripted" in failed.message
    assert len(server.calls) == tries


def test_a_stream_that_breaks_off_is_told_and_what_came_is_kept(server, permits):
    pieces = []
    failed = failure(server, "break", permits, pieces=pieces)

    assert failed.case == "model.broke_off"
    assert "".join(pieces) == "half a"


def test_one_that_breaks_off_after_tools_were_used_is_told_too(server, permits):
    calls = server._calls
    server._calls = lambda word, rest, call: calls("use", rest, call) if word == "break" else calls(word, rest, call)
    failed = failure(server, 'break {"tool": "look", "arguments": {"at": "x"}}', permits, toolbox=Box())

    assert len(server.calls) == 2
    assert failed.case == "model.broke_off"


def test_an_error_in_the_middle_of_a_stream_is_told(permits):
    server = AnthropicServer()
    server.provider = "anthropic"
    failed = failure(server, "overload", permits)
    server.close()

    assert failed.case == "model.server_error"
    assert "too much to do" in failed.message


def test_a_conversation_that_is_too_long_is_told_with_the_counts(server, permits):
    server.window = 100
    failed = failure(server, "p" * 150, permits)

    assert isinstance(failed, ContextTooLong)
    assert failed.case == "model.context_too_long"
    assert failed.counts == (150, 100)
    assert failed.is_first


OPENAI = "maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens."
VLLM = "maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the messages"
LLAMA = {"type": "exceed_context_size_error", "n_ctx": 2048}
ANTHROPIC = "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ({"message": OPENAI}, (10000, 8192)),
        ({"message": VLLM}, (5000, 4096)),
        (LLAMA | {"n_prompt_tokens": 6133}, (6133, 2048)),
        (LLAMA | {"n_prompt_tokens": "many"}, None),
        ({"error": {"message": "prompt is too long: 212345 tokens > 200000 maximum"}}, (212345, 200000)),
        ({"error": {"message": ANTHROPIC}}, (188240, 200000)),
        ({"message": "the request (9000 tokens) exceeds the available context size (8192 tokens)"}, (9000, 8192)),
        ({"message": "context length exceeded"}, None),
    ],
)
def test_the_counts_are_read_as_servers_word_them(body, counts):
    server = Endpoint(
        provider="openai", base_url="http://x", model="m", api_key=None, context_tokens=None, max_output_tokens=None
    )
    failed = http_failure(server, ModelHTTPError(400, "m", body), is_first=True)

    assert isinstance(failed, ContextTooLong)
    assert failed.counts == counts


def test_in_the_middle_of_a_loop_of_tools_it_cannot_begin_anew(server, permits):
    server.window = 400
    call = {"tool": "look", "arguments": {"at": "x" * 200}}
    failed = failure(server, f"use {json.dumps(call)}", permits, toolbox=Box())

    assert isinstance(failed, ContextTooLong)
    assert not failed.is_first


@pytest.mark.parametrize("what", ["", "list", "number", "text", "nothing", "deep", "half", "line"])
def test_garbage_is_an_answer_that_cannot_be_used(server, permits, what):
    failed = failure(server, f"garbage {what}".strip(), permits)

    assert failed.case in {"model.bad_answer", "model.broke_off"}
    assert len(failed.message) < 500


def test_a_line_without_an_end_is_not_gathered(server, permits):
    failed = failure(server, "garbage line", permits)

    assert failed.case == "model.bad_answer"
    assert "without an end of the line" in failed.message


def test_what_is_not_installed_is_named_with_the_command(monkeypatch, permits):
    monkeypatch.setitem(speakers.MODULES, "anthropic", "workers.models.not_there")
    there = Endpoint(
        provider="anthropic", base_url="http://127.0.0.1:1", model="m", api_key=None, context_tokens=None,
        max_output_tokens=None,
    )  # fmt: skip
    with pytest.raises(ModelFailed) as failed:
        asyncio.run(PydanticAiModel().stream(there, Question(None, [], "x"), lambda _: None, permits))

    assert failed.value.case == "model.not_installed"
    assert "pip install 'pydantic-ai-slim[anthropic]'" in failed.value.hint
    assert permits.calls == 0


def test_the_warm_up_speaks_both_protocols():
    asyncio.run(warm_up(Box(), ("openai", "anthropic")))
