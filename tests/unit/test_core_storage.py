"""A store that takes no changes: what is refused, what goes on, what waits, and that everything goes on by itself."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from tests.support.simulated import CLIENT, FIRST, Simulated, live, state

FULL = ev.StoreTurned("no room is left for the store", "Make room.")


def fail_all(world: Simulated) -> None:
    """Answer everything that is to be committed as a store does that is read-only."""
    for change in [p for p in world.pending if isinstance(p, e.Change)]:
        world.pending.remove(change)
        world.step(ev.CommitFailed(change, "full"))


def read_only(**settings: object) -> Simulated:
    world = live(**settings)
    world.step(FULL)
    return world


@pytest.mark.parametrize(
    "order",
    [
        m.Submit(request=9, session="a", idem="k", text="one", follow=False),
        m.Create(request=9, id="00000000000000ff", name="b", type="debug", model=None, system=None, cwd="/", env={}),
        m.Rename(request=9, session="a", name="c"),
        m.Close(request=9, session="a"),
        m.Retry(request=9, session="a", idem="k", follow=False),
        m.HandOver(request=9),
    ],
    ids=lambda order: type(order).__name__,
)
def test_what_would_have_to_become_durable_is_refused_with_the_cause_and_what_helps(order):
    world = read_only()
    (refused,) = world.say(order)

    assert (refused.request, refused.code) == (9, "store.readonly")
    assert "no room is left for the store" in refused.message
    assert refused.hint == "Make room."
    assert not world.left
    assert not world.pending
    assert state(world, FIRST) == ("live", "idle")
    assert [s.name for s in world.world.sessions.values()] == ["a"]


def test_a_prompt_that_fails_with_the_store_is_refused_with_the_stores_reason():
    world = live()
    world.say(m.Submit(request=9, session="a", idem="k", text="one", follow=False))
    world.step(FULL)
    fail_all(world)

    assert [r.code for r in world.heard(m.Refused)] == ["store.readonly"]
    assert world.heard(m.Ack) == []


def test_reads_and_the_stream_of_a_running_turn_go_on():
    world = live()
    world.say(m.Submit(request=9, session="a", idem="k", text="one", follow=True))
    world.settle()
    world.step(FULL)
    world.report(FIRST, m.Started, seq=1, turn_id="t")
    fail_all(world)
    world.report(FIRST, m.Delta, seq=1, turn_id="t", n=0, text="hello")

    assert [p.text for p in world.heard(m.Piece)] == ["hello"]
    assert [s.name for s in world.ask(m.ListSessions, offset=0, waiting=False, everything=False).sessions] == ["a"]
    fetch = m.Fetch(request=10, session="a", after_seq=0, view=False)
    orders = world.machine.step(ev.ClientSpoke(CLIENT, fetch), world.now_s)
    assert [o for o in orders if isinstance(o, e.SendHistory)]


def test_a_finished_reply_waits_unconfirmed_and_is_committed_once_when_the_store_is_back():
    world = live()
    world.say(m.Submit(request=9, session="a", idem="k", text="one", follow=True))
    world.settle()
    world.step(FULL)
    world.answer(FIRST, 1, "the answer")
    for _ in range(5):
        fail_all(world)
        world.answer(FIRST, 1, "the answer", started=False)  # the worker asks again
        world.step(ev.Ticked(1.0))
    fail_all(world)

    assert world.heard(m.Final) == []
    assert not any(isinstance(message, m.Rack) for _, message in world.to_workers)

    world.step(ev.StoreTurned(None))
    world.settle()

    assert [row["text"] for row in world.store.messages[FIRST]] == ["one", "the answer"]
    assert [f.reply_seq for f in world.heard(m.Final)] == [2]
    assert [message.turn_id for _, message in world.to_workers if isinstance(message, m.Rack)] == [f"turn-{FIRST}-1"]


def test_no_turn_begins_whose_reply_could_not_be_kept_and_it_begins_when_the_store_is_back():
    world = live()
    for key in ("k1", "k2"):
        world.say(m.Submit(request=9, session="a", idem=key, text=key, follow=False))
    world.settle()
    world.answer(FIRST, 1, "first")
    reply = next(p for p in world.pending if isinstance(p, e.InsertReply))
    world.pending.clear()
    world.step(FULL)
    world.step(ev.Committed(reply, world.store.apply(reply)))

    assert [d.seq for _, d in world.to_workers if isinstance(d, m.Deliver)] == [1]

    world.step(ev.StoreTurned(None))

    assert [d.seq for _, d in world.to_workers if isinstance(d, m.Deliver)] == [1, 2]


def test_a_session_that_should_wake_waits_for_the_store_and_wakes_when_it_is_back():
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.step_one()
    world.step(FULL)
    for _ in range(30):
        fail_all(world)
        world.step(ev.Ticked(1.0))
    fail_all(world)

    assert state(world, FIRST)[0] == "waking"
    assert world.world.sessions[FIRST].exit_card.restarts == 0

    world.step(ev.StoreTurned(None))
    world.settle()
    world.hello(FIRST)

    assert state(world, FIRST) == ("live", "running")


def test_listeners_hear_when_the_store_turns_and_late_ones_how_it_is():
    world = live()
    world.say(m.Listen(request=1))
    world.step(FULL)
    world.say(m.ClientHello(client="late", pid=2), b"late")
    world.say(m.Listen(request=1), b"late")
    world.step(ev.StoreTurned(None))
    heard = [(s.writable, s.reason, s.hint) for s in world.heard(m.StoreState)]

    assert heard == [(False, FULL.reason, FULL.hint), (True, None, "")]
    assert [s.writable for s in world.heard(m.StoreState, b"late")] == [False, True]


def test_a_backup_is_ordered_also_while_the_store_is_read_only():
    world = read_only()
    orders = world.machine.step(ev.ClientSpoke(CLIENT, m.Backup(request=4, path="/b.db")), world.now_s)

    assert orders == [e.MakeBackup(CLIENT, 4, "/b.db")]
