"""Who is hibernated first when a slot or memory is needed, and why: one order, for both and for who asks.

The order is that of ``residency.sleepers_in_order``: sessions that lose nothing by it, the least recently used first.
"""

from coordinator.core.lifecycle import Work
from coordinator.core.pressure import mib
from coordinator.core.residency import sleepers_in_order
from coordinator.core.world import Session, World
from protocol.views import NextToSleep


def next_to_hibernate(world: World) -> list[NextToSleep]:
    """Return who would go, in this order, and why."""
    return [NextToSleep(session=s.id, name=s.name, why=_why(world, s)) for s in sleepers_in_order(world)]


def _why(world: World, session: Session) -> str:
    now_s = world.stepped_s or 0.0
    state = "waits for a person" if session.work is Work.REQUIRES_ACTION else "idle"
    has = session.memory.uss_bytes
    memory = "" if has is None else f", {mib(has)} of its own"
    return f"{state} for {now_s - session.used_s:.0f} s{memory}; nobody works on it, and it is not pinned"
