"""What runs below a worker: why it was ended, and orphans that nobody waits for any more."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

from protocol.processes import children_of

# Whoever waits for a child reaps it at once. One that has been dead for longer belonged to a child that is gone itself.
ORPHAN_S = 5.0


class Children:
    """The processes below this one.

    ``ended_because`` is why the coordinator ended all of them last, until somebody takes the reason.
    """

    def __init__(self) -> None:
        self.ended_because: str | None = None
        self._came = asyncio.Event()
        self._dead_since: dict[int, float] = {}

    def ended(self, reason: str) -> None:
        """The coordinator ended everything below this process."""
        self.ended_because = reason
        self._came.set()

    async def take_reason(self, wait_s: float = 0.5) -> str | None:
        """Return why a tool that was killed was, once; None when the coordinator did not do it.

        Args:
            wait_s: how long its message may come behind the death of the tool.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._came.wait()
        reason, self.ended_because = self.ended_because, None
        self._came.clear()
        return reason

    def reap_orphans(self) -> None:
        """Let go of dead children that nobody waits for. Called each second."""
        now_s = time.monotonic()
        dead = {pid for pid in children_of(os.getpid()) if _is_dead(pid)}
        self._dead_since = {pid: self._dead_since.get(pid, now_s) for pid in dead}
        for pid, since_s in self._dead_since.items():
            if now_s - since_s >= ORPHAN_S:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _is_dead(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"
