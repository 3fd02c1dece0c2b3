"""The port's adapter to pydantic-ai: any OpenAI-compatible endpoint. Everything heavy is imported here, in the zygote.

Warm-up matters as much as the import: one turn against a transport without network builds the validators and the TLS
context, so that a forked worker shares their memory and answers its first prompt at once (models.md).
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence

import httpx2
import openai
from pydantic_ai import Agent
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError, UsageLimitExceeded, UserError
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.run import AgentRunResultEvent
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import UsageLimits

from protocol.messages import Endpoint
from protocol.views import Usage
from workers.core.calls import ROUNDS, Resume, Toolbox
from workers.core.conversation import Line
from workers.models.legs import Leg
from workers.models.permit_client import PermitClient
from workers.models.port import Answered, ModelFailed, Outcome, Permits, Question

CONNECT_S = 10.0
# The longest silence between two pieces; slow first tokens of large prompts are within it.
SILENCE_S = 300.0
RETRIES = 2
# A model may call a tool wrongly so often in a row and is told why each time.
RETRIES_OF_CALLS = 5
# A local model answers the same way every time.
LOCAL = OpenAIChatModelSettings(temperature=0.0, seed=1)
# Without a penalty so small a model as the embedded one falls into loops at temperature 0; with more than this its
# short answers get worse (docs/adr/0004-embedded-model.md).
SMALL_PENALTY = 0.3

_tls: list[ssl.SSLContext] = []


def shared_tls() -> ssl.SSLContext:
    """Return the process's TLS context; building one reads every root certificate, so the zygote builds it once."""
    if not _tls:
        _tls.append(httpx2.create_ssl_context())
    return _tls[0]


class PydanticAiModel:
    """Streams a turn through pydantic-ai.

    Args:
        transport: stands in for the network in the warm-up; None is the network.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._transport = transport

    async def stream(
        self,
        endpoint: Endpoint,
        question: Question,
        on_piece: Callable[[str], None],
        permits: Permits,
        *,
        toolbox: Toolbox | None = None,
        resume: Resume | None = None,
    ) -> Answered:
        """Answer, calling back with each piece of text as it comes. Each request takes a permit of its own.

        Raises:
            ModelFailed: the endpoint cannot be reached, refuses, or breaks off.
        """
        is_local = endpoint.provider == "local"
        http = PermitClient(
            permits,
            transport=self._transport,
            verify=shared_tls(),
            timeout=httpx2.Timeout(SILENCE_S, connect=CONNECT_S),
            # llama.cpp promises keep-alive after a streamed reply and closes 100 ms later: no reuse for it.
            limits=httpx2.Limits(max_keepalive_connections=0) if is_local else httpx2.Limits(),
            trust_env=not is_local,
        )
        try:
            async with http:
                return await _run(http, endpoint, question, on_piece, toolbox, resume)
        except UsageLimitExceeded as error:
            text = f"The model wanted more than {ROUNDS} rounds of tool calls in one turn."
            raise ModelFailed("model.too_many_rounds", text, hint="Send a prompt that says how to go on.") from error
        except ModelHTTPError as error:
            if http.refusal is not None:
                raise http.refusal from error
            raise _http_failure(endpoint, error) from error
        except (ModelAPIError, openai.APIConnectionError, httpx2.HTTPError) as error:
            raise _connection_failure(endpoint, error) from error
        except (openai.OpenAIError, AgentRunError, UserError, json.JSONDecodeError) as error:
            raise _bad_answer(endpoint, error) from error


async def _run(  # noqa: PLR0917 - the port and its transport
    http: httpx2.AsyncClient,
    endpoint: Endpoint,
    question: Question,
    on_piece: Callable[[str], None],
    toolbox: Toolbox | None,
    resume: Resume | None,
) -> Answered:
    client = openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key or "none",
        http_client=http,
        max_retries=RETRIES,
    )
    model = OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client))
    settings = LOCAL.copy() if endpoint.provider == "local" else OpenAIChatModelSettings()
    if endpoint.is_small:
        settings["frequency_penalty"] = SMALL_PENALTY
    if endpoint.max_output_tokens is not None:
        settings["max_tokens"] = endpoint.max_output_tokens
    earlier = _history(question.earlier)
    leg = Leg(toolbox, resume)
    said = Said(on_piece, is_going_on=resume is not None)
    agent: Agent[None, str | DeferredToolRequests] = Agent(
        model, output_type=leg.output_type, tools=leg.tools, retries=RETRIES_OF_CALLS
    )
    async with agent.run_stream_events(
        None if resume is not None else question.prompt,
        instructions=question.instructions,
        message_history=[*earlier, *leg.messages],
        deferred_tool_results=leg.results,
        model_settings=settings,
        usage_limits=UsageLimits(request_limit=max(1, ROUNDS - leg.requests)),
    ) as events:
        async for event in events:
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                said.piece(event.part.content)
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                said.piece(event.delta.content_delta)
            elif isinstance(event, FunctionToolCallEvent):
                said.pause()
            elif isinstance(event, AgentRunResultEvent):
                result = event.result
    spent = result.usage
    usage = Usage(input_tokens=spent.input_tokens, output_tokens=spent.output_tokens)
    if isinstance(result.output, DeferredToolRequests):
        return Answered(usage, leg.pause(result.output, result.all_messages()[len(earlier) :], spent.requests))
    # Some servers leave out the reason of the end, some the usage; a stream without both was cut off.
    has_reason = "finish_reason" in (result.response.provider_details or {})
    if not has_reason and not spent.output_tokens:
        raise _broke_off(endpoint, "the stream ended without saying that it is the end")
    return Answered(usage)


class Said:
    """The text of a turn: what is said before and after a tool was used are paragraphs of it."""

    def __init__(self, on_piece: Callable[[str], None], *, is_going_on: bool) -> None:
        self._on_piece = on_piece
        self._has_text = is_going_on
        self._is_paused = is_going_on

    def piece(self, text: str) -> None:
        """Hand on some text."""
        if text and self._is_paused:
            text = f"\n\n{text}"
        if text:
            self._is_paused, self._has_text = False, True
        self._on_piece(text)

    def pause(self) -> None:
        """A tool is used."""
        self._is_paused = self._has_text


def _history(earlier: Sequence[Line]) -> list[ModelMessage]:
    return [
        ModelRequest(parts=[UserPromptPart(line.text)])
        if line.role == "user"
        else ModelResponse(parts=[TextPart(line.text)])
        for line in earlier
    ]


def _http_failure(endpoint: Endpoint, error: ModelHTTPError) -> ModelFailed:
    where, status = endpoint.base_url, error.status_code
    said = _one_line(error.body)
    if status in {401, 403}:
        hint = "Check api_key_env or api_key_file of that model; the coordinator reads the key where it was started."
        return ModelFailed("model.key_refused", f"{where} refused the API key (HTTP {status}): {said}.", hint=hint)
    if status == 404:  # noqa: PLR2004
        hint = "Check model and base_url in the configuration."
        return ModelFailed("model.unknown", f"{where} does not know the model {endpoint.model!r}: {said}.", hint=hint)
    if status == 429:  # noqa: PLR2004
        return ModelFailed("model.rate_limited", f"{where} takes no more requests now: {said}.", hint="Wait a little.")
    if status >= 500:  # noqa: PLR2004
        return ModelFailed("model.server_error", f"{where} failed (HTTP {status}): {said}.", hint="Try again later.")
    return ModelFailed("model.refused", f"{where} refused the request (HTTP {status}): {said}.", hint="See its answer.")


def _connection_failure(endpoint: Endpoint, error: BaseException) -> ModelFailed:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
        if isinstance(root, httpx2.TransportError):
            break
    if isinstance(root, (httpx2.TimeoutException, TimeoutError)):
        text = f"{endpoint.base_url} did not answer in time."
        return ModelFailed("model.timeout", text, hint="Try again, or check the model's server.")
    if isinstance(root, (httpx2.RemoteProtocolError, httpx2.ReadError)):
        return _broke_off(endpoint, _one_line(root))
    if isinstance(root, (httpx2.TransportError, OSError)):
        text = f"{endpoint.base_url} cannot be reached: {_one_line(root)}."
        return ModelFailed("model.unreachable", text, hint="Check base_url, and that the model's server runs.")
    return _bad_answer(endpoint, root)


def _broke_off(endpoint: Endpoint, why: str) -> ModelFailed:
    text = f"{endpoint.base_url} broke off in the middle of its answer: {why}."
    return ModelFailed("model.broke_off", text, hint="Try again; what had come is kept.")


def _bad_answer(endpoint: Endpoint, error: BaseException) -> ModelFailed:
    text = f"{endpoint.base_url} answered in a way that cannot be used: {_one_line(error)}."
    return ModelFailed("model.bad_answer", text, hint="Try again; if it stays so, check the model's server.")


def _one_line(what: object) -> str:
    text = what.get("message") if isinstance(what, dict) and "message" in what else what
    return " ".join(str(text).split())[:200].rstrip(".") or type(what).__name__


class Free:
    """Permits where nobody has to be asked."""

    async def acquire(self) -> int:
        """Go on."""
        return 1

    def release(self, call: int, outcome: Outcome) -> None:
        """Nothing was counted."""


async def warm_up(toolbox: Toolbox | None = None) -> None:
    """Answer one prompt without network, so that everything lazy is built before workers are forked.

    Args:
        toolbox: tools to offer in it, so that what they need is built, too.

    Raises:
        RuntimeError: the warm-up turn did not stream what its transport said.
    """
    heard: list[str] = []
    endpoint = Endpoint(
        provider="openai", base_url="http://warm.up/v1", model="m", api_key="k", context_tokens=1, max_output_tokens=1
    )
    question = Question("be warm", [Line("user", "hi"), Line("assistant", "hello")], "warm up")
    model = PydanticAiModel(httpx2.MockTransport(_warm_answer))
    await model.stream(endpoint, question, heard.append, Free(), toolbox=toolbox)
    if "".join(heard) != "warm":
        raise RuntimeError(f"the warm-up turn streamed {heard!r}")
    await asyncio.sleep(0)


def _warm_answer(request: httpx2.Request) -> httpx2.Response:
    del request
    chunk = {"id": "w", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[dict[str, object]] = [
        {"index": 0, "delta": {"role": "assistant", "content": "wa"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "rm"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks: list[dict[str, object]] = [chunk | {"choices": [choice]} for choice in choices]
    chunks.append(
        chunk | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
    )
    body = "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)
