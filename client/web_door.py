"""The terminal in a browser: on this machine only, and only for who has the address that was printed, once.

Every user of a machine reaches its loopback, and every page that a browser shows can send requests to it. So the token
in the address is good for one visit, which gets a cookie; requests without that are refused, and so are those that name
another host (DNS rebinding) or come from another page. The page loads nothing from elsewhere.
"""

import asyncio
import logging
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web
from textual_serve.server import Server

from protocol.paths import Home

HOST = "127.0.0.1"
COOKIE = "chat_coord"
# A browser that does not close its connections is not waited for longer.
END_S = 5.0
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
REFUSED = "This address was used already, or is not whole. Run `chat-coord web` once more and open what it prints.\n"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def command(home: Home, name: str | None) -> str:
    """Return the command line of the terminal that each visit gets; exec: it is the server's own child."""
    program = "from client.cli import main; main()"
    words = [sys.executable, "-P", "-c", program, "--home", str(home.root), "chat", *([name] if name else [])]
    return f"exec {shlex.join(words)}"


class Door(Server):
    """The server, and who may come in.

    Args:
        home: whose coordinator.
        name: the session to open; None: the one used last.
        bound: a socket on the loopback.
    """

    def __init__(self, home: Home, name: str | None, bound: socket.socket) -> None:
        self._socket = bound
        port = bound.getsockname()[1]
        super().__init__(command(home, name), host=HOST, port=port, title="chat-coord")
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._token: str | None = secrets.token_urlsafe(32)
        self._cookies: set[str] = set()

    @property
    def address(self) -> str:
        """What to open, once."""
        return f"{self.public_url}/?token={self._token}"

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM."""
        logging.getLogger("aiohttp.access").setLevel(logging.ERROR)  # it would write the token down
        runner = web.AppRunner(await self._make_app(), handle_signals=False, shutdown_timeout=END_S)
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket).start()
            ended = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, ended.set)
            ready()
            await ended.wait()
        finally:
            await runner.cleanup()

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the command does."""

    async def on_shutdown(self, app: web.Application) -> None:
        """Nothing of ours is left to do."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who has the token or the cookie, from a page of ours, by our own name."""
        origin = request.headers.get("Origin")
        if request.host not in self._hosts or (origin is not None and origin.removeprefix("http://") != request.host):
            return web.Response(status=403, text="Not from there.\n", headers=HEADERS)
        if self._is_known(request.cookies.get(COOKIE)):
            if request.path == "/ws" and origin is None:
                return web.Response(status=403, text="Not from there.\n", headers=HEADERS)
            self.public_url = f"http://{request.host}"
            request_headers = {**HEADERS, "Content-Security-Policy": POLICY.format(host=request.host)}
            response = await handler(request)
            if not response.prepared:
                response.headers.update(request_headers)
            return response
        if request.path == "/" and self._spend(request.query.get("token", "")):
            cookie = secrets.token_urlsafe(32)
            self._cookies.add(cookie)
            answer = web.Response(status=303, headers={**HEADERS, "Location": "/"})
            answer.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", path="/")
            return answer
        return web.Response(status=403, text=REFUSED, headers=HEADERS)

    def _is_known(self, cookie: str | None) -> bool:
        given = (cookie or "").encode()
        return any(secrets.compare_digest(given, known.encode()) for known in self._cookies)

    def _spend(self, token: str) -> bool:
        if self._token is None or not secrets.compare_digest(token.encode(), self._token.encode()):
            return False
        self._token = None
        return True


def bind(port: int) -> socket.socket:
    """Return a socket on the loopback; 0 is any free port.

    Raises:
        OSError: the port is taken.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound
