"""The faults that the simulation must catch, each a small patch: without them its silence would mean nothing."""

import types
from collections.abc import Callable, Iterator

import msgspec
import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core import first_words, prompts, requests, turns, workers
from coordinator.core.machine import Machine
from coordinator.core.permits import Governor
from coordinator.core.world import Session, World
from protocol import messages as m
from tests.simulation.disk import Disk
from tests.simulation.workers import Worker
from workers.core.turns import Running, Turns

Patch = pytest.MonkeyPatch


def acknowledge_before_commit(patch: Patch) -> None:
    """The ACK leaves when the prompt arrives, with the seq that it will probably get."""

    def submit(world: World, peer: bytes, order: m.Submit, now_s: float) -> Iterator[e.Effect]:
        for effect in prompts.submit(world, peer, order, now_s):
            session = world.sessions[effect.change.session]
            yield e.SendClient(peer, m.Ack(request=order.request, session=session.id, seq=session.messages + 1))
            yield effect

    patch.setitem(requests._HANDLERS, m.Submit, submit)


def no_deduplication_of_deliveries(patch: Patch) -> None:
    """A worker begins a turn for every copy of a delivery."""

    def accept(self: Turns, deliver: m.Deliver, turn_id: str) -> Running:
        self.running = Running(deliver.seq, turn_id, deliver.text)
        return self.running

    patch.setattr(Turns, "accept", accept)


def no_deduplication_of_prompts(patch: Patch) -> None:
    """A prompt that a client sends again is another prompt."""

    def insert(self: Disk, change: e.InsertPrompt) -> ev.Outcome:
        return self._new_prompt(self.sessions[change.session], change.idem, change.text)

    patch.setattr(Disk, "_insert_prompt", insert)


def no_fence(patch: Patch) -> None:
    """Whatever epoch and token a worker names, it is taken for the one of today."""
    strict = Machine._on_worker

    def on_worker(self: Machine, event: ev.WorkerSpoke, now_s: float) -> Iterator[e.Effect]:
        session = self.world.sessions.get(event.message.session)
        if session is None:
            return
        message = msgspec.structs.replace(event.message, epoch=session.epoch)
        peer = event.peer
        if isinstance(message, m.Hello):
            message = msgspec.structs.replace(message, pid=session.pid or message.pid)
        elif session.peer is not None:
            peer = session.peer
        yield from strict(self, ev.WorkerSpoke(peer, message), now_s)

    patch.setattr(Machine, "_on_worker", on_worker)
    patch.setattr(workers, "hmac", types.SimpleNamespace(compare_digest=lambda *_: True))


def no_resend_of_deliveries(patch: Patch) -> None:
    """The coordinator sends a delivery once."""
    patch.setattr(turns, "redeliver", lambda *_: iter(()))


def no_resend_of_replies(patch: Patch) -> None:
    """A worker sends a reply once."""

    def hand_over(self: Worker, reply: m.Reply) -> None:
        self._send(reply)

    patch.setattr(Worker, "_hand_over", hand_over)


def permits_forgotten_at_boot(patch: Patch) -> None:
    """A new coordinator takes it that nobody holds a permit."""
    patch.setattr(Governor, "adopt", lambda *_: None)


def permits_that_expire(patch: Patch) -> None:
    """The permit of a worker that falls silent is given to another one while it lives."""
    strict = workers.check_heartbeats

    def check_heartbeats(world: World, now_s: float) -> Iterator[e.Effect]:
        for session in world.roll.holders:
            if now_s - session.heard_s > 3:
                world.governor.bury(session.id)
        yield from strict(world, now_s)

    patch.setattr(workers, "check_heartbeats", check_heartbeats)


def names_over_a_persons(patch: Patch) -> None:
    """A prompt names its session, whoever named it before."""
    strict = first_words.heed

    def heed(world: World, session: Session, text: str) -> Iterator[e.Effect]:
        session.is_named = False
        yield from strict(world, session, text)

    patch.setattr(first_words, "heed", heed)


MUTANTS: tuple[Callable[[Patch], None], ...] = (
    acknowledge_before_commit,
    no_deduplication_of_deliveries,
    no_deduplication_of_prompts,
    no_fence,
    no_resend_of_deliveries,
    no_resend_of_replies,
    permits_forgotten_at_boot,
    permits_that_expire,
    names_over_a_persons,
)
