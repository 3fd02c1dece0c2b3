"""Replies on their way: pieces, ends, marks, who is told and what is counted. The core alone."""

import pytest

from coordinator.core import events as ev
from coordinator.core.effects import Commit, InsertReply, Note, SaveStarted
from protocol import messages as m
from protocol.views import ErrorView
from tests.support.simulated import CLIENT, FIRST, Simulated, live, state


def submit(world: Simulated, text: str, *, follow: bool = False, peer: bytes = CLIENT) -> None:
    world.say(m.Submit(request=900, session="a", idem=text, text=text, follow=follow), peer)


def texts(world: Simulated, peer: bytes = CLIENT) -> list[str]:
    return [piece.text for piece in world.heard(m.Piece, peer)]


def delivered(world: Simulated) -> list[int]:
    return [message.seq for _, message in world.to_workers if isinstance(message, m.Deliver)]


def test_pieces_and_the_end_go_to_those_who_look_and_to_nobody_else():
    world = Simulated()
    for peer in (b"looks", b"does not"):
        world.say(m.ClientHello(client="tty", pid=2), peer)
    session = world.new("a")
    world.ask(m.Attach, b"looks", session="a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")

    assert [len(world.heard(kind, b"looks")) for kind in (m.Piece, m.Final)] == [1, 1]
    assert [len(world.heard(kind, b"does not")) for kind in (m.Piece, m.Final)] == [0, 0]


def test_who_follows_a_prompt_hears_its_end_and_no_later_one():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.answer(session, 1, "first")
    world.submit("a", "two")
    world.answer(session, 3, "second")

    assert texts(world) == ["first"]


def test_who_follows_the_second_prompt_hears_of_that_one_alone():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.submit("a", "two", follow=True)
    world.answer(session, 1, "first")
    world.answer(session, 2, "second")

    assert [final.seq for final in world.heard(m.Final)] == [2]
    assert texts(world) == ["second"]


def test_who_asks_again_for_a_prompt_that_is_answered_follows_nothing():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", "key")
    world.answer(session, 1, "answer")
    world.submit("a", "one", "key", follow=True)

    assert not world.world.peers[CLIENT].follows


def test_who_asks_again_for_a_prompt_that_is_not_answered_follows_it():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", "key")
    again = world.submit("a", "one", "key", follow=True)
    world.answer(session, 1, "answer")

    assert again.answered_by is None
    assert [final.seq for final in world.heard(m.Final)] == [1]


def test_a_client_that_left_before_the_commit_is_not_missed():
    world = live()
    submit(world, "one")
    world.settle()
    world.answer(FIRST, 1, "answer")
    world.settle()
    submit(world, "one", follow=True)
    world.say(m.ClientBye())
    world.settle()

    assert world.heard(m.Ack)[-1].answered_by == 2


def test_pieces_of_another_turn_or_of_none_are_dropped():
    world = Simulated()
    session = world.new("a")
    world.report(session, m.Delta, seq=1, turn_id="t", n=0, text="early")
    world.submit("a", "one", follow=True)
    world.report(session, m.Started, seq=1, turn_id="t")
    world.report(session, m.Delta, seq=1, turn_id="another", n=0, text="wrong")
    world.report(session, m.Delta, seq=1, turn_id="t", n=0, text="right")

    assert texts(world) == ["right"]


def test_pieces_that_come_after_the_reply_are_dropped():
    world = live()
    submit(world, "one", follow=True)
    world.settle()
    world.answer(FIRST, 1, "answer")  # its commit is under way
    world.report(FIRST, m.Delta, seq=1, turn_id=f"turn-{FIRST}-1", n=1, text="late")

    assert texts(world) == ["answer"]


def test_what_was_said_is_kept_up_to_the_size_that_is_set():
    world = Simulated(buffer_size_bytes=1_024)
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    for n, size in enumerate((1_000, 24, 1)):
        world.report(session, m.Delta, seq=1, turn_id="t", n=n, text="x" * size)
    attached = world.ask(m.Attach, session="a")

    assert (len(attached.text), attached.pieces, attached.dropped) == (1_024, 3, 1)


def test_of_a_long_reply_that_runs_the_end_is_told_and_how_much_is_missing():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    for n in range(40):
        world.report(session, m.Delta, seq=1, turn_id="t", n=n, text=f"{n % 10}" * 20_000)
    attached = world.ask(m.Attach, session="a")

    assert attached.text.endswith("9" * 20_000)
    assert attached.dropped == 800_000 - len(attached.text) > 0


def test_a_start_is_saved_and_the_turn_goes_on():
    world = live()
    submit(world, "one")
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id="t")

    assert list(world.pending) == [SaveStarted(FIRST, 1, "t")]

    world.settle()

    assert world.store.messages[FIRST][0]["turn_id"] == "t"
    assert state(world, FIRST) == ("live", "running")


def test_a_start_that_is_reported_twice_is_the_same_turn():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    first = world.report(session, m.Started, seq=1, turn_id="t")
    again = world.report(session, m.Started, seq=1, turn_id="t")

    assert (first, again) == ([], [])


def test_a_start_after_the_end_or_for_another_prompt_is_refused():
    world = live()
    submit(world, "one")
    world.settle()
    other = world.report(FIRST, m.Started, seq=2, turn_id=f"turn-{FIRST}-1")
    world.answer(FIRST, 1, "answer", started=False)
    late = world.report(FIRST, m.Started, seq=1, turn_id=f"turn-{FIRST}-1")

    assert [r.code for r in other + late] == ["state.illegal"] * 2


def test_a_reply_that_comes_again_while_it_is_being_committed_is_stored_once_and_confirmed_after():
    world = live()
    submit(world, "one")
    world.settle()
    first = world.answer(FIRST, 1, "answer")
    again = world.answer(FIRST, 1, "answer", started=False)
    replies = [change for change in world.pending if isinstance(change, InsertReply)]

    assert (first, again, len(replies)) == ([], [], 1)


def test_a_reply_to_another_prompt_than_the_running_one_is_confirmed_and_ends_nothing():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "first")
    world.submit("a", "two")
    late = world.answer(session, 1, "first", started=False)

    assert [type(answer) for answer in late] == [m.Rack]
    assert world.world.sessions[session].turn.seq == 3


def test_the_reply_tells_its_turn_and_its_pieces_even_when_its_start_was_lost():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.answer(session, 1, "answer", started=False)
    final = world.heard(m.Final)[-1]

    assert (final.turn_id, final.pieces, final.queued_ms, final.first_piece_ms) == (f"turn-{session}-1", 1, None, None)


def test_times_count_from_the_commit_of_the_prompt():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    turn = f"turn-{session}-1"
    for later_s, kind, fields in (
        (0.5, m.Started, {}),
        (0.25, m.Delta, {"n": 0, "text": "so "}),
        (0.25, m.Delta, {"n": 1, "text": "far"}),
    ):
        world.now_s += later_s
        world.report(session, kind, seq=1, turn_id=turn, **fields)
    world.now_s += 0.25
    world.answer(session, 1, "so far", started=False)
    final = world.heard(m.Final)[-1]

    assert (final.queued_ms, final.first_piece_ms, final.duration_ms) == (500, 750, 1_250)


def test_a_turn_that_takes_no_time_takes_zero():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.answer(session, 1, "answer")

    assert world.heard(m.Final)[-1].duration_ms == 0


def test_messages_tokens_and_the_last_use_are_counted():
    world = Simulated()
    session = world.new("a")
    world.now_s += 5
    world.submit("a", "one")
    world.now_s += 5
    world.answer(session, 1, "answer")
    view = world.ask(m.GetSession, session="a").session

    assert (view.messages, view.tokens) == (2, 3)
    assert view.last_active_at == view.created_at + 10
    assert view.waiting_since == view.last_active_at


def test_an_answer_that_is_seen_as_it_comes_makes_nobody_wait():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.answer(session, 1, "answer")

    assert world.ask(m.GetSession, session="a").session.waiting_since is None


def test_the_next_prompt_makes_the_last_answer_seen():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")
    world.submit("a", "two")
    view = world.ask(m.GetSession, session="a").session

    assert (view.unread, view.waiting_since) == (False, None)


@pytest.mark.parametrize("error", [None, ErrorView(code="model.unavailable", message="It is gone.")])
def test_the_end_of_a_turn_is_noted_with_its_error(error: ErrorView | None):
    world = live()
    submit(world, "one")
    world.settle()
    world.report(
        FIRST, m.Reply, seq=1, turn_id="t", text="", stop_reason="failed", usage=m.Usage(), pieces=0, error=error
    )
    change = world.pending.popleft()
    effects = world.machine.step(ev.Committed(change, world.store.apply(change)), world.now_s)
    (note,) = [effect for effect in effects if isinstance(effect, Note)]

    assert (note.facts["seq"], note.facts["turn"], note.facts["stop_reason"]) == (1, "t", "failed")
    assert note.facts["error"] == (error.code if error else None)


def test_a_delivery_is_sent_again_once_a_second_and_not_before():
    world = Simulated()
    world.new("a")
    world.submit("a", "one")
    world.now_s += 1
    world.step(ev.Ticked(0))
    early = delivered(world)
    for _ in range(3):
        world.now_s += 0.6
        world.step(ev.Ticked(0))

    assert (early, delivered(world)) == ([1], [1, 1, 1])


def test_nothing_is_delivered_again_to_a_worker_that_is_gone():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    world.die(session)
    world.advance(3)

    assert delivered(world) == [1]


def test_a_crash_while_the_reply_is_being_committed_loses_nothing_and_interrupts_nothing():
    world = live()
    submit(world, "one", follow=True)
    world.settle()
    world.answer(FIRST, 1, "answer")
    world.die(FIRST)
    world.settle()

    assert [row["stop_reason"] for row in world.store.messages[FIRST] if "reply_to" in row] == ["completed"]
    assert world.heard(m.Final)[-1].stop_reason == "completed"


def test_a_close_while_the_reply_is_being_committed_cancels_only_what_waits():
    world = live()
    submit(world, "one")
    submit(world, "two")
    world.settle()
    world.answer(FIRST, 1, "answer")
    world.say(m.Close(request=9, session="a"))
    ends = [(change.reply_to, change.stop_reason) for change in world.pending if isinstance(change, InsertReply)]

    assert ends == [(1, "completed"), (2, "cancelled")]


def test_a_prompt_that_is_committed_after_the_close_is_cancelled():
    world = live()
    submit(world, "one", follow=True)
    world.say(m.Close(request=9, session="a"))
    world.settle()

    assert world.store.messages[FIRST][-1]["stop_reason"] == "cancelled"
    assert world.heard(m.Final)[-1].seq == 1


def test_a_mark_names_the_turn_that_it_ends_and_one_that_never_began_gets_a_name():
    world = live()
    submit(world, "one")
    submit(world, "two")
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id="t")
    world.settle()
    world.say(m.Close(request=9, session="a"))
    world.die(FIRST)
    marks = [change.turn_id for change in world.pending if isinstance(change, InsertReply)]

    assert marks == ["cancelled-1-2", "t"]


def test_a_prompt_that_conflicts_changes_nothing():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", "key")
    world.answer(session, 1, "answer")
    world.submit("a", "two", "key")
    found = world.world.sessions[session]

    assert (found.messages, found.unread, len(world.heard(m.Ack))) == (2, True, 1)


def test_prompts_wait_for_a_worker_that_is_being_started():
    world = live()
    world.die(FIRST)
    world.settle()
    for text in ("one", "two"):
        submit(world, text)
    world.settle()

    assert delivered(world) == []
    assert [effect for effect in world.machine.step(ev.Ticked(0), world.now_s) if isinstance(effect, Commit)] == []

    world.hello(FIRST)

    assert delivered(world) == [1]
