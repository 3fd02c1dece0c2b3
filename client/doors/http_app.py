"""``chat-coord http``: the application and its guards. The routes are in ``http_table``.

It listens on loopback alone and answers nobody without the token, which lies in the home, readable by its owner alone.
A body is bounded while it is read; names of hosts are checked, so that no page in a browser gets in by its own.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from client.doors import http_words as w
from client.doors.http_openai import Completions
from client.doors.http_sessions import Sessions
from client.doors.http_table import Row, document, table
from client.starting import connect
from client.talking import Exchange
from protocol.errors import ChatCoordError, HomeUnsafe
from protocol.ids import new_id
from protocol.paths import Home, replace_file

LOOPBACK = "127.0.0.1"
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
# A body that takes longer is not waited for.
BODY_S = 30.0
# Connections at once; beyond it the answer is 503.
MOST_CONNECTIONS = 256
STOP_S = 3


class NotTaken(Exception):
    """The request is refused before anybody acts on it; it carries the answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__("not taken")
        self.answer = answer


def token_of(home: Home) -> str:
    """Return the token of this home; made when there is none.

    Raises:
        HomeUnsafe: the file cannot be read, or others can.
    """
    path = home.root / "http-token"
    home.prepare()
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        replace_file(path, token.encode() + b"\n")
        return token
    except (OSError, ValueError) as error:
        raise HomeUnsafe(f"{path} cannot be read: {error}.", hint="Delete it; a new token is made then.") from error
    if mode & 0o077 or not token:
        raise HomeUnsafe(f"{path} can be read by others, or is empty.", hint="Delete it; a new token is made then.")
    return token


async def serve(home: Home, port: int, default: str | None, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        home: whose coordinator.
        port: on loopback; 0: any.
        default: the session of completions that name none.
        say: told the address, once it answers.
    """
    token = token_of(home)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(MOST_CONNECTIONS)  # who comes before the server serves is kept waiting, not refused
        except OSError as error:
            raise ChatCoordError(f"Port {port} cannot be used: {error.strerror}.", hint="Choose --port.") from error
        connection = await connect(home, f"http-{new_id()}", start=True)
        async with Exchange(connection, home) as exchange:
            app = application(exchange, home, token, default)
            config = uvicorn.Config(
                app,
                log_level="error",
                lifespan="off",
                ws="none",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOP_S,
                server_header=False,
            )
            server = uvicorn.Server(config)
            say(f"http://{LOOPBACK}:{listener.getsockname()[1]}")
            with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
                await server.serve([listener])


def application(exchange: Exchange, home: Home, token: str, default: str | None) -> Starlette:
    """Return the application."""
    rows = table(Sessions(exchange, home), Completions(exchange, home, default))
    drawn = document(rows)

    async def described(request: Request) -> Response:
        del request
        return w.answer(drawn)

    by_path: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, {})[row.method] = row
    routes = [Route(path, _endpoint(methods, token), methods=list(methods)) for path, methods in by_path.items()]
    routes.append(Route("/openapi.json", described, methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _plain_no})


def _endpoint(methods: dict[str, Row], token: str) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            _guard(request, token)
            row = methods["GET" if request.method == "HEAD" else request.method]
            arguments = {name: _number(request, name, most) for name, _, most in row.numbers}
            if row.body is not None:
                arguments["body"] = await _body(request, row.body)
            answered: Response = await row.handler(request, **arguments)
        except NotTaken as no:
            return no.answer
        except ChatCoordError as error:
            return w.refused(error)
        return answered

    return endpoint


def _guard(request: Request, token: str) -> None:
    host = request.headers.get("host", "")
    if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
        raise NotTaken(w.failure(400, "http.host", "This door answers on loopback alone."))
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        hint = "Send `Authorization: Bearer TOKEN`; the token is in the file http-token of the home."
        headers = {"WWW-Authenticate": "Bearer"}
        raise NotTaken(w.failure(401, "http.token", "The token is missing or wrong.", hint, headers))


def _number(request: Request, name: str, most: int) -> int:
    given = request.query_params.getlist(name)
    text = given[0] if given else "0"
    is_one = len(given) < 2 and text.isascii() and text.isdigit() and len(text) <= len(str(most))  # noqa: PLR2004
    if not is_one or int(text) > most:
        raise NotTaken(w.failure(400, "http.query", f"{name} must be a whole number from 0 to {most}."))
    return int(text)


async def _body(request: Request, kind: Any) -> Any:
    """Return the body as what it must be; it is read no further than its bound."""
    text = f"A body has at most {w.BODY_BYTES} bytes."
    too_large = NotTaken(w.failure(413, "http.too_large", text, headers={"Connection": "close"}))
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > w.BODY_BYTES:
        raise too_large
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > w.BODY_BYTES:
                    raise too_large
    except (TimeoutError, ClientDisconnect):
        raise NotTaken(w.failure(400, "http.body", "The body did not come.")) from None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotTaken(w.failure(400, "http.body", f"The body is not what it must be: {error}."[:300])) from None


async def _plain_no(request: Request, error: Exception) -> Response:
    """Return what the router itself refuses, as every other no."""
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    text = {404: "There is no such path.", 405: "That method is not for this path."}.get(status, "That was refused.")
    return w.failure(status, f"http.{status}", text, headers=headers)
