"""Processes that tools of sessions started: none may answer what a session asks.

A tool's process descends from its worker and carries marks in its environment. A program that wants to can leave both
behind; the same user is no boundary without a sandbox (docs/tools.md).
"""

import contextlib
from collections.abc import Collection
from pathlib import Path

from protocol.launch import MARK
from protocol.processes import TOOL_MARK, parent_of

# Longer than any chain of processes that is meant; a loop cannot be in it, but a bound costs nothing.
GENERATIONS = 256
MARKS = (f"{TOOL_MARK}=".encode(), f"{MARK}=".encode())


def is_of_a_tool(pid: int, workers: Collection[int]) -> bool:
    """Say whether a process descends from one of these workers, or carries the mark of a tool."""
    for _ in range(GENERATIONS):
        if pid in workers or _is_marked(pid):
            return True
        parent = parent_of(pid)
        if parent is None or parent <= 1:
            return False
        pid = parent
    return True


def _is_marked(pid: int) -> bool:
    """Say whether the environment that a process was started with has a mark."""
    with contextlib.suppress(OSError):
        return any(word.startswith(MARKS) for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return False
