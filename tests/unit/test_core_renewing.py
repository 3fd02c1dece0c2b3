"""After an upgrade: workers of the version before finish what they do, and are replaced; others are left alone."""

from coordinator.core.renewing import AT_ONCE
from protocol import messages as m
from protocol.version import __version__
from tests.support.simulated import Simulated, state


def upgraded(*names: str, **settings: object) -> tuple[Simulated, list[str]]:
    """A world with workers of the version before, after a restart."""
    world = Simulated(**settings)
    sessions = [world.new(name) for name in names]
    world.reboot()
    return world, sessions


def back(world: Simulated, session: str, version: str = "0.0.1", **fields: object) -> list[m.Message]:
    said = world.hello(session, version=version, **fields)
    world.report(session, m.Restored, source="history", exchanges=0)
    return said


def test_an_idle_worker_of_another_version_is_put_to_sleep_and_the_next_prompt_gets_a_new_one():
    world, [a, b] = upgraded("a", "b")
    back(world, a)
    back(world, b, __version__)
    world.advance(2)

    assert (state(world, a), state(world, b)) == (("hibernating", "idle"), ("live", "idle"))
    world.rest(a)
    assert state(world, a) == ("hibernated", "idle")
    world.submit(a, "x")
    world.hello(a, version=__version__)
    world.report(a, m.Restored, source="snapshot", exchanges=0)
    world.answer(a, 1, "y")
    world.advance(3)
    assert state(world, a) == ("live", "idle")


def test_a_turn_that_runs_is_finished_first():
    world, [a] = upgraded("a")
    seq = world.submit(a, "x").seq
    back(world, a, seq=seq, turn_id=f"turn-{a}-{seq}")
    world.advance(3)
    assert state(world, a) == ("live", "running")
    world.answer(a, seq, "y")
    world.advance(2)

    assert state(world, a)[0] == "hibernating"
    assert world.store.messages[a][-1]["text"] == "y"


def test_one_that_is_pinned_comes_back_at_once_and_only_once():
    world, [a] = upgraded("a")
    back(world, a)
    world.say(m.Mark(request=9, session=a, mark="pinned", value=True))
    world.advance(2)
    world.rest(a)
    assert state(world, a)[0] == "waking"
    back(world, a, __version__)
    world.advance(3)

    assert state(world, a) == ("live", "idle")
    world.say(m.Mark(request=10, session=a, mark="pinned", value=False))
    world.say(m.Hibernate(request=11, session=a))
    world.rest(a)
    assert state(world, a)[0] == "hibernated"


def test_input_that_comes_in_between_wins_and_the_worker_is_replaced_after_it():
    world, [a] = upgraded("a")
    back(world, a)
    world.advance(2)
    world.submit(a, "x")
    assert state(world, a)[0] == "live"
    world.answer(a, 1, "y")
    world.advance(2)

    assert state(world, a)[0] == "hibernating"


def test_only_a_few_are_on_their_way_at_once():
    world, sessions = upgraded(*"abcdefg")
    for session in sessions:
        back(world, session)
    world.advance(2)
    leaving = [session for session in sessions if state(world, session)[0] == "hibernating"]

    assert len(leaving) == AT_ONCE
    world.rest(leaving[0])
    world.advance(1)
    assert sum(state(world, session)[0] == "hibernating" for session in sessions) == AT_ONCE


def test_a_worker_of_an_older_protocol_is_let_go_before_it_is_told_anything():
    world, [a, b] = upgraded("a", "b")
    seq = world.submit(b, "x").seq
    told = world.hello(a, v=0)
    also = world.hello(b, v=0, seq=seq, turn_id="t")

    assert told == also == [m.Leave()]
    for session in (a, b):
        world.die(session, world.world.sessions[session].worker_epoch, signal=None, code=0)
    assert state(world, a)[0] == "hibernated"
    assert world.store.messages[b][-1]["stop_reason"] == "interrupted"
