"""The words of the HTTP door: what bodies and answers look like, and how errors become answers."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from protocol.errors import ChatCoordError, CoordinatorAbsent, CoordinatorSilent, RemoteError
from protocol.views import AskView, HistoryRow, SessionType, SessionView, Usage

# The largest body: a prompt as JSON may write it, six characters for one, and what is around it.
BODY_BYTES = 2 << 20
SEQ_MAX = 1 << 53

Key = Annotated[str, Meta(min_length=1, max_length=128)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
EXACT = {"frozen": True, "kw_only": True}


class ErrorBody(Struct, frozen=True, kw_only=True):
    """Why the answer is no: a stable code, a sentence, a hint. ``type`` is there for clients of OpenAI's protocol."""

    code: str
    message: str
    hint: str = ""
    type: str = "chat_coord"
    param: str | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """An answer that is no."""

    error: ErrorBody


class NewSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that is to be. ``key`` becomes its id: made again with the same one, there is no second."""

    name: str | None = None
    type: SessionType | None = None
    model: str | None = None
    system: str | None = None
    cwd: str | None = None
    temperature: Temperature | None = None
    group: str | None = None
    key: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None = None


class ChangeSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed of a session."""

    name: str | None = None
    type: SessionType | None = None
    model: str | None = None
    pinned: bool | None = None
    archived: bool | None = None


class NewPrompt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt. ``key`` makes sending it again harmless; without ``wait`` the answer comes when it is committed."""

    text: str
    key: Key | None = None
    wait: bool = True
    timeout_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person says to an ask; a question gets an ``answer`` with its yes."""

    approve: bool
    why: str = ""
    answer: str | None = None


class Sessions(Struct, frozen=True, kw_only=True):
    """A page of sessions; the next one begins at ``next``."""

    sessions: list[SessionView]
    next: int | None


class Messages(Struct, frozen=True, kw_only=True):
    """A page of a conversation; the next one is after ``next``."""

    messages: list[HistoryRow]
    next: int | None


class Asks(Struct, frozen=True, kw_only=True):
    """What waits for a person."""

    asks: list[AskView]


class Accepted(Struct, frozen=True, kw_only=True):
    """The prompt is committed, and will be answered."""

    session: str
    seq: int


class Reply(Struct, frozen=True, kw_only=True):
    """A turn that is over, as it is stored."""

    session: str
    seq: int
    turn_id: str | None
    reply: str
    stop_reason: str | None
    error: ErrorBody | None
    usage: Usage | None
    first_piece_ms: int | None
    duration_ms: int


def answer(document: object, status: int = 200) -> Response:
    """Return a document."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")


def failure(status: int, code: str, message: str, hint: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return an answer that is no."""
    body = msgspec.json.encode(Failure(error=ErrorBody(code=code, message=message, hint=hint)))
    return Response(body, status, headers=headers, media_type="application/json")


def code_of(error: ChatCoordError) -> str:
    """Return the stable code of an error, also of one that the coordinator reported."""
    return error.remote_code if isinstance(error, RemoteError) else error.code


def refused(error: ChatCoordError) -> Response:
    """Return our error: 404 for what is not there, 503 where nobody answers, 409 for every other no."""
    code = code_of(error)
    status = 404 if code in {"session.unknown", "ask.unknown"} else 409
    if isinstance(error, CoordinatorAbsent | CoordinatorSilent):
        status = 503
    return failure(status, code, error.message, error.hint)


def event(kind: str, document: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(document) + b"\n\n"
