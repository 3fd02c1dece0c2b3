"""After an upgrade: workers of another version of the program finish what they do, and are replaced when they are idle.

They are put to sleep like any idle session, a few at a time, and come back when something wants them; one that is
pinned comes back at once. A worker of an older protocol would misread what it is told, so it is let go when it says
hello; one of a newer protocol is not understood at all, never says hello, and is replaced as one that hangs.
"""

from collections.abc import Iterator

from coordinator.core.effects import Effect, Note
from coordinator.core.lifecycle import Residency, Work
from coordinator.core.residency import dismiss, put_to_sleep
from coordinator.core.world import Session, World
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.version import __version__

# So many are on their way to sleep at once, so that an upgrade is no storm.
AT_ONCE = 4
OTHER_VERSION = "worker of another version"


def on_hello(session: Session, hello: Hello) -> None:
    """A worker says which program it is."""
    session.is_outdated = hello.version not in {"", __version__}
    session.is_renewing = False


def speaks_an_older_protocol(hello: Hello) -> bool:
    """Say whether the worker would misread what it is told."""
    return hello.v < PROTOCOL_VERSION


def let_go(world: World, session: Session, hello: Hello) -> Iterator[Effect]:
    """Replace a worker of an older protocol at once; its turn is lost as in a crash."""
    facts = {"session": session.id, "protocol": hello.v, "wanted": PROTOCOL_VERSION}
    yield Note("worker of an older protocol is let go", facts)
    session.is_renewing = session.is_pinned
    yield from dismiss(world, session)


def on_tick(world: World) -> Iterator[Effect]:
    """Put some to sleep that are idle."""
    if world.is_draining or world.store_fault is not None:
        return
    outdated = [session for session in world.roll.holders if session.is_outdated]
    leaving = sum(session.residency is Residency.HIBERNATING for session in outdated)
    for session in outdated:
        if leaving >= AT_ONCE:
            return
        if _is_idle(world, session):
            leaving += 1
            world.touch(session, OTHER_VERSION)
            session.is_renewing = session.is_pinned
            yield Note("worker of another version is replaced", {"session": session.id, "epoch": session.worker_epoch})
            yield from put_to_sleep(world, session)


def _is_idle(world: World, session: Session) -> bool:
    has_nothing_to_do = session.work is Work.REQUIRES_ACTION or (session.work is Work.IDLE and not session.waiting)
    is_rested = world.ticked_s >= session.rests_until_s
    return session.residency is Residency.LIVE and has_nothing_to_do and is_rested
