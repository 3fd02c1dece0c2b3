"""The port's adapter to pydantic-ai. Everything heavy is imported here, in the zygote; extras by ``speakers``."""

import logging
import ssl
from collections.abc import Callable, Sequence

import httpx2
from pydantic_ai import Agent
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError, UsageLimitExceeded, UserError
from pydantic_ai.messages import (
    BinaryContent,
    FunctionToolCallEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.run import AgentRunResultEvent
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import UsageLimits

from protocol.messages import Endpoint
from protocol.views import Usage
from workers.core.calls import ROUNDS, Resume, Toolbox
from workers.core.conversation import Line
from workers.models.failures import bad_answer, broke_off, connection_failure, http_failure
from workers.models.legs import Leg
from workers.models.permit_client import PermitClient
from workers.models.port import Answered, ModelFailed, Permits, Question
from workers.models.speakers import Speaker, speaker_of

CONNECT_S = 10.0
# The longest silence between two pieces; slow first tokens of large prompts are within it.
SILENCE_S = 300.0
# A model may call a tool wrongly so often in a row and is told why each time.
RETRIES_OF_CALLS = 5
# What comes of an answer that is not what the library expects: half a character, half of a document, other types.
CONFUSED = (ValueError, TypeError, AttributeError, LookupError, AssertionError, RecursionError)

log = logging.getLogger(__name__)
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
        speaker = speaker_of(endpoint.provider)
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
                return await _run(http, speaker, endpoint, question, on_piece, toolbox, resume)
        except UsageLimitExceeded as error:
            text = f"The model wanted more than {ROUNDS} rounds of tool calls in one turn."
            raise ModelFailed("model.too_many_rounds", text, hint="Send a prompt that says how to go on.") from error
        except ModelHTTPError as error:
            if http.refusal is not None:
                raise http.refusal from error
            raise http_failure(endpoint, error, is_first=http.answered == 0) from error
        except (ModelAPIError, httpx2.HTTPError) as error:
            raise connection_failure(endpoint, error) from error
        except speaker.errors as error:
            raise connection_failure(endpoint, error) from error
        except (AgentRunError, UserError) as error:
            raise bad_answer(endpoint, error) from error
        except CONFUSED as error:
            log.warning("answer cannot be used", exc_info=True)
            raise bad_answer(endpoint, error) from error


async def _run(  # noqa: PLR0917 - the port and its transport
    http: httpx2.AsyncClient,
    speaker: Speaker,
    endpoint: Endpoint,
    question: Question,
    on_piece: Callable[[str], None],
    toolbox: Toolbox | None,
    resume: Resume | None,
) -> Answered:
    model, settings = speaker.speak(endpoint, http)
    earlier = _history(question.earlier)
    leg = Leg(toolbox, resume)
    said = Said(on_piece, is_going_on=resume is not None)
    agent: Agent[None, str | DeferredToolRequests] = Agent(
        model, output_type=leg.output_type, tools=leg.tools, retries=RETRIES_OF_CALLS
    )
    async with agent.run_stream_events(
        None if resume is not None else _prompt(question),
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
    last = result.response
    has_reason = "finish_reason" in (last.provider_details or {})
    if not has_reason and (speaker.always_says_why or not last.usage.output_tokens):
        raise broke_off(endpoint, "the stream ended without saying that it is the end")
    return Answered(usage)


def _prompt(question: Question) -> str | list[UserContent]:
    """Return the prompt, with its images if it has some."""
    if not question.images:
        return question.prompt
    return [question.prompt, *(BinaryContent(image.data, media_type=image.media_type) for image in question.images)]


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
