"""The name of the process, so that ``ps`` and ``top`` show which session it serves."""

import setproctitle

# What a worker is called that has no session yet.
NOBODY = "a new worker"


def set_title(name: str) -> None:
    """Name this process after its session. SPT_NOENV must be set before, so that /proc/PID/environ stays readable."""
    setproctitle.setproctitle(f"chat-coord: {name}")
