"""Places where a test can end, stop or fail a process, by name; nothing happens at them unless it is asked for.

``CC_FAILPOINT=NAME:ACTION[@N]``, several separated by commas. ACTION is ``kill`` (SIGKILL), ``stop`` (SIGSTOP),
``raise`` (FailpointHit), ``sleep=SECONDS`` or ``hang`` (in a regular expression, for ever); N says which passage counts
(1: the first), in each process. With ``CC_FAILPOINT_ONCE=FOLDER`` each name acts once over all processes, which a file
of that name in the folder records: otherwise every restarted worker would die at the same place again. Read once, when
a process starts (``arm``); forked workers have what their zygote read.
"""

import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import ConfigBad

# What the coordinator sends, commits and orders: before and after each of these it can be ended.
ORDERS = (
    "Ack",
    "BumpEpoch",
    "Deliver",
    "DropOutbox",
    "Final",
    "InsertPrompt",
    "InsertReply",
    "InsertSession",
    "Leave",
    "Permit",
    "Rack",
    "SaveClosed",
    "SaveExit",
    "SaveRoster",
    "SaveSnapshot",
    "SaveStarted",
    "SendRestore",
    "SnapshotWanted",
    "SpawnWorker",
    "Welcome",
)
COORDINATOR = (
    *(f"coordinator.{when}.{order}" for order in ORDERS for when in ("before", "after")),
    "store.begun",
    "store.applied",
    "store.committed",
    "boot.stored",
    "boot.adopted",
    "boot.published",
    "supervisor.spawned",
    "supervisor.died",
)
WORKER = (
    "worker.born",
    "worker.connected",
    "worker.welcomed",
    "worker.restored",
    "worker.delivered",
    "worker.start_noted",
    "worker.started",
    "worker.permitted",
    "worker.piece",
    "worker.streamed",
    "outbox.torn",
    "outbox.written",
    "worker.reply_noted",
    "worker.replied",
    "worker.racked",
    "worker.trimmed",
    "worker.snapshot_taken",
    "worker.leaving",
)
# In turns that ask before they use a tool.
WORKER_ASKING = (
    "worker.ask_written",
    "worker.asked",
    "worker.ask_noted",
    "worker.intent_noted",
    "worker.tool_ran",
)
POINTS = frozenset(COORDINATOR + WORKER + WORKER_ASKING)
LONGEST_SLEEP_S = 60.0

_FORM = re.compile(
    r"(?P<name>[\w.]+):(?P<action>kill|stop|raise|hang|sleep=(?P<sleep_s>[0-9.]+))(@(?P<passage>[0-9]+))?"
)


class FailpointHit(Exception):
    """A test asked for a failure here."""


@dataclass(slots=True)
class _Armed:
    action: str
    sleep_s: float
    left: int


_armed: dict[str, _Armed] = {}
_once: list[Path] = []


def arm(environment: Mapping[str, str]) -> None:
    """Read what this process is asked for.

    Raises:
        ConfigBad: that is no point, or no action; both are named.
    """
    _armed.clear()
    _once.clear()
    for part in filter(None, environment.get("CC_FAILPOINT", "").split(",")):
        match = _FORM.fullmatch(part)
        if match is None or match["name"] not in POINTS or float(match["sleep_s"] or 0) > LONGEST_SLEEP_S:
            hint = f"Write NAME:kill|stop|raise|hang|sleep=SECONDS[@N]; names are: {', '.join(sorted(POINTS))}."
            raise ConfigBad(f"CC_FAILPOINT: {part!r} is no failpoint.", hint=hint)
        passage = max(1, int(match["passage"] or 1))
        _armed[match["name"]] = _Armed(match["action"], float(match["sleep_s"] or 0), passage)
    folder = environment.get("CC_FAILPOINT_ONCE")
    if folder:
        _once.append(Path(folder))


def is_armed() -> bool:
    """Say whether anything is asked for, so that a name need not be made for nothing."""
    return bool(_armed)


def hit(name: str) -> None:
    """Pass a point.

    Raises:
        FailpointHit: that was asked for.
    """
    armed = _armed.get(name)
    if armed is None:
        return
    armed.left -= 1
    if armed.left or not _is_first(name):
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif armed.action == "raise":
        raise FailpointHit(name)
    elif armed.action == "hang":
        hang_in_a_regular_expression()
    else:
        time.sleep(armed.sleep_s)


def hang_in_a_regular_expression() -> None:
    """Stay here for longer than anybody waits: the expression tries about 2**60 ways to match, all in C."""
    re.match(r"(a+)+$", "a" * 60 + "!")


def _is_first(name: str) -> bool:
    if not _once:
        return True
    try:
        os.close(os.open(_once[0] / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
