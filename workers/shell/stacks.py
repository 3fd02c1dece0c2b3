"""Where this process is: the stacks of its threads, on a signal, and of its tasks, when it is asked.

A signal works also when the interpreter hangs in C or in a regular expression: the handler is faulthandler's, which
needs no interpreter. It writes into a file without a path that nobody but the coordinator reads, through /proc. All of
it costs one descriptor and 15 µs at birth, and nothing after that.
"""

import asyncio
import contextlib
import faulthandler
import fcntl
import os
from types import CodeType, FrameType
from typing import Any

from protocol.launch import STACKS_FILE, STACKS_SIGNAL
from protocol.limits import STACKS_BYTES, cut

MOST_TASKS, MOST_FRAMES = 100, 64


def register() -> None:
    """Write the stacks of all threads when the signal comes; where the system has no such files, do nothing."""
    with contextlib.suppress(AttributeError, OSError):
        file = os.memfd_create(STACKS_FILE)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)  # the reader empties it; this end must not leave a hole
        faulthandler.register(STACKS_SIGNAL, file=file, all_threads=True, chain=False)


def of_tasks() -> str:
    """Return where each task of this loop waits, outermost call first; sources are not read."""
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    lines = []
    for task in tasks[:MOST_TASKS]:
        lines.append(f"Task {task.get_name()}:")
        lines += [f'  File "{code.co_filename}", line {line} in {code.co_qualname}' for code, line in _calls(task)]
    if len(tasks) > MOST_TASKS:
        lines.append(f"and {len(tasks) - MOST_TASKS} more tasks")
    return cut("\n".join(lines), STACKS_BYTES)


def _calls(task: "asyncio.Task[Any]") -> list[tuple[CodeType, int]]:
    """Follow what a task awaits, as far as it is Python's own; a task that runs shows where its frames are."""
    found: list[tuple[CodeType, int]] = []
    waits: Any = task.get_coro()
    while waits is not None and len(found) < MOST_FRAMES:
        frame: FrameType | None = None
        for kind in ("cr", "gi", "ag"):
            if hasattr(waits, f"{kind}_frame"):
                frame = getattr(waits, f"{kind}_frame")
                waits = getattr(waits, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        if frame is None:
            break
        found.append((frame.f_code, frame.f_lineno))
    return found
