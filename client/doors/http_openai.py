"""Sessions behind OpenAI's protocol: ``/v1/chat/completions`` and ``/v1/models``.

A session has its conversation, so of the messages that a client sends the last one alone is the prompt. The header
``X-Session``, else the field ``user``, else the door's own choice names the session; one that is not there is made.
"""

import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from client.asking import create, get_session
from client.doors import http_words as w
from client.doors.http_sessions import whole, with_signs_of_life
from client.prompting import Answer
from client.talking import Event, Exchange
from protocol import messages as m
from protocol.errors import ChatCoordError, ModelUnknown, PromptEmpty, RemoteError, SessionUnknown, ValueIllegal
from protocol.ids import new_id
from protocol.paths import Home
from protocol.settings import load_settings
from protocol.views import SessionView, Usage

FINISH = {"completed": "stop", "cancelled": "stop"}
IDEM_CHARS = 128


class TextPart(Struct, frozen=True, kw_only=True):
    """A part of a message: text."""

    type: Literal["text"]
    text: str


class ChatMessage(Struct, frozen=True, kw_only=True):
    """A message of the conversation as the client sees it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None


class StreamOptions(Struct, frozen=True, kw_only=True):
    """What a stream ends with."""

    include_usage: bool = False


class Completion(Struct, frozen=True, kw_only=True):
    """A request; of its many fields these count here, and others are ignored."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None


class Completions:
    """The handlers.

    Args:
        exchange: with the coordinator.
        home: for the models.
        default: the session of requests that name none; None: they are refused.
    """

    def __init__(self, exchange: Exchange, home: Home, default: str | None) -> None:
        self._exchange = exchange
        self._home = home
        self._default = default

    async def models(self, request: Request) -> Response:
        """List the models of the configuration."""
        del request
        names = sorted(load_settings(self._home.config).all_models())
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "chat-coord"} for name in names]
        return w.answer({"object": "list", "data": listed})

    async def complete(self, request: Request, body: Completion) -> Response:
        """Run a turn of the session that the request names."""
        text = _last(body)
        key = request.headers.get("idempotency-key", "")[:IDEM_CHARS] or new_id()
        session = await self._session(request, body)
        head = {"id": f"chatcmpl-{key}", "created": int(time.time()), "model": body.model}
        if not body.stream:
            return _document(head, await whole(self._exchange, session.id, text, key))
        events = self._exchange.talk(session.id, text, key)
        await anext(events)  # a prompt that is refused is refused before there is a stream
        options = body.stream_options
        chunks = _chunks(head, events, has_usage=options is not None and options.include_usage)
        return StreamingResponse(with_signs_of_life(chunks), media_type="text/event-stream")

    async def _session(self, request: Request, body: Completion) -> SessionView:
        """Return the session, made if need be, with the model that the request names.

        Raises:
            SessionUnknown: the request names none.
            ModelUnknown: the configuration has no such model.
        """
        if body.model not in load_settings(self._home.config).all_models():
            raise ModelUnknown(f"There is no model {body.model[:64]!r}.", hint="GET /v1/models lists them.")
        name = request.headers.get("x-session") or body.user or self._default
        if name is None:
            hint = "Name one in the header X-Session or the field `user`, or start the door with --session NAME."
            raise SessionUnknown("The request names no session.", hint=hint)
        connection = await self._exchange.ready()
        try:
            session = await get_session(connection, name)
        except RemoteError as error:
            if error.remote_code != "session.unknown":
                raise
            system = "\n\n".join(_text(said) for said in body.messages if said.role in {"system", "developer"})
            return await create(
                connection, self._home, name=name, model=body.model, system=system or None, cwd=str(Path.cwd())
            )
        assert session is not None  # noqa: S101 - an unknown name is refused
        if session.model != body.model:
            order = m.Mark(request=connection.number(), session=session.id, mark="model", value=body.model)
            await connection.ask(order, m.SessionAnswer)
        return session


def _last(body: Completion) -> str:
    """Return the prompt: what the user said last.

    Raises:
        ValueIllegal, PromptEmpty: there is none.
    """
    last = body.messages[-1]
    if last.role != "user":
        raise ValueIllegal("The last message must be the user's.", hint="A session keeps its conversation itself.")
    if not _text(last).strip():
        raise PromptEmpty("The last message has no text.")
    return _text(last)


def _text(said: ChatMessage) -> str:
    if said.content is None or isinstance(said.content, str):
        return said.content or ""
    return "\n".join(part.text for part in said.content)


def _document(head: dict[str, Any], answer: Answer) -> Response:
    error = _error(answer)
    if error is not None:
        return w.answer(w.Failure(error=error), 502)
    message = {"role": "assistant", "content": answer.row.text, "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": FINISH.get(answer.row.stop_reason or "", "stop"),
        "logprobs": None,
    }
    return w.answer(head | {"object": "chat.completion", "choices": [choice], "usage": _usage(answer)})


async def _chunks(
    head: dict[str, Any], events: AsyncGenerator[Event, None], *, has_usage: bool
) -> AsyncGenerator[bytes, None]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _data(head | {"object": "chat.completion.chunk", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, str):
                    yield chunk({"content": event})
                if not isinstance(event, Answer):
                    continue
                error = _error(event)
                if error is not None:
                    yield _data(w.Failure(error=error))
                    return
                yield chunk({}, FINISH.get(event.row.stop_reason or "", "stop"))
                if has_usage:
                    yield _data(head | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(event)})
    except ChatCoordError as error:  # there is nobody to go on with
        yield _data(w.Failure(error=w.ErrorBody(code=w.code_of(error), message=error.message, hint=error.hint)))
        return
    yield b"data: [DONE]\n\n"


def _data(document: object) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def _error(answer: Answer) -> w.ErrorBody | None:
    row = answer.row
    if row.stop_reason in FINISH:
        return None
    if row.error is not None:
        return w.ErrorBody(code=row.error.code, message=row.error.message, hint=row.error.hint)
    return w.ErrorBody(code=f"turn.{row.stop_reason}", message=f"The turn ended as {row.stop_reason}.")


def _usage(answer: Answer) -> dict[str, int]:
    usage = Usage() if answer.final is None else answer.final.usage
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}
