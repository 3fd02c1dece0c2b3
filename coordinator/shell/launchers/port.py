"""The port to whatever runs workers. Its traffic is starting and ending; all messages are the sockets'.

An adapter hands each process with its pidfd to the supervisor, who signals it, adopts it after a restart, and tells of
its end. tests/integration/test_launchers.py is the contract: whatever passes it can run workers.
"""

from collections.abc import Callable
from typing import Protocol

from coordinator.core.events import Event, SpawnFailed
from protocol.launch import Fork
from protocol.views import ZygoteView


class Launcher(Protocol):
    """Starts worker processes.

    What comes of a start is told as events: WorkerSpawned or SpawnFailed, and once, at the end, WorkerExited.
    """

    def open(self) -> None:
        """Get ready to start workers."""
        ...

    def start(self, fork: Fork) -> None:
        """Order a worker; returns at once. HELLO proves that it lives."""
        ...

    def helper_pids(self) -> tuple[int, ...]:
        """Return the processes of the launcher itself, to be counted."""
        ...

    def zygote(self) -> ZygoteView | None:
        """Return the process that workers are forked from, once it is ready; None where there is none."""
        ...

    async def close(self) -> None:
        """End what belongs to the launcher itself; workers go on. Orders that have not begun are dropped."""
        ...


def refuse(post: Callable[[Event], None], fork: Fork, reason: str, *, fatal: bool = False) -> None:
    """Tell that no worker came of an order. ``fatal``: trying again would not help."""
    post(SpawnFailed(fork.session, fork.epoch, reason, fatal))
