"""All processes of one home, as a killer sees them: a coordinator that is kept running, its zygote, its workers.

The coordinators are children of this process, so that each is reaped; what runs below the home is ended at the end.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client.connection import Connection
from protocol.errors import ChatCoordError
from protocol.paths import Home, find_running
from tests.support.product import kill_leftovers, our_processes

REPOSITORY = Path(__file__).parents[2]
ZYGOTE = "chat-coord: zygote"
COORDINATOR = "chat-coord: coordinator"
NEW_WORKER = "chat-coord: a new worker"
LOOK_S = 0.02
COMMAND = (sys.executable, "-P", "-m", "coordinator")


class NotServing(Exception):
    """What was waited for did not come within its bound."""


class Fleet:
    """One home and its processes.

    Args:
        home: the folder; its parent is private to the run.
        command: starts a coordinator, without its ``--home``.
        environment: more variables for every coordinator of this fleet.
    """

    def __init__(
        self, home: Path, command: tuple[str, ...] = COMMAND, environment: Mapping[str, str] | None = None
    ) -> None:
        self.home = Home(home)
        self.starts = 0
        self.exit_codes: list[int] = []
        self._environment = dict(environment or {})
        self._command = [*command, "--home", str(home)]
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    # ---- coordinators

    def start(self) -> None:
        """Start a coordinator; returns at once."""
        self.home.prepare()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CHAT_COORD_", "CC_"))}
        clean |= {"PYTHONPATH": str(REPOSITORY)} | self._environment
        with (self.home.logs / "coordinator.stderr").open("ab") as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, env=clean
            )
        self.starts += 1

    @property
    def coordinator(self) -> int | None:
        """The pid of the coordinator that runs."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            self.exit_codes.append(code)
            self._process = None
            return None
        return self._process.pid

    def keep_running(self) -> None:
        """Start the next coordinator whenever there is none, until ``let_end``."""
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            if self.coordinator is None:
                self.start()
            await asyncio.sleep(LOOK_S)

    async def let_end(self) -> None:
        """Start no more coordinators."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def connect(self, within_s: float = 60) -> Connection:
        """Return a connection as soon as a coordinator answers."""
        connection = Connection(self.home)

        async def is_open() -> bool:
            try:
                await connection.open()
            except ChatCoordError:
                await connection.close()
                return False
            return True

        await wait_until(is_open, within_s, "no coordinator answered")
        return connection

    async def stop(self, within_s: float = 60) -> int | None:
        """Ask the coordinator to stop, wait for its end, and return its exit code; None when none ran."""
        await self.let_end()
        if self.coordinator is None:
            return None
        await wait_until(lambda: find_running(self.home) or self.coordinator is None, within_s, "no coordinator began")
        pid = self.coordinator
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        await wait_until(lambda: self.coordinator is None, within_s, "the coordinator did not stop")
        return self.exit_codes[-1]

    # ---- processes

    def processes(self) -> dict[int, str]:
        """Return pid and title of everything that runs for this home."""
        return our_processes(self.home.root.parent)

    def workers(self) -> dict[str, list[int]]:
        """Return the pids of workers by the name of their session."""
        found: dict[str, list[int]] = {}
        for pid, title in self.processes().items():
            if title not in {ZYGOTE, COORDINATOR, NEW_WORKER}:
                found.setdefault(title.removeprefix("chat-coord: "), []).append(pid)
        return found

    def kill_all(self) -> None:
        """End everything of this home, at the end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(30)
            self._process = None
        while kill_leftovers(self.home.root.parent):
            pass


async def wait_until(look: Callable[[], Any], within_s: float, what: str) -> Any:
    """Return the first true thing that looking gives; looking may be a coroutine function.

    Raises:
        NotServing: it did not come.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if loop.time() > deadline_s:
            raise NotServing(f"{what} within {within_s:.0f} s")
        await asyncio.sleep(LOOK_S)
