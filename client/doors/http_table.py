"""The table of the HTTP door: every route with what it takes and answers. The OpenAPI document is drawn from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from client.doors import http_openai as o
from client.doors import http_words as w
from client.doors.http_openai import Completions
from client.doors.http_sessions import Sessions
from protocol.version import __version__
from protocol.views import SessionView

EVENTS = "text/event-stream"
NO_DOCUMENT: Any = None


@dataclass(frozen=True, slots=True)
class Row:
    """One route.

    Attributes:
        method: of HTTP.
        path: with its parameters in braces.
        says: one line for the document.
        handler: takes the request, the body if there is one, and a number for each query parameter.
        body: what is sent.
        numbers: query parameters, with what they mean and the largest value; each is 0 when it is not given.
        answers: by status: a type, a schema, None for no document, or ``EVENTS``.
    """

    method: str
    path: str
    says: str
    handler: Callable[..., Any]
    body: Any = None
    numbers: tuple[tuple[str, str, int], ...] = ()
    answers: tuple[tuple[int, Any], ...] = ((200, SessionView),)


def table(sessions: Sessions, completions: Completions) -> list[Row]:
    """Return every route."""
    one = "/sessions/{session}"
    after = ("after", "The message after which the page begins.", w.SEQ_MAX)
    listing = (
        ("offset", "Where the page begins.", w.SEQ_MAX),
        ("everything", "1: also closed and archived sessions.", 1),
        ("waiting", "1: those alone that wait for a person.", 1),
    )
    turn = ((200, w.Reply), (200, EVENTS), (202, w.Accepted))
    return [
        Row("GET", "/sessions", "List sessions.", sessions.page, numbers=listing, answers=((200, w.Sessions),)),
        Row("POST", "/sessions", "Make a session.", sessions.new, body=w.NewSession, answers=((201, SessionView),)),
        Row("GET", one, "Show a session, by its name, number or id.", sessions.show),
        Row("PATCH", one, "Change a session.", sessions.change, body=w.ChangeSession),
        Row("DELETE", one, "End a session, and remove it with its history.", sessions.delete, answers=((204, None),)),
        Row("POST", f"{one}/close", "End a session; its history is kept.", sessions.close),
        Row("POST", f"{one}/hibernate", "Put a session to sleep.", sessions.hibernate),
        Row("POST", f"{one}/wake", "Give a session a worker.", sessions.wake),
        Row("POST", f"{one}/cancel", "End the turn that runs.", sessions.cancel),
        Row(
            "GET",
            f"{one}/messages",
            "Show a page of the conversation.",
            sessions.messages,
            numbers=(after,),
            answers=((200, w.Messages),),
        ),
        Row(
            "POST",
            f"{one}/prompts",
            "Run a turn: its reply; with `Accept: text/event-stream` its events; 202 when it was not waited for.",
            sessions.prompt,
            body=w.NewPrompt,
            answers=turn,
        ),
        Row("GET", "/asks", "List what waits for a person.", sessions.asks, answers=((200, w.Asks),)),
        Row("POST", "/asks/{ask}", "Say yes or no.", sessions.decide, body=w.Decision, answers=((200, _object()),)),
        Row("GET", "/events", "Follow every change of state.", sessions.changes, answers=((200, EVENTS),)),
        Row("GET", "/v1/models", "List models, as OpenAI does.", completions.models, answers=((200, _object()),)),
        Row(
            "POST",
            "/v1/chat/completions",
            "Run a turn, in OpenAI's words. The session is named by the header X-Session or by `user`.",
            completions.complete,
            body=o.Completion,
            answers=((200, _object()), (200, EVENTS)),
        ),
    ]


def _object() -> dict[str, Any]:
    return {"type": "object"}


def document(rows: list[Row]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    types = [w.Failure, *{row.body for row in rows if row.body is not None}]
    types += [kind for row in rows for _, kind in row.answers if isinstance(kind, type)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    refs = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "chat-coord", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


def _operation(row: Row, refs: dict[Any, Any]) -> dict[str, Any]:
    answers: dict[str, dict[str, Any]] = {}
    for status, kind in row.answers:
        answers.setdefault(str(status), {"description": "Done."})
        if kind == EVENTS:
            answers[str(status)].setdefault("content", {})[EVENTS] = {"schema": {"type": "string"}}
        elif kind is not None:
            schema = kind if isinstance(kind, dict) else refs[kind]
            answers[str(status)].setdefault("content", {})["application/json"] = {"schema": schema}
    no = {"application/json": {"schema": refs[w.Failure]}}
    nos = {
        "400": "The request is none.",
        "401": "The token is wrong.",
        "404": "There is no such thing.",
        "409": "The coordinator says no.",
        "413": "The body is too large.",
        "502": "The turn failed.",
        "503": "There is no coordinator.",
    }
    answers |= {status: {"description": says, "content": no} for status, says in nos.items()}
    found: dict[str, Any] = {
        "summary": row.says,
        "operationId": f"{row.method.lower()}{row.path.replace('/', '_').replace('{', '').replace('}', '')}",
        "parameters": _parameters(row),
        "responses": answers,
    }
    if row.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[row.body]}}}
    return found


def _parameters(row: Row) -> list[dict[str, Any]]:
    in_path = [part[1:-1] for part in row.path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in in_path
    ]
    found += [
        {
            "name": name,
            "in": "query",
            "description": says,
            "schema": {"type": "integer", "minimum": 0, "maximum": most, "default": 0},
        }
        for name, says, most in row.numbers
    ]
    return found
