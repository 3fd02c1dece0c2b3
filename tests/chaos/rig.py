"""One home under attack: a coordinator that is started again whenever it ends, and clients that never give up.

What clients were told and what the model was asked is kept here, apart from the product (``Ledger``).
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from client.connection import Connection
from protocol import messages as m
from protocol.errors import CoordinatorAbsent, CoordinatorSilent, RemoteError
from protocol.ids import new_id
from protocol.paths import Home, runtime_folder
from protocol.views import HistoryRow
from tests.support.fleet import COMMAND, Fleet
from tests.support.model_server import ModelServer
from tests.support.product import Product

# Nothing is waited for longer than this; a busy machine needs some of it.
PATIENCE_S = 90.0
LOOK_S = 0.05

T = TypeVar("T")


@dataclass
class Ledger:
    """What was promised, by session: prompts with their seq as acknowledged, replies that were announced as final."""

    acknowledged: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    announced: dict[str, set[int]] = field(default_factory=dict)


class Rig:
    """A home with a scripted model.

    Args:
        command: starts the coordinator, without its ``--home``.
        environment: more variables for it.
        is_once: a failpoint of the environment acts once over all processes.
    """

    def __init__(
        self,
        command: tuple[str, ...] = COMMAND,
        environment: Mapping[str, str] | None = None,
        *,
        is_once: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cx-"))
        self.product = Product(self.folder / "home")
        self.home = Home(self.product.home)
        once = {"CC_FAILPOINT_ONCE": str(self.folder)} if is_once else {}
        self.fleet = Fleet(self.product.home, command, {**(environment or {}), **once})
        self.model = ModelServer()
        # The kills of a run are no crash loop.
        limits = "restart_limit = 100000\nrestart_limit_total = 100000\nrestart_window_s = 1\n"
        self.product.use_model(self.model.url, more=limits)
        self.ledger = Ledger()
        self._tasks: list[asyncio.Task[None]] = []
        self._connections: list[Connection] = []

    async def __aenter__(self) -> Self:
        self.fleet.keep_running()
        return self

    async def __aexit__(self, *failure: object) -> None:
        for task in self._tasks:
            task.cancel()
        for connection in self._connections:
            await connection.close()
        await self.fleet.let_end()
        self.fleet.kill_all()
        self.model.close()
        shutil.rmtree(runtime_folder(self.home), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- processes

    def workers(self) -> dict[int, str]:
        """Return pid and session's name of every worker that lives."""
        return {pid: name for name, pids in self.fleet.workers().items() for pid in pids}

    def kill(self, *pids: int | None) -> None:
        for pid in pids:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # ---- clients

    async def connect(self) -> Connection:
        """Return a connection that notes every announced end of a turn."""

        async def opened() -> Connection:
            connection = Connection(self.home, f"chaos-{new_id()}")
            try:
                await connection.open()
            except BaseException:
                await connection.close()
                raise
            return connection

        connection = await self.insist(opened)
        self._connections.append(connection)
        self._tasks.append(asyncio.create_task(self._note_finals(connection)))
        return connection

    async def _note_finals(self, connection: Connection) -> None:
        while True:
            pushed = await connection.pushed.get()
            if isinstance(pushed, m.Final):
                self.ledger.announced.setdefault(pushed.session, set()).add(pushed.seq)

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, whoever gives it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await ask()
            except (CoordinatorAbsent, CoordinatorSilent):
                pass
            except RemoteError as error:
                if error.remote_code not in {"coordinator.stopping", "store.failed", "store.readonly"}:
                    raise
            assert time.monotonic() < deadline_s, f"no answer for {PATIENCE_S:g} s"
            await asyncio.sleep(LOOK_S)

    async def create(self, connection: Connection, name: str) -> str:
        """Make a session and return its id."""
        identity = new_id()

        def ask() -> Awaitable[m.SessionAnswer]:
            order = m.Create(
                request=connection.number(), id=identity, name=name, type="debug", model=None, system=None,
                cwd=str(self.folder), env={"PATH": os.defpath},
            )  # fmt: skip
            return connection.ask(order, m.SessionAnswer)

        await self.insist(ask)
        self.ledger.acknowledged[identity] = []
        return identity

    async def submit(self, connection: Connection, session: str, text: str) -> int:
        """Hand over a prompt under one key until it is acknowledged; the ledger has it then."""
        idem = new_id()
        ack = await self.insist(lambda: connection.submit(session, text, idem, follow=True))
        self.ledger.acknowledged[session].append((ack.seq, text))
        return ack.seq

    async def history(self, connection: Connection, session: str) -> list[HistoryRow]:
        async def ask() -> list[HistoryRow]:
            return [row async for page in connection.history(session) for row in page.rows]

        return await self.insist(ask)

    async def answered(self, connection: Connection, session: str, seq: int) -> HistoryRow:
        """Wait for the committed end of a turn."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            rows = await self.history(connection, session)
            row = next((row for row in rows if row.reply_to == seq), None)
            if row is not None:
                return row
            assert time.monotonic() < deadline_s, f"prompt {seq} has no end after {PATIENCE_S:g} s"
            await asyncio.sleep(LOOK_S)

    # ---- the audit

    async def quiet(self, connection: Connection, patience_s: float = PATIENCE_S) -> bool:
        """Wait until every acknowledged prompt has its end; False when that does not come."""
        deadline_s = time.monotonic() + patience_s
        for session, prompts in self.ledger.acknowledged.items():
            while True:
                ends = {row.reply_to for row in await self.history(connection, session)}
                if all(seq in ends for seq, _ in prompts):
                    break
                if time.monotonic() > deadline_s:
                    return False
                await asyncio.sleep(LOOK_S)
        return True

    async def audit(self, connection: Connection, patience_s: float = PATIENCE_S) -> Counter[str]:
        """Compare what the coordinator tells with the ledger; everything but ``completed`` and marks is a fault."""
        await self.quiet(connection, patience_s)
        found: Counter[str] = Counter()
        for session, prompts in self.ledger.acknowledged.items():
            self._audit_session(await self.history(connection, session), session, prompts, found)
        found["API CALLS REPEATED"] = sum(n - 1 for n in Counter(call.prompt for call in self.model.calls).values())
        at_once = Counter(self.workers().values())
        found["TWO WORKERS OF A SESSION"] = sum(n - 1 for n in at_once.values())
        return +found

    def _audit_session(
        self, rows: list[HistoryRow], session: str, prompts: list[tuple[int, str]], found: Counter[str]
    ) -> None:
        said = {row.seq: row.text for row in rows if row.role == "user"}
        ends: dict[Any, list[HistoryRow]] = {}
        for row in rows:
            if row.reply_to is not None:
                ends.setdefault(row.reply_to, []).append(row)
        for seq, text in prompts:
            found["acknowledged"] += 1
            found["PROMPTS LOST"] += said.get(seq) != text
            found["UNANSWERED"] += seq not in ends
            found["REPLIES TWICE"] += len(ends.get(seq, [])) > 1
            for row in ends.get(seq, [])[:1]:
                found[str(row.stop_reason)] += 1
                found["WRONG TEXT"] += row.stop_reason == "completed" and row.text != reply_to(text)
                found["WITHOUT A REASON"] += row.stop_reason not in {
                    "completed",
                    "interrupted",
                    "poisoned",
                    "cancelled",
                }
        found["PROMPTS TWICE"] += sum(n - 1 for n in Counter(said.values()).values())
        found["OUT OF ORDER"] += [seq for seq, _ in prompts] != sorted(seq for seq, _ in prompts)
        found["GAPS"] += sorted(row.seq for row in rows) != list(range(1, len(rows) + 1))
        lost = [seq for seq in self.ledger.announced.get(session, ()) if seq not in ends]
        found["FINISHED REPLIES LOST"] += len(lost)


def reply_to(prompt: str) -> str:
    """Return what the scripted model answers to ``count N TAG``."""
    _, number, tag = prompt.split(" ", 2)
    return "".join(f"{tag}{i};" for i in range(int(number)))


def faults(found: Counter[str]) -> dict[str, int]:
    """Return what must not be."""
    return {name: n for name, n in found.items() if name.isupper()}
