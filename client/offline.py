"""Verbs that work without a coordinator but need what only its package knows: a child that prints lines of JSON."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocol.errors import EXIT_NO, HINT, ChatCoordError
from protocol.paths import Home


class OfflineFailed(ChatCoordError):
    """The child did not do what it was started for."""

    code = "offline.failed"
    hint = "Install chat-coord again, into an environment of its own."


class OfflineRefused(ChatCoordError):
    """The child said no, why, and with which exit code."""

    code = "offline.refused"


def ask_child(home: Home, verb: str, *, within_s: float, file: Path | None = None) -> Any:
    """Return the document that ``python -m coordinator VERB`` prints.

    Args:
        home: whose.
        verb: one that ends by itself.
        within_s: when it has not ended by then it is killed.
        file: what the verb is about, if it needs one.

    Raises:
        OfflineRefused: it said no.
        OfflineFailed: it printed none in time.
    """
    for line in child_lines(home, verb, within_s=within_s, file=file):
        return json.loads(line)
    raise OfflineFailed(f"`{verb}` printed nothing.")


def child_lines(home: Home, verb: str, *, within_s: float, file: Path | None = None) -> Iterator[bytes]:
    """Yield the lines that ``python -m coordinator VERB`` prints, when it ended well.

    Raises:
        OfflineRefused: it said no.
        OfflineFailed: it failed, or did not end in time.
    """
    # -P: no package from where the user stands; -B: looking leaves no trace, no bytecode either.
    command = [sys.executable, "-P", "-B", "-m", "coordinator", verb, "--home", str(home.root)]
    if file is not None:
        command += ["--file", str(file)]
    pipe = subprocess.PIPE  # what it says on standard error is a few lines, and is read when it has ended
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as child:
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(within_s, end)
        timer.start()
        try:
            yield from child.stdout or ()
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
        if is_late.is_set():
            hint = "Look at the disk of the home folder; nothing was changed."
            raise OfflineFailed(f"`{verb}` did not end within {within_s:.0f} s.", hint=hint)
        if code:
            said = child.stderr.read() if child.stderr else b""
            raise _why(verb, code, said.decode(errors="replace").strip().splitlines())


def _why(verb: str, code: int, lines: list[str]) -> ChatCoordError:
    """Return the error that the child printed before it left: a sentence, and a line with a hint."""
    if not lines or lines[0].startswith("Traceback") or code < EXIT_NO:
        return OfflineFailed(f"`{verb}` failed: {lines[-1] if lines else f'exit code {code}'}.")
    refused = OfflineRefused(lines[0], hint=lines[1].removeprefix(HINT) if len(lines) > 1 else None)
    refused.exit_code = code
    return refused
