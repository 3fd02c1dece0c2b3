"""Starting the coordinator in the background, and waiting until it answers."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from client.connection import Connection
from protocol.errors import (
    EXIT_CONFIG,
    EXIT_OWNED,
    HINT,
    ChatCoordError,
    ConfigBad,
    CoordinatorAbsent,
    CoordinatorSilent,
    HomeOwned,
    HomeUnsafe,
)
from protocol.paths import Home, find_running

START_S = 20.0
STOP_S = 20.0
LOOK_S = 0.02
# Room without which a coordinator cannot even write down why it ended.
SENTENCE_BYTES = 4_096


class StartFailed(ChatCoordError):
    """The coordinator ended at its start."""

    code = "coordinator.start_failed"
    hint = "See coordinator.log in the logs folder."


def command(home: Home, launcher: str | None = None) -> list[str]:
    """Return the coordinator's command line. -P: a folder named `client` where the user stands must not be imported."""
    words = [sys.executable, "-P", "-m", "coordinator", "--home", str(home.root)]
    return words if launcher is None else [*words, "--launcher", launcher]


def environment() -> dict[str, str]:
    """Return the coordinator's environment: PYTHONPATH without folders in which our packages' names mean others."""
    found = dict(os.environ)
    ours = Path(__file__).resolve().parents[1]
    folders = [folder for folder in found.pop("PYTHONPATH", "").split(os.pathsep) if folder]
    kept = [folder for folder in folders if Path(folder).resolve() == ours or not _has_our_names(Path(folder))]
    return found | ({"PYTHONPATH": os.pathsep.join(kept)} if kept else {})


def _has_our_names(folder: Path) -> bool:
    names = ("client", "coordinator", "protocol", "workers")
    return any((folder / name).is_dir() or (folder / f"{name}.py").exists() for name in names)


async def connect(home: Home, client: str = "cli", *, start: bool = False) -> Connection:
    """Return an open connection.

    Args:
        home: whose coordinator.
        client: whose active session is shared.
        start: start a coordinator when none runs.

    Raises:
        CoordinatorAbsent: none runs, and none was to be started.
        CoordinatorSilent: one runs and does not answer.
        ConfigBad, HomeUnsafe, StartFailed: it cannot be started.
    """
    connection = Connection(home, client)
    try:
        await connection.open()
    except CoordinatorAbsent:
        if not start:
            raise
        await start_in_background(home)
        await connection.open()
    return connection


async def start_in_background(home: Home, launcher: str | None = None) -> None:
    """Start a coordinator and return when one answers, this one or one that was started at the same time.

    Args:
        home: whose coordinator.
        launcher: how it starts workers; as configured when None.

    Raises:
        ConfigBad, StartFailed: it ended at its start; says why.
        CoordinatorSilent: it did not answer in time.
    """
    home.prepare()
    errors = home.logs / "coordinator.stderr"
    try:
        descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        hint = "Check room, owner and mode of that folder; `chat-coord export --all DIR` works without writing there."
        raise HomeUnsafe(f"{errors} cannot be written: {error.strerror}.", hint=hint) from error
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec of milliseconds
            command(home, launcher),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd=home.root,
            env=environment(),
        )
    finally:
        os.close(descriptor)
    deadline_s = asyncio.get_running_loop().time() + START_S
    while asyncio.get_running_loop().time() < deadline_s:
        connection = Connection(home)
        try:
            await connection.open()
        except (CoordinatorAbsent, CoordinatorSilent):
            code = process.poll()
            if code is not None and code != EXIT_OWNED:
                raise _why(code, errors) from None
        else:
            # It outlives a command; of a program that outlives it, it must not stay a zombie.
            threading.Thread(target=process.wait, name="reaper", daemon=True).start()
            return
        finally:
            await connection.close()
        await asyncio.sleep(LOOK_S)
    if process.poll() == EXIT_OWNED:
        hint = "Look for a process named `chat-coord: coordinator`, and end it with SIGTERM."
        raise HomeOwned(f"A coordinator owns {home.root} but does not answer.", hint=hint)
    raise CoordinatorSilent(f"The coordinator did not answer within {START_S:.0f} s after its start.")


def _why(code: int, errors: Path) -> ChatCoordError:
    """Return the error that the coordinator printed before it left: a sentence, and a line with a hint."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if not lines and shutil.disk_usage(errors.parent).free < SENTENCE_BYTES:
        text = f"The coordinator ended at its start: no room is left on the disk of {errors.parent.parent}."
        return StartFailed(text, hint="Make room; `chat-coord export --all DIR` on another disk works as it is.")
    if not lines or lines[0].startswith("Traceback"):
        why = f": {lines[-1]}" if lines else ""
        return StartFailed(f"The coordinator ended at its start with code {code}{why}.")
    kind = ConfigBad if code == EXIT_CONFIG else StartFailed
    return kind(lines[0], hint=lines[1].removeprefix(HINT) if len(lines) > 1 else None)


def run_in_foreground(home: Home, launcher: str | None = None) -> None:
    """Become the coordinator; never returns.

    Raises:
        HomeOwned: another one has the home.
    """
    os.execv(sys.executable, [*command(home, launcher), "--supervised"])  # noqa: S606


async def wait_replaced(home: Home, pid: int, boot: int) -> bool:
    """Wait until a coordinator that handed over is gone, or is the next one in the same process.

    Args:
        home: whose.
        pid: the process.
        boot: that of the coordinator.

    Returns:
        False when it is still there after STOP_S.
    """
    ended = asyncio.ensure_future(wait_ended(pid))
    try:
        while not ended.done():
            found = find_running(home)
            if found is not None and found.boot > boot:
                return True
            await asyncio.wait({ended}, timeout=LOOK_S)
        return ended.result()
    finally:
        ended.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ended


async def wait_ended(pid: int) -> bool:
    """Wait until a process is gone; False when it is still there after STOP_S."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), STOP_S)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return True
