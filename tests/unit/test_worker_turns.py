"""What a worker does with prompts, replies and the loss of its coordinator."""

import pytest

from protocol.messages import Asked, AskNoted, Continue, Decision, Deliver, Reply, ToolAsk
from protocol.views import Usage
from workers.core.calls import Resume
from workers.core.turns import Running, Turns


def deliver(seq, text="Hello?"):
    return Deliver(seq=seq, text=text)


def reply(seq, turn_id):
    return Reply(
        session="s", epoch=1, seq=seq, turn_id=turn_id, text="Hello.", stop_reason="completed", usage=Usage(), pieces=1
    )


@pytest.fixture
def turns():
    return Turns()


def test_a_new_prompt_begins_a_turn(turns):
    assert turns.accept(deliver(1), "t1") == turns.running == Running(1, "t1", "Hello?")


def test_a_prompt_that_is_delivered_again_while_it_runs_begins_nothing(turns):
    first = turns.accept(deliver(1), "t1")

    assert turns.accept(deliver(1), "t2") is None
    assert turns.running is first


def test_a_prompt_that_is_delivered_again_after_its_turn_begins_nothing(turns):
    turns.accept(deliver(1), "t1")
    turns.finish(reply(1, "t1"))
    turns.confirm("t1")

    assert turns.accept(deliver(1), "t2") is None
    assert turns.running is None


def test_a_prompt_of_the_past_begins_nothing(turns):
    turns.accept(deliver(5), "t5")
    turns.finish(reply(5, "t5"))

    assert turns.accept(deliver(3), "t3") is None


def test_the_next_prompt_begins_the_next_turn(turns):
    turns.accept(deliver(1), "t1")
    turns.finish(reply(1, "t1"))
    turns.confirm("t1")

    assert turns.accept(deliver(3, "And?"), "t3") == Running(3, "t3", "And?")


def test_a_reply_waits_for_its_confirmation(turns):
    sent = reply(1, "t1")
    turns.accept(deliver(1), "t1")
    turns.finish(sent)

    assert turns.unconfirmed is sent
    assert turns.confirm("t1")
    assert turns.unconfirmed is None


def test_a_confirmation_that_comes_late_leaves_the_start_of_the_next_turn_in_the_outbox(turns):
    turns.accept(deliver(1), "t1")
    turns.finish(reply(1, "t1"))
    turns.accept(deliver(3), "t3")

    assert not turns.confirm("t1")
    assert turns.unconfirmed is None


def test_the_confirmation_of_another_turn_confirms_nothing(turns):
    sent = reply(2, "t2")
    turns.finish(sent)

    assert not turns.confirm("t1")
    assert turns.unconfirmed is sent


def test_a_confirmation_without_a_reply_changes_nothing(turns):
    turns.accept(deliver(1), "t1")

    assert not turns.confirm("t1")
    assert turns.in_hand == (1, "t1", 0)


def test_with_nothing_in_hand_nothing_is_named(turns):
    assert turns.in_hand == (None, None, 0)


def test_hello_names_the_running_turn(turns):
    turns.accept(deliver(3), "t3")

    assert turns.in_hand == (3, "t3", 0)


def test_hello_names_the_turn_whose_reply_is_unconfirmed(turns):
    turns.accept(deliver(3), "t3")
    turns.finish(reply(3, "t3"))

    assert turns.in_hand == (3, "t3", 0)


def test_hello_names_the_running_turn_before_an_unconfirmed_one(turns):
    turns.accept(deliver(3), "t3")
    turns.finish(reply(3, "t3"))
    turns.accept(deliver(5), "t5")

    assert turns.in_hand == (5, "t5", 0)


def test_hello_names_nothing_once_the_reply_is_confirmed(turns):
    turns.accept(deliver(3), "t3")
    turns.finish(reply(3, "t3"))
    turns.confirm("t3")

    assert turns.in_hand == (None, None, 0)


# ---- legs


def asked(leg: int = 0) -> Asked:
    ask = ToolAsk(id="aa11", call="c", kind="approval", tool="run_command", argv=["x"], text="x", digest="d")
    return Asked(
        session="s", epoch=1, seq=3, turn_id="t", leg=leg, asks=[ask], state=b"s", text="said", usage=Usage(), pieces=2
    )


def going_on(leg: int = 1, *, approved: bool = True) -> Continue:
    decision = Decision(call="c", approved=approved, why="no", digest="d")
    return Continue(
        seq=3,
        turn_id="t",
        leg=leg,
        text="hello",
        state=b"s",
        said="said",
        pieces=2,
        usage=Usage(),
        decisions=[decision],
    )


def test_a_turn_goes_on_with_its_state_and_what_was_said_to_its_calls():
    running = Turns().accept(going_on(), "unused")

    assert (running.seq, running.turn_id, running.leg, running.said, running.pieces) == (3, "t", 1, "said", 2)
    assert running.resume == Resume(state=b"s", approved={"c": "d"}, denied={}, answers={"c": "no"})
    assert Turns().accept(going_on(approved=False), "unused").resume.denied == {"c": "no"}


def test_a_leg_is_begun_once_and_no_earlier_one_after_it():
    turns = Turns()
    turns.accept(Deliver(seq=3, text="hello"), "t")

    assert turns.accept(going_on(), "t") is not None
    assert turns.accept(going_on(), "t") is None
    assert turns.accept(Deliver(seq=3, text="hello"), "t") is None


def test_asks_are_kept_until_they_are_noted_as_those_of_their_leg():
    turns = Turns()
    turns.accept(going_on(), "t")
    turns.finish(asked(leg=1))

    assert turns.in_hand == (3, "t", 1)
    assert not turns.confirm_asks(AskNoted(turn_id="t", leg=0))
    assert turns.confirm_asks(AskNoted(turn_id="t", leg=1))
    assert turns.in_hand == (None, None, 0)


def test_a_cancelled_prompt_is_not_begun_when_it_comes_after_all():
    turns = Turns()

    assert turns.refuse(3)
    assert turns.accept(Deliver(seq=3, text="hello"), "t") is None
    assert turns.accept(going_on(), "t") is None
    assert not turns.refuse(3)


def test_a_turn_that_is_over_cannot_be_refused():
    turns = Turns()
    turns.accept(Deliver(seq=3, text="hello"), "t")

    assert not turns.refuse(3)

    turns.finish(
        Reply(session="s", epoch=1, seq=3, turn_id="t", text="", stop_reason="completed", usage=Usage(), pieces=0)
    )

    assert not turns.refuse(3)
