"""multiprocessing with the spawn method: the standard library's way to a fresh process."""

import contextlib
import multiprocessing
import time
from multiprocessing.connection import Connection, wait
from typing import Any

from serve import serve

CONTEXT = multiprocessing.get_context("spawn")


def child(channel: Connection) -> None:
    """Say something, then echo until the other end is closed."""
    channel.send("hello")
    with contextlib.suppress(EOFError):
        while True:
            channel.send(channel.recv())


def _start() -> tuple[Any, Connection]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=child, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    return process, ours


def _end(process: Any, channel: Connection) -> None:
    channel.close()
    process.join()


held: list[tuple[Any, Connection]] = []


def create(number: int) -> list[float]:
    """Return the milliseconds from start to the first message, each time."""
    taken = []
    for _ in range(number):
        begun_s = time.perf_counter()
        process, channel = _start()
        taken.append((time.perf_counter() - begun_s) * 1000)
        _end(process, channel)
    return taken


def hold() -> int:
    """Start a process, keep it, and return its pid."""
    held.append(_start())
    return int(held[-1][0].pid)


def release() -> None:
    """End the processes that are kept."""
    while held:
        _end(*held.pop())


def revive(number: int) -> list[float]:
    """Return the milliseconds from SIGKILL until another process has said its first message, each time."""
    taken = []
    process, channel = _start()
    for _ in range(number):
        begun_s = time.perf_counter()
        process.kill()
        wait([process.sentinel])
        fresh = _start()
        taken.append((time.perf_counter() - begun_s) * 1000)
        _end(process, channel)
        process, channel = fresh
    _end(process, channel)
    return taken


if __name__ == "__main__":
    serve({"create": create, "hold": hold, "release": release, "revive": revive})
