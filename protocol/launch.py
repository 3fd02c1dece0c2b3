"""What a coordinator says to whatever becomes a worker, and what its zygote answers, over a socket that only they hold.

To a zygote one datagram is a message; a ``Forked`` datagram carries the new process's pidfd beside it, which is free
of the race with reused pids. A fresh interpreter reads its ``Fork`` from standard input.
"""

import signal
from pathlib import Path

from protocol.messages import Message

# An order or an answer, at most.
DATAGRAM_BYTES = 256 << 10
# How a worker leaves for which the kernel had no more memory; the number of ENOMEM.
EXIT_NO_MEMORY = 12
# Every process below a worker carries ``SESSION-EPOCH`` in this variable, so that it can be told whose it is.
MARK = "CHAT_COORD_WORKER"
# The signal on which a worker writes the stacks of its threads, and the name of the file without a path they go to.
STACKS_SIGNAL = signal.SIGUSR1
STACKS_FILE = "chat-coord-stacks"


class ZygoteReady(Message, frozen=True):
    """Everything is imported, warmed and frozen; a worker's collector never touches ``frozen_objects``."""

    rss_bytes: int
    threads: int
    frozen_objects: int


class Fork(Message, frozen=True):
    """Start a worker. ``log`` is the file that its standard output and error go to.

    ``orphan_exit_s`` is how long it stays without a coordinator; the next one is looked for in ``home``.
    ``data_bytes`` is how much memory the kernel gives it beyond what it is born with; 0: no such limit.
    """

    session: str
    epoch: int
    token: bytes
    name: str
    cwd: str
    env: dict[str, str]
    endpoint: str
    log: str
    events_log: str
    home: str
    orphan_exit_s: float
    data_bytes: int = 0
    log_level: str = "info"


class Forked(Message, frozen=True):
    """The worker exists."""

    session: str
    epoch: int
    pid: int


class ForkFailed(Message, frozen=True):
    """No worker came to be. ``fatal``: trying again would not help."""

    session: str
    epoch: int
    reason: str
    fatal: bool


class Reaped(Message, frozen=True):
    """A worker ended. ``status`` is negative for a signal, as in ``os.waitstatus_to_exitcode``."""

    session: str
    epoch: int
    status: int


def mark_of(session: str, epoch: int) -> str:
    """Return the value of ``MARK`` for the processes of a worker."""
    return f"{session}-{epoch}"


def no_place_for(fork: Fork) -> str | None:
    """Return why no worker could ever stand there; None when its working directory is there."""
    return None if Path(fork.cwd).is_dir() else f"the working directory {fork.cwd} is gone"


ToZygote = Fork
FromZygote = ZygoteReady | Forked | ForkFailed | Reaped
