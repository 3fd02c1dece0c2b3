"""The coordinator's end for launchers alone: a ROUTER, a supervisor and a launcher in one loop, without a core."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from coordinator.core.events import Event, WorkerExited, WorkerSpawned
from coordinator.shell.launchers.local import LocalLauncher
from coordinator.shell.launchers.port import Launcher
from coordinator.shell.launchers.spawn import SpawnLauncher
from coordinator.shell.router import Router
from coordinator.shell.supervisor import Supervisor
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.launch import Fork

E = TypeVar("E")
TOKEN = b"a token that nobody else may see"


class House:
    """Where workers are started, heard and watched.

    Args:
        kind: the launcher's name.
        folder: for the socket and the logs.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.events: list[Event] = []
        self.hellos: dict[str, tuple[bytes, m.Hello]] = {}
        self._decoder: Decoder = Decoder(m.WorkerSays)
        self.router = Router(folder / "workers.sock", self._heard)
        self.supervisor = self.new_supervisor()
        self.launcher: Launcher = (
            SpawnLauncher(self.supervisor, self.events.append)
            if kind == "spawn"
            else LocalLauncher(self.supervisor, self.events.append, folder / "zygote.log")
        )

    def new_supervisor(self) -> Supervisor:
        return Supervisor(self.events.append, lambda session: self.folder / f"{session}.stderr", self.folder)

    def _heard(self, peer: bytes, frame: bytes) -> None:
        message = self._decoder.decode(frame)
        if isinstance(message, m.Hello):
            self.hellos.setdefault(message.session, (peer, message))

    def order(self, session: str = "a", **fields: object) -> Fork:
        known = {
            "session": session, "epoch": 1, "token": TOKEN, "name": session, "cwd": str(self.folder),
            "env": {"PATH": os.defpath, "OF_THE_SESSION": session}, "endpoint": self.router.endpoint,
            "log": str(self.folder / f"{session}.stderr"), "events_log": str(self.folder / f"{session}.jsonl"),
            "home": str(self.folder), "orphan_exit_s": 60.0,
        }  # fmt: skip
        fork = Fork(**(known | fields))
        self.launcher.start(fork)
        return fork

    def say(self, session: str, message: m.ToWorker) -> None:
        self.router.send(self.hellos[session][0], encode(message))

    def of(self, kind: type[E], session: str = "a") -> list[E]:
        return [e for e in self.events if isinstance(e, kind) and getattr(e, "session", None) == session]

    async def spawned(self, session: str = "a") -> WorkerSpawned:
        return (await until(lambda: self.of(WorkerSpawned, session)))[0]

    async def hello(self, session: str = "a") -> m.Hello:
        return (await until(lambda: self.hellos.get(session)))[1]

    async def exited(self, session: str = "a") -> WorkerExited:
        return (await until(lambda: self.of(WorkerExited, session)))[0]


async def until(look: Callable[[], E], within_s: float = 30) -> E:
    """Return the first true thing that looking gives, and let the loop run meanwhile."""
    async with asyncio.timeout(within_s):
        while not (found := look()):  # noqa: ASYNC110 - what is looked at is not only of this process
            await asyncio.sleep(0.005)
    return found


def opened_by(pid: int) -> dict[str, str]:
    """What the descriptors of a process point to."""
    found = {}
    for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found


def children() -> set[int]:
    """Every child of this process, zombies too."""
    return {child.pid for child in psutil.Process().children()}


@asynccontextmanager
async def house(kind: str) -> AsyncIterator[House]:
    """A house that must be empty at the end: what was started is ended and nothing is left of it."""
    os.environ["SPT_NOENV"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="cc-"))
    opened = House(kind, folder)
    opened.launcher.open()
    try:
        yield opened
    finally:
        for session, epoch, *_ in opened.supervisor.running():
            opened.supervisor.signal(session, epoch, "SIGKILL")
        await until(lambda: not list(opened.supervisor.running()))
        await asyncio.sleep(0.3)  # statuses that are on their way
        await opened.launcher.close()
        opened.supervisor.close()
        opened.router.close()
        shutil.rmtree(folder)
