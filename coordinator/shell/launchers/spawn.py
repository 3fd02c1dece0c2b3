"""Workers as interpreters of their own: nothing is shared, a start takes a second or two, an idle session 64 MiB.

The order goes through a socket pair that is the new process's standard input. It reads the order when everything is
imported, and lets go of the socket then; so the end of that stream frees a place for the next start.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable

from coordinator.core.events import Event
from coordinator.shell.launchers.port import refuse
from coordinator.shell.supervisor import Supervisor
from protocol.codec import encode
from protocol.launch import Fork, no_place_for
from protocol.processes import open_log

# Importing costs a second of a processor: more starts at once would only make all of them late.
AT_ONCE = max(2, os.cpu_count() or 1)
# The longest order has about 140 KiB; the kernel doubles this.
ORDER_BYTES = 256 << 10
COMMAND = (sys.executable, "-P", "-m", "workers")


class SpawnLauncher:
    """Starts each worker as a fresh interpreter, and reaps it.

    Args:
        supervisor: takes charge of each process.
        post: takes events.
    """

    def __init__(self, supervisor: Supervisor, post: Callable[[Event], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._post = post
        self._waiting: deque[Fork] = deque()
        self._starting: set[socket.socket] = set()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def open(self) -> None:
        """Nothing has to be made ready."""

    def start(self, fork: Fork) -> None:
        """Order a worker; it waits while as many are being started as there are processors."""
        self._waiting.append(fork)
        self._begin()

    def helper_pids(self) -> tuple[int, ...]:
        """Return the processes of the launcher itself: none."""
        return ()

    def zygote(self) -> None:
        """Each worker is an interpreter of its own."""
        return

    async def close(self) -> None:
        """Let go of the workers; they go on."""
        self._waiting.clear()
        for ours in list(self._starting):
            self._let_go(ours)
        for child in self._children.values():
            child.returncode = 0  # it outlives its parent: no warning about that
        self._children.clear()

    def _begin(self) -> None:
        while self._waiting and len(self._starting) < AT_ONCE:
            fork = self._waiting.popleft()
            nowhere = no_place_for(fork)
            if nowhere is not None:
                refuse(self._post, fork, nowhere, fatal=True)
                continue
            try:
                self._spawn(fork)
            except OSError as error:
                refuse(self._post, fork, f"a process cannot be started: {error.strerror}")

    def _spawn(self, fork: Fork) -> None:
        """Start an interpreter and give it its order.

        Raises:
            OSError: there is no process.
        """
        ours, theirs = socket.socketpair()
        log = open_log(fork.log)
        try:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ORDER_BYTES)
            ours.sendall(encode(fork))
            ours.shutdown(socket.SHUT_WR)
            child = subprocess.Popen(COMMAND, stdin=theirs.fileno(), stdout=log, stderr=log, start_new_session=True)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(log)
        self._starting.add(ours)
        self._loop.add_reader(ours, self._through, ours)
        self._children[child.pid] = child
        try:
            pidfd = os.pidfd_open(child.pid)  # our own child, not yet reaped: the pid cannot have been reused
        except OSError:
            child.kill()
            self._reap(child.pid)
            raise
        self._supervisor.watch(fork.session, fork.epoch, child.pid, pidfd, lambda: self._reap(child.pid))

    def _reap(self, pid: int) -> int | None:
        """Return how a child that is dead ended, negative for a signal; None when it is ours no more."""
        child = self._children.pop(pid, None)
        return None if child is None else child.wait()

    def _through(self, ours: socket.socket) -> None:
        """The worker has its order, or died: either way it is not starting any more."""
        self._let_go(ours)
        self._begin()

    def _let_go(self, ours: socket.socket) -> None:
        self._starting.discard(ours)
        self._loop.remove_reader(ours)
        ours.close()
