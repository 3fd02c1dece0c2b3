"""What a zygote's process runs first. Tiny on purpose: what this imports, every worker carries."""

import importlib
import socket

from protocol.processes import redirect_stdio

# Why the last zygote died can still be read when the next one runs.
KEEP_BYTES = 256 << 10


def run_zygote(channel: socket.socket, log: str, extras: tuple[str, ...]) -> None:
    """Become a zygote. The worker's side is imported by name, here in the child; the coordinator never imports it.

    Args:
        channel: the datagram socket to the coordinator.
        log: where standard output and error go, so that the reason of a death can be read.
        extras: providers that need more than the core's install, to be imported before the first fork.
    """
    redirect_stdio(log, KEEP_BYTES)
    importlib.import_module("workers.zygote").main(channel, extras)
