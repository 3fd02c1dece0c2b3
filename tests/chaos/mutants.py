"""The product with one rule broken, to show that the chaos run would notice: ``python -P -m`` is replaced by this file.

A mutant is a patch made before the coordinator begins; multiprocessing imports this file in the zygote too, so workers
are broken in the same way.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
VARIABLE = "PYTHON_CHAT_COORD_MUTANT"  # a name that the coordinator leaves in its children's environment


def acknowledge_before_commit() -> None:
    """What a change brings is told while its transaction is still open."""
    from coordinator.core.events import CommitFailed, Committed
    from coordinator.shell.store import Store

    original_commit, original_apply = Store._commit, Store._apply

    def commit(self: Store, db: object, group: list, **more: object) -> None:
        post = self._post

        def apply(db: object, change: object) -> object:
            event = original_apply(self, db, change)
            post(event)
            time.sleep(0.03)
            return event

        self._apply = apply
        self._post = lambda event: None if isinstance(event, Committed | CommitFailed) else post(event)
        try:
            original_commit(self, db, group, **more)
        finally:
            del self._apply
            self._post = post

    Store._commit = commit


def no_deduplication() -> None:
    """A prompt that comes again under its key is a prompt again."""
    from coordinator.core import effects as e
    from coordinator.shell import records

    def insert(change: e.InsertPrompt, db: object) -> object:
        return records._insert_prompt(db, change, change.text)

    records.apply.register(e.InsertPrompt, insert)
    from coordinator.shell import schema

    schema.SCHEMA = schema.SCHEMA.replace("CREATE UNIQUE INDEX idems", "CREATE INDEX idems")


def no_fence() -> None:
    """A worker of any epoch is let in as soon as there may be one, and heard."""
    import hmac

    import msgspec

    from coordinator.core import machine
    from protocol import messages as m

    hmac.compare_digest = lambda *digests: len(digests) == 2

    def step(self: object, event: object, now_s: float, original: object = machine.Machine.step) -> object:
        message = getattr(event, "message", None)
        session = self.world.sessions.get(getattr(message, "session", ""))
        if session is not None and isinstance(message, m.WorkerSays) and hasattr(message, "epoch"):
            if isinstance(message, m.Hello):
                if not session.has_process:
                    return []  # it says hello again: now it would be refused, as a session that sleeps has no worker
                session.pid = None
            event = type(event)(event.peer, msgspec.structs.replace(message, epoch=session.epoch))
        return original(self, event, now_s)

    machine.Machine.step = step


def no_resend() -> None:
    """A reply is sent once."""
    from workers.shell import loop

    def hand_over(self: object, reply: object) -> None:
        if self._turns.unconfirmed is reply:
            self._send(reply)

    def on_welcome(self: object, welcome: object, original: object = loop.Worker._on_welcome) -> None:
        kept, self._turns.unconfirmed = self._turns.unconfirmed, None
        original(self, welcome)
        self._turns.unconfirmed = kept

    loop.Worker._hand_over = hand_over
    loop.Worker._on_welcome = on_welcome


@dataclass(frozen=True)
class Mutant:
    """A patch, where each coordinator (or the first one) is killed, and the fault that must be found."""

    patch: Callable[[], None]
    failpoint: str
    fault: str
    is_once: bool = False


MUTANTS = {
    "acknowledge-before-commit": Mutant(acknowledge_before_commit, "store.applied:kill@9", "PROMPTS LOST"),
    "no-deduplication": Mutant(no_deduplication, "store.committed:kill@9", "PROMPTS TWICE"),
    "no-fence": Mutant(no_fence, "supervisor.spawned:kill", "TWO WORKERS OF A SESSION", is_once=True),
    "no-resend": Mutant(no_resend, "coordinator.before.InsertReply:kill", "UNANSWERED", is_once=True),
}


def command_of(mutant: str) -> tuple[str, ...]:
    """Return what starts a broken coordinator."""
    return (sys.executable, "-P", str(Path(__file__)), mutant)


def break_it(name: str) -> None:
    sys.path.insert(0, str(ROOT))
    MUTANTS[name].patch()


if __name__ == "__main__":
    name = sys.argv.pop(1)
    os.environ[VARIABLE] = name
    break_it(name)
    from coordinator.__main__ import main

    raise SystemExit(main())
elif __name__ == "__mp_main__":  # the zygote, which multiprocessing starts with this file as its main module
    break_it(os.environ[VARIABLE])
