"""Verbs that work without a coordinator but need what only its package knows: a child that prints JSON."""

import json
import subprocess
import sys
from typing import Any

from protocol.errors import ChatCoordError
from protocol.paths import Home


class OfflineFailed(ChatCoordError):
    """The child did not do what it was started for."""

    code = "offline.failed"
    hint = "Install chat-coord again, into an environment of its own."


def ask_child(home: Home, verb: str, *, within_s: float) -> Any:
    """Return the document that ``python -m coordinator VERB`` prints.

    Args:
        home: whose.
        verb: one that ends by itself.
        within_s: when it has not ended by then it is killed.

    Raises:
        OfflineFailed: it printed none in time.
    """
    # -P: no package from where the user stands; -B: looking leaves no trace, no bytecode either.
    command = [sys.executable, "-P", "-B", "-m", "coordinator", verb, "--home", str(home.root)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=within_s, check=False)
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        hint = "Look at the disk of the home folder; nothing was changed."
        raise OfflineFailed(f"`{verb}` did not end within {within_s:.0f} s.", hint=hint) from None
    except ValueError:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise OfflineFailed(f"`{verb}` failed: {lines[-1]}.") from None
