"""Real process trees: a root that does what a worker is told to do, and below it what a model might start."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from protocol.launch import MARK
from protocol.processes import start_ticks
from tests.support.product import wait_for

# A child; a grandchild in a session of its own whose parent is gone; one that ignores SIGTERM and holds a pipe open;
# and one that hides: a session of its own, no parent, no mark.
STORY = """
import os, signal, subprocess, sys, time
folder = sys.argv[1]
def note(name):
    with open(os.path.join(folder, name + ".new"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(os.path.join(folder, name + ".new"), os.path.join(folder, name))
SLEEP = "import os, signal, sys, time; sys.argv[2] == 'stubborn' and signal.signal(signal.SIGTERM, signal.SIG_IGN); "
SLEEP += "open(os.path.join(sys.argv[1], sys.argv[2] + '.new'), 'w').write(str(os.getpid())); "
SLEEP += "os.rename(os.path.join(sys.argv[1], sys.argv[2] + '.new'), os.path.join(sys.argv[1], sys.argv[2])); "
SLEEP += "time.sleep(600)"
def start(name, **more):
    return subprocess.Popen([sys.executable, "-S", "-c", SLEEP, folder, name], **more)
def orphan(name, **more):
    if os.fork() == 0:
        start(name, start_new_session=True, **more)
        os._exit(0)
    os.wait()
start("child")
start("stubborn")
orphan("daemon")
"""
HIDE = 'orphan("hidden", env={})\n'


def names(*, hidden: bool) -> tuple[str, ...]:
    return ("child", "stubborn", "daemon", "hidden") if hidden else ("child", "stubborn", "daemon")


def pids(folder: Path, *, hidden: bool = False) -> dict[str, int]:
    """Wait until all are there, and return who is who."""

    def look() -> dict[str, int]:
        return {name: int((folder / name).read_text()) for name in names(hidden=hidden) if (folder / name).exists()}

    return wait_for(lambda: found if len(found := look()) == len(names(hidden=hidden)) else None, 30)


def living(found: dict[str, int]) -> list[str]:
    return [name for name, pid in found.items() if start_ticks(pid) is not None]


def end(found: dict[str, int]) -> None:
    """For a test that failed: leave nothing behind."""
    for pid in found.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def root(folder: Path, mark: str, pipe: int) -> "subprocess.Popen[bytes]":
    """Start a process that leads a session and has a tree; the write end of a pipe is open in all of it."""
    story = STORY + "time.sleep(600)\n"
    return subprocess.Popen(
        [sys.executable, "-S", "-c", story, str(folder)],
        env=os.environ | {MARK: mark},
        start_new_session=True,
        pass_fds=(pipe,),
    )


def is_closed(read_end: int, within_s: float = 5) -> bool:
    """Say whether nobody holds the other end of the pipe any more: whoever reads is at the end, and does not hang."""
    os.set_blocking(read_end, False)
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        with contextlib.suppress(BlockingIOError):
            if os.read(read_end, 1) == b"":
                return True
        time.sleep(0.01)
    return False
