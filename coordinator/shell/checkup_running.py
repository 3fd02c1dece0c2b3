"""What runs: does the coordinator answer, is it the version that is installed, is its zygote frozen, what was left?"""

import asyncio
import contextlib
import os
from pathlib import Path

from coordinator.shell import trees
from coordinator.shell.finding import Check
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.errors import ChatCoordError
from protocol.mailbox import Mailbox
from protocol.paths import Discovery, Home
from protocol.processes import parent_of
from protocol.version import __version__
from protocol.views import SessionView, Status

ANSWER_S = 2.0
# A zygote that is not ready by then is started again.
START_S = 60.0
# Everything that a worker needs is imported and frozen: some hundred thousand objects. Less is a zygote that is not.
LEAST_FROZEN = 10_000
TITLE = b"chat-coord:"


def status_of(found: Discovery) -> Status | None:
    """Return what the coordinator says of itself; None when it says nothing in time."""
    return report_of(found)[0]


def report_of(found: Discovery) -> tuple[Status | None, list[SessionView]]:
    """Return what the coordinator says of itself, and the first page of its sessions, as far as it says it in time."""
    return asyncio.run(_ask(found.clients))


async def _ask(endpoint: str) -> tuple[Status | None, list[SessionView]]:
    answers: dict[type[m.ToClient], m.ToClient] = {}
    heard = asyncio.Event()
    decoder: Decoder[m.ToClient] = Decoder(m.ToClient)

    def on_frame(frame: bytes) -> None:
        with contextlib.suppress(ChatCoordError):
            message = decoder.decode(frame)
            answers[type(message)] = message
            if {m.StatusAnswer, m.SessionsAnswer} <= set(answers):
                heard.set()

    mailbox = Mailbox(endpoint, on_frame)
    try:
        mailbox.send(encode(m.ClientHello(client="doctor", pid=os.getpid())))
        mailbox.send(encode(m.GetStatus(request=1)))
        mailbox.send(encode(m.ListSessions(request=2, offset=0, waiting=False, everything=True)))
        await asyncio.wait_for(heard.wait(), ANSWER_S)
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ChatCoordError):
            mailbox.send(encode(m.ClientBye()))
        mailbox.close(linger_ms=200)
    status, sessions = answers.get(m.StatusAnswer), answers.get(m.SessionsAnswer)
    return (
        status.status if isinstance(status, m.StatusAnswer) else None,
        sessions.sessions if isinstance(sessions, m.SessionsAnswer) else [],
    )


def coordinator(home: Home, found: Discovery | None, status: Status | None) -> Check:
    """Look whether it answers."""
    if found is None:
        if home.discovery.exists():
            words = "none runs; the last one ended without a goodbye and left coordinator.json"
            return Check("coordinator", False, words, "Run `chat-coord start`, which replaces it.")
        return Check("coordinator", True, "none runs; the next chat starts one")
    if status is not None:
        return Check("coordinator", True, f"runs and answers, pid {found.pid}")
    words = f"pid {found.pid} did not answer within {ANSWER_S:.0f} s"
    return Check("coordinator", False, words, f"See `chat-coord logs`; end it with `kill {found.pid}` and start again.")


def version(status: Status | None) -> Check:
    """Look whether what runs is what is installed."""
    if status is None:
        return Check("version", True, f"{__version__} is installed")
    if status.version != __version__:
        words = f"{__version__} is installed, and the coordinator that runs is {status.version}."
        return Check("version", False, words, "Run `chat-coord restart`.")
    return Check("version", True, f"{__version__} is installed, and runs")


def zygote(status: Status | None) -> Check:
    """Look whether workers are forked from a frozen zygote with one thread."""
    if status is None or status.launcher != "local":
        return Check("zygote", True, "none runs" if status is None else "the launcher has none")
    view = status.zygote
    if view is None and status.uptime_s < START_S:
        return Check("zygote", True, "is being started")
    if view is None:
        words = "It is not ready: it is being started, or died."
        return Check("zygote", False, words, "Look again in some seconds; then see zygote.log in the logs folder.")
    if view.frozen_objects < LEAST_FROZEN or view.threads != 1:
        words = f"pid {view.pid} has {view.frozen_objects} frozen objects and {view.threads} threads."
        return Check(
            "zygote", False, words, "Run `chat-coord restart`, and report it with `chat-coord doctor --bundle`."
        )
    return Check("zygote", True, f"pid {view.pid}, {view.frozen_objects} objects frozen, one thread")


def processes(home: Home) -> Check:
    """Look for what tools of dead workers left running."""
    left = [found for found in trees.look() if _is_left(home, found)]
    if not left:
        return Check("processes", True, "nothing of dead workers runs")
    words = f"Left by workers that are dead: {', '.join(f'{_name(p.pid)} (pid {p.pid})' for p in left)}."
    pids = " ".join(str(p.pid) for p in left)
    return Check("processes", False, words, f"The next start ends most of them; else `kill {pids}`.")


def _is_left(home: Home, found: trees.Found) -> bool:
    session = found.mark.rpartition("-")[0]
    if not session.isalnum() or not any(home.logs.glob(f"{session}.*")):
        return False  # it has no mark, or that of another home
    parent: int | None = found.pid
    while parent is not None and parent > 1:
        if _title(parent).startswith(TITLE):
            return False  # its worker lives, or it is just being ended
        parent = parent_of(parent)
    return True


def _title(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return "?"
