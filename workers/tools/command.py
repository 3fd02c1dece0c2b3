"""The tool that runs commands: in a session of processes of its own, bounded in time and output, and gone afterwards.

Whatever a command leaves running ends with it: its processes are found by their descent, their session and the mark in
their environment. A pipe that a grandchild keeps open is not waited for.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from protocol.launch import MARK
from protocol.processes import TOOL_MARK, parent_of
from workers.tools.files import ToolFailed
from workers.tools.output import Output

READ_BYTES = 64 << 10
# How a shell ends that was killed, or whose last command was.
KILLED = frozenset({-signal.SIGKILL, 128 + signal.SIGKILL})
# From SIGTERM to SIGKILL, and then until it is given up.
GRACE_S = 1.0
GONE_S = 2.0
LOOK_S = 0.02
# What a command that has ended may still have in its pipe.
DRAIN_READS = 64
KEY_LIKE = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_|$)|API_?KEY", re.IGNORECASE)
OURS = ("CHAT_COORD_", "CC_FAILPOINT")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def scrubbed(environment: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return the environment of a tool: no keys, nothing of ours but the marks."""
    kept = {k: v for k, v in environment.items() if not KEY_LIKE.search(k) and (k == MARK or not k.startswith(OURS))}
    return kept | {TOOL_MARK: mark}


def die_with_parent() -> None:
    """In a child that was just forked: end with the process that started it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


async def run_command(
    command: str, cwd: Path, mark: str, timeout_s: float, why_killed: Callable[[], Awaitable[str | None]]
) -> str:
    """Run a line with /bin/sh and return its output and how it ended.

    Args:
        command: the line.
        cwd: where.
        mark: what its processes are known by.
        timeout_s: how long it may take.
        why_killed: tells why the coordinator ended it, when it did.

    Raises:
        ToolFailed: it could not be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writer, True)
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - one thread; nothing waits in it
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env=scrubbed(os.environ, mark),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    except (OSError, ValueError) as error:
        os.close(reader)
        raise ToolFailed(f"The command could not be started: {error}.") from error
    finally:
        os.close(writer)
    output = Output()
    try:
        is_over = await _wait(process, reader, output, timeout_s)
    finally:
        await asyncio.shield(end_tree(process, mark))
        os.close(reader)
    code = process.returncode
    if not is_over:
        ending = f"[ended after {timeout_s:g} s, which is tool_timeout_s]"
    else:
        ending = f"[ended by {_name(-code)}]" if code < 0 else f"[exit code {code}]"
        reason = await why_killed() if code in KILLED else None
        if reason is not None:
            ending += f" It was ended: {reason}."
    return f"{output.text()}\n{ending}"


async def _wait(process: "subprocess.Popen[bytes]", reader: int, output: Output, timeout_s: float) -> bool:
    """Read until the command ends; False when its time was over first."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def on_output() -> None:
        try:
            data = os.read(reader, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        output.add(data)
        if not data:
            loop.remove_reader(reader)

    def on_end() -> None:
        if not ended.done():
            ended.set_result(None)

    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(reader, on_output)
    loop.add_reader(pidfd, on_end)
    try:
        async with asyncio.timeout(timeout_s):
            await ended
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        loop.remove_reader(reader)
        os.close(pidfd)
    for _ in range(DRAIN_READS):  # what is there, not what may still come
        before = output.size_bytes
        on_output()
        if output.size_bytes == before:
            break
    return True


async def end_tree(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """End what the command started, and itself if it still runs: SIGTERM, then SIGKILL. Bounded."""
    begun_s = time.monotonic()
    number = signal.SIGTERM
    while True:
        process.poll()
        left = _tree(process, mark)
        elapsed_s = time.monotonic() - begun_s
        if not left or elapsed_s > GRACE_S + GONE_S:
            break
        if elapsed_s > GRACE_S:
            number = signal.SIGKILL
        if number == signal.SIGKILL or elapsed_s < LOOK_S:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        await asyncio.sleep(LOOK_S)
    if process.poll() is None:  # it cannot be killed: the kernel holds it
        process.returncode = -signal.SIGKILL


def _tree(process: "subprocess.Popen[bytes]", mark: str) -> set[int]:
    """Return the pids of everything that the command started and that lives; zombies of ours are reaped."""
    me = os.getpid()
    parents: dict[int, int] = {}
    found: set[int] = set()
    word = f"{TOOL_MARK}={mark}".encode()
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if not name.isdigit() or int(name) == me:
            continue
        pid = int(name)
        facts = _facts(pid)
        if facts is None:
            continue
        state, parent, session = facts
        if state == "Z":
            if parent == me and pid != process.pid:
                _reap(pid)
            continue
        parents[pid] = parent
        if process.pid in {session, pid} or _has_mark(pid, word):
            found.add(pid)
    is_growing = True
    while is_growing:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        is_growing = bool(more)
    if process.returncode is not None:
        found.discard(process.pid)
    return found


def _facts(pid: int) -> tuple[str, int, int] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - often
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[3])


def _has_mark(pid: int, word: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - often
            return word in file.read().split(b"\0")
    except OSError:
        return False


def _reap(pid: int) -> None:
    """An orphan of a tool that became our child and has ended."""
    if parent_of(pid) == os.getpid():
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
