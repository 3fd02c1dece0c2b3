"""Prompts, replies and reports of workers. The core alone."""

import pytest

from coordinator.core import events as ev
from coordinator.core.effects import Commit, InsertPrompt, SendClient
from protocol import messages as m
from tests.support.simulated import CLIENT, FIRST, Simulated, state


def test_a_prompt_is_acknowledged_after_its_commit_and_not_before():
    world = Simulated()
    session = world.new("a")
    effects = world.machine.step(
        ev.ClientSpoke(CLIENT, m.Submit(request=50, session=session, idem="k", text="hello", follow=False)), world.now_s
    )

    assert [type(effect.change) for effect in effects if isinstance(effect, Commit)] == [InsertPrompt]
    assert not [effect for effect in effects if isinstance(effect, SendClient)]

    outcome = ev.Outcome(seq=1)
    after = world.machine.step(ev.Committed(effects[0].change, outcome), world.now_s)

    assert after[0] == SendClient(CLIENT, m.Ack(request=50, session=session, seq=1))


def test_a_prompt_that_the_store_does_not_take_is_refused_and_never_delivered():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="hello", follow=False))
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.heard(m.Refused)[-1].code == "store.failed"
    assert not [message for _, message in world.to_workers if isinstance(message, m.Deliver)]


def test_prompts_are_delivered_one_at_a_time_and_the_reply_is_final_after_its_commit():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.submit("a", "two")

    assert [d.seq for _, d in world.to_workers if isinstance(d, m.Deliver)] == [1]

    replies = world.answer(session, 1, "answer")

    assert [type(r) for r in replies] == [m.Rack, m.Deliver]
    final = world.heard(m.Final)[-1]
    assert (final.seq, final.reply_seq, final.stop_reason, final.pieces) == (1, 3, "completed", 1)
    assert [piece.text for piece in world.heard(m.Piece)] == ["answer"]


def test_a_reply_that_comes_twice_is_confirmed_twice_and_stored_once():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")
    again = world.answer(session, 1, "answer", started=False)

    assert again == [m.Rack(turn_id=f"turn-{session}-1")]
    assert len(world.store.messages[session]) == 2


def test_the_same_key_is_the_same_prompt_and_another_text_is_a_conflict():
    world = Simulated()
    session = world.new("a")
    first = world.submit("a", "one", "key")
    world.answer(session, 1, "answer")
    again = world.submit("a", "one", "key")
    other = world.submit("a", "two", "key")

    assert (first.seq, again.seq, again.answered_by) == (1, 1, 2)
    assert other.code == "prompt.conflict"
    assert world.world.sessions[session].turn is None


def test_a_delivery_that_nobody_confirms_is_sent_again_until_it_is_started():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.advance(3)
    sent = [d for _, d in world.to_workers if isinstance(d, m.Deliver)]
    world.report(session, m.Started, seq=1, turn_id="t")
    world.advance(3)

    assert len(sent) >= 2
    assert len([d for _, d in world.to_workers if isinstance(d, m.Deliver)]) == len(sent)


def test_an_answer_that_nobody_sees_is_unread_until_it_is_looked_at():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")

    assert world.ask(m.ListSessions, offset=0, waiting=True, everything=False).sessions[0].display == "unread"
    assert world.ask(m.ListSessions, offset=0, waiting=True, everything=False).sessions  # listing is not viewing

    world.say(m.Fetch(request=500, session="a", after_seq=0, view=True))

    assert world.ask(m.ListSessions, offset=0, waiting=True, everything=False).sessions == []


def test_an_answer_that_somebody_follows_or_looks_at_is_not_unread():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.answer(session, 1, "answer")

    assert not world.world.sessions[session].unread

    world.ask(m.Attach, session="a")
    world.submit("a", "two")
    world.answer(session, 3, "answer")

    assert not world.world.sessions[session].unread

    world.say(m.ClientBye())
    world.say(m.ClientHello(client="cli", pid=1))
    world.submit("a", "three")
    world.answer(session, 5, "answer")

    assert world.world.sessions[session].unread


def test_who_attaches_in_the_middle_of_a_turn_gets_what_was_said_so_far():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    for n, text in enumerate(("so ", "far")):
        world.report(session, m.Delta, seq=1, turn_id="t", n=n, text=text)
    attached = world.ask(m.Attach, session="a")

    assert (attached.turn_id, attached.pieces, attached.text) == ("t", 2, "so far")


@pytest.mark.parametrize(
    "report",
    [
        (m.Started, {"seq": 1, "turn_id": "t"}),
        (m.Started, {"seq": 99, "turn_id": "t"}),
    ],
)
def test_an_update_that_the_lifecycle_does_not_allow_is_refused_and_changes_nothing(report):
    world = Simulated()
    session = world.new("a")
    kind, fields = report
    before = state(world, session)
    refused = world.report(session, kind, **fields)

    assert [r.code for r in refused] == ["state.illegal"]
    assert state(world, session) == before == ("live", "idle")


def test_a_second_turn_for_a_prompt_that_is_being_answered_is_refused():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    refused = world.report(session, m.Started, seq=1, turn_id="another")

    assert [r.code for r in refused] == ["state.illegal"]
    assert world.world.sessions[session].turn.turn_id == "t"


def test_listeners_hear_each_change_of_the_display_word_with_its_cause_and_others_do_not():
    world = Simulated()
    world.say(m.ClientHello(client="tty", pid=2), b"deaf")
    world.ask(m.Listen)
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")
    world.die(session)

    changes = [(c.before, c.after, c.cause) for c in world.heard(m.Changed)]
    assert changes == [
        (None, "starting", "created"),
        ("starting", "idle", "worker said hello"),
        ("idle", "running", "prompt committed"),
        ("running", "unread", "turn ended"),
    ]
    assert [c.seq for c in world.heard(m.Changed)] == [1, 2, 3, 4]
    assert world.heard(m.Changed, b"deaf") == []
