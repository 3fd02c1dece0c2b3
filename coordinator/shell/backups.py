"""Backups that clients ask for: the store copies, a thread of its own checks and syncs, so that commits do not wait."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from coordinator.core.effects import MakeBackup
from coordinator.core.showing import refusal
from coordinator.shell import backup
from coordinator.shell.store import Store
from protocol.errors import ChatCoordError, StoreRefused, ValueIllegal
from protocol.messages import BackedUp, Refused

# Answers kept for a request that comes twice.
KEPT = 32
# For ending what is under way.
END_S = 5.0


class Backups:
    """Makes each backup once, however often its request is sent.

    Args:
        store: what is copied.
        send: takes a peer and the answer for it.
    """

    def __init__(self, store: Store, send: Callable[[bytes, BackedUp | Refused], None]) -> None:
        self._store = store
        self._send = send
        self._answers: dict[tuple[bytes, int], BackedUp | Refused | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ending = False

    def make(self, order: MakeBackup) -> None:
        """Begin a backup; the client is told when it is whole, or why it is not."""
        key = (order.peer, order.request)
        known = self._answers.get(key)
        if known is not None:
            self._send(order.peer, known)
        if key in self._answers:
            return
        while len(self._answers) >= KEPT:
            self._answers.pop(next(iter(self._answers)))
        self._answers[key] = None
        task = asyncio.create_task(self._make(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way; no half of a file is left."""
        self._is_ending = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=END_S)
            for task in late:
                task.cancel()

    async def _make(self, order: MakeBackup) -> None:
        answer: BackedUp | Refused
        try:
            copied = await self._copy(Path(order.path))
        except ChatCoordError as error:
            answer = refusal(order.request, error)
        else:
            answer = BackedUp(request=order.request, path=order.path, bytes=copied.bytes, sessions=copied.sessions)
        self._answers[order.peer, order.request] = answer
        self._send(order.peer, answer)

    async def _copy(self, target: Path) -> backup.Copied:
        if not target.is_absolute():
            raise ValueIllegal(f"{target} is no absolute path.", hint="Give the whole path.")
        scratch = await asyncio.to_thread(backup.begin, target)
        copied: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fail(reason: str) -> None:
            if not copied.done():
                text = f"The copy {target} could not be made: {reason}."
                copied.set_exception(StoreRefused(text, hint=backup.RESCUE))

        def succeed(_: None) -> None:
            if not copied.done():
                copied.set_result(None)

        try:
            self._store.copy(scratch, succeed, fail)
            await copied
            return await asyncio.to_thread(backup.publish, scratch, target, lambda: self._is_ending)
        finally:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(backup.discard, scratch)
