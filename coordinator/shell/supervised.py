"""A supervisor such as systemd watches this process: it is told how things are, and a restart keeps the process.

``start --foreground`` is for them. Workers and clients notice no difference, but a supervisor would take the end of its
process for the end of the service; so the program is replaced in place, with the environment that it was started with.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from multiprocessing import resource_tracker

READY, STOPPING = "READY=1", "STOPPING=1"


def tell(environment: Mapping[str, str], state: str) -> None:
    """Tell the supervisor, as sd_notify(3) does; where none listens, nobody."""
    where = environment.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = f"\0{where[1:]}" if where.startswith("@") else where
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.settimeout(1)
        channel.sendto(state.encode(), address)


def begin_again(environment: Mapping[str, str]) -> None:
    """Become the program that is installed now; never returns. Every lock and socket is closed by that.

    Args:
        environment: what was taken out of this process's own.

    Raises:
        OSError: there is no interpreter any more.
    """
    stop_tracker = getattr(getattr(resource_tracker, "_resource_tracker", None), "_stop", None)
    if stop_tracker is not None:  # a child of this process; nobody would reap it after that
        with contextlib.suppress(OSError, ValueError):
            stop_tracker()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **environment})  # noqa: S606
