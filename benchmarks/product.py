"""The product as its users have it: a coordinator with its own home, and clients that use ``client.connection``."""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.processes import end_all, with_children
from client.connection import Connection
from client.starting import start_in_background, wait_ended
from protocol import messages as m
from protocol.ids import new_id
from protocol.paths import Discovery, Home, read_discovery
from protocol.views import SessionView

EVENT_S = 30.0

Pushed = m.Piece | m.Final | m.Changed


class Client:
    """A client that listens to every change of state."""

    def __init__(self, connection: Connection, cwd: str) -> None:
        self.connection = connection
        self._cwd = cwd

    async def until(self, wanted: Callable[[Pushed], bool]) -> Pushed:
        """Return the next pushed message that is wanted; what comes before it is dropped.

        Raises:
            TimeoutError: it does not come within EVENT_S.
        """
        async with asyncio.timeout(EVENT_S):
            while True:
                message = await self.connection.pushed.get()
                if wanted(message):
                    return message

    async def order(self) -> str:
        """Create a session, and return its id as soon as that is answered; the worker may not be there yet."""
        session = new_id()
        env = {"PATH": os.defpath, "HOME": self._cwd}
        order = m.Create(
            request=self.connection.number(),
            id=session,
            name=None,
            type="development",
            model=None,
            system=None,
            cwd=self._cwd,
            env=env,
        )
        await self.connection.ask(order, m.SessionAnswer)
        return session

    async def create(self) -> tuple[str, float]:
        """Create a session, and return its id and the seconds until its worker had said hello."""
        begun_s = time.perf_counter()
        session = await self.order()
        await self.until(lambda p: isinstance(p, m.Changed) and p.session == session and p.after == "idle")
        return session, time.perf_counter() - begun_s

    async def close(self, session: str) -> None:
        """Close a session; its process is gone when this returns."""
        await self.connection.ask(m.Close(request=self.connection.number(), session=session), m.SessionAnswer)

    async def submit(self, session: str, text: str) -> float:
        """Hand over a prompt, follow its reply, and return the seconds until it was acknowledged."""
        begun_s = time.perf_counter()
        await self.connection.submit(session, text, new_id(), follow=True)
        return time.perf_counter() - begun_s

    async def final(self, session: str) -> m.Final:
        """Wait for the end of the session's turn, which must be a complete reply."""
        message = await self.until(lambda p: isinstance(p, m.Final) and p.session == session)
        assert isinstance(message, m.Final)
        assert message.stop_reason == "completed", message
        return message

    async def turn(self, session: str, text: str) -> m.Final:
        """Hand over a prompt and wait for the end of its turn."""
        await self.submit(session, text)
        return await self.final(session)

    async def look(self, session: str) -> SessionView:
        """Return the session as the coordinator shows it."""
        order = m.GetSession(request=self.connection.number(), session=session)
        view = (await self.connection.ask(order, m.SessionAnswer)).session
        assert view is not None
        return view

    async def pid(self, session: str) -> int:
        """Return the pid of the session's worker, which must live."""
        pid = (await self.look(session)).pid
        assert pid is not None
        return pid


class Product:
    """One home with a running coordinator."""

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder = folder
        self.home = home

    @property
    def discovery(self) -> Discovery:
        """Where the coordinator answers."""
        found = read_discovery(self.home)
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def client(self, name: str = "bench") -> AsyncIterator[Client]:
        """Yield a client that listens."""
        connection = Connection(self.home, name)
        await connection.open()
        try:
            await connection.ask(m.Listen(request=connection.number()), m.Done)
            yield Client(connection, str(self.folder))
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def running(model_url: str, *, max_active_sessions: int = 10) -> AsyncIterator[Product]:
    """Run a coordinator in a home with a short path; afterwards nothing of it is left.

    Args:
        model_url: where the scripted model answers.
        max_active_sessions: sessions that may have a worker at once.
    """
    folder = Path(tempfile.mkdtemp(prefix="cb-"))
    home = Home(folder / "h")
    sockets = folder / "r"
    sockets.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(sockets)
    home.root.mkdir(mode=0o700)
    home.config.write_text(
        f'default_model = "scripted"\nmax_active_sessions = {max_active_sessions}\n[models.scripted]\n'
        f'provider = "openai"\nmodel = "scripted"\nbase_url = "{model_url}"\n',
        encoding="utf-8",
    )
    try:
        await start_in_background(home)
        product = Product(folder, home)
        async with product.client("warm") as client:  # the zygote is ready when the first session is
            session, _ = await client.create()
            await client.turn(session, "warm up")
            await client.close(session)
        yield product
    finally:
        await _stop(home)
        shutil.rmtree(folder, ignore_errors=True)


async def _stop(home: Home) -> None:
    found = read_discovery(home)
    if found is None:
        return
    processes = with_children(found.pid)
    with contextlib.suppress(Exception):
        connection = Connection(home, "stop")
        await connection.open()
        await connection.ask(m.ShutDown(request=connection.number(), now=True), m.Done)
        await wait_ended(found.pid)
        await connection.close()
    await end_all(processes)
