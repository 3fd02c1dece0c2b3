"""A turn stops to ask: stored first, answered once, gone on with in whatever worker. The core alone."""

import pytest

from coordinator.core import events as ev
from coordinator.core.effects import InsertAsks, SaveDecision
from protocol import messages as m
from protocol.errors import IllegalTransition
from tests.support.simulated import CLIENT, FIRST, Simulated, asked, live, state

OTHER = b"other"


def asking(*ids: str, **settings: object) -> tuple[Simulated, str]:
    """A world whose session a has stopped to ask."""
    world = Simulated(**settings)
    session = world.new("a")
    world.submit("a", "do it", follow=True)
    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1")
    world.ask_for(session, 1, *(ids or ("aa11",)), text="Let me see.")
    return world, session


def refusal(answers: list) -> str:
    return next(a.code for a in answers if isinstance(a, m.Refused))


# ---- asked


def test_a_worker_may_forget_what_it_asks_when_that_is_stored_and_not_before():
    world = live()
    world.submit_one = world.say(m.Submit(request=9, session="a", idem="k", text="do it", follow=False))
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id=f"turn-{FIRST}-1")
    before = world.report(FIRST, m.Asked, **asked(FIRST, 1, "aa11"))

    assert [type(answer) for answer in before] == []
    assert isinstance(world.pending[-1], InsertAsks)

    world.settle()
    noted = [message for _, message in world.to_workers if isinstance(message, m.AskNoted)]

    assert noted == [m.AskNoted(turn_id=f"turn-{FIRST}-1", leg=0)]


def test_a_session_that_asks_requires_action_and_shows_what_it_asks():
    world, _session = asking()
    view = world.ask(m.GetSession, session="a").session
    page = world.ask(m.ListAsks)

    assert (view.work, view.display, view.waiting_since) == ("requires_action", "requires_action", view.ask.since)
    assert view.ask.argv == ["/bin/sh", "-c", "echo aa11"]
    assert page.asks == [view.ask]
    assert [told.ask for told in world.heard(m.Asking)] == [view.ask]
    assert [s.name for s in world.ask(m.ListSessions, offset=0, waiting=True, everything=False).sessions] == ["a"]


def test_an_ask_that_comes_twice_is_confirmed_twice_and_stored_once():
    world, session = asking()
    answers = world.ask_for(session, 1, "aa11")

    assert [type(answer) for answer in answers] == [m.AskNoted]
    assert len(world.ask(m.ListAsks).asks) == 1


def test_a_prompt_behind_an_ask_waits():
    world, _session = asking()
    world.submit("a", "next")

    assert [d.seq for _, d in world.to_workers if isinstance(d, m.Deliver)] == [1]


def test_a_worker_cannot_go_on_without_an_answer():
    world, session = asking()
    answers = world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1", leg=1)

    assert answers[0].code == IllegalTransition.code
    assert state(world, session) == ("live", "requires_action")


# ---- answered


def test_the_answer_is_told_after_its_commit_and_the_turn_goes_on():
    world, session = asking()
    answers = world.decide("aa11")

    assert answers[0] == m.Decided(
        request=answers[0].request, ask="aa11", session=session, tool="run_command", approved=True
    )
    assert [(c.session, c.seq, c.leg) for c in world.continued] == [(session, 1, 1)]
    assert state(world, session) == ("live", "running")
    assert world.ask(m.ListAsks).asks == []


def test_it_goes_on_when_all_asks_of_the_leg_are_answered():
    world, _ = asking("aa11", "bb22")
    world.decide("aa11")

    assert world.continued == []

    world.decide("bb22", approve=False)

    assert len(world.continued) == 1


def test_of_two_answers_the_first_counts_while_it_is_being_committed():
    world = live()
    world.say(m.Submit(request=9, session="a", idem="k", text="do it", follow=False))
    world.settle()
    world.report(FIRST, m.Asked, **asked(FIRST, 1, "aa11"))
    world.settle()
    world.say(m.ClientHello(client="other", pid=2), OTHER)
    world.decide("aa11")
    late = world.decide("aa11", approve=False, peer=OTHER)

    assert refusal(late) == "ask.resolved"

    world.settle()

    assert world.store.asks["aa11"].approved
    assert [type(answer) for to, answer in world.to_clients if to == CLIENT][-1] is m.Decided


def test_who_looks_on_is_told_who_answered():
    world, session = asking()
    world.say(m.ClientHello(client="other", pid=2), OTHER)
    world.ask(m.Listen, OTHER)
    world.decide("aa11", approve=False)

    told = world.heard(m.AskResolved, OTHER)[-1]
    assert (told.session, told.ask, told.outcome, told.by) == (session, "aa11", "denied", "cli (pid 1)")
    assert world.heard(m.AskResolved) == []


def test_a_later_answer_and_a_resend_are_looked_up_in_the_store():
    world, _ = asking()
    world.decide("aa11", idem="mine")
    world.decide("aa11", idem="other")

    assert [(fate.ask, fate.idem) for fate in world.fates] == [("aa11", "other")]


def test_the_beginning_of_an_id_is_enough_when_it_is_one_ask():
    world, _ = asking("aa11", "aa22")

    assert refusal(world.decide("aa")) == "ask.ambiguous"
    assert isinstance(world.decide("aa1")[0], m.Decided)


def test_an_answer_that_the_store_does_not_take_leaves_the_ask_open():
    world = live()
    world.say(m.Submit(request=9, session="a", idem="k", text="do it", follow=False))
    world.settle()
    world.report(FIRST, m.Asked, **asked(FIRST, 1, "aa11"))
    world.settle()
    world.decide("aa11")
    change = world.pending.pop()
    assert isinstance(change, SaveDecision)
    world.step(ev.CommitFailed(change, "disk full"))

    assert world.heard(m.Refused)[-1].code == "store.failed"

    world.decide("aa11")
    world.settle()

    assert len(world.continued) == 1


def test_it_is_sent_again_until_the_worker_begins_the_leg():
    world, session = asking()
    world.decide("aa11")
    world.advance(3)

    assert len(world.continued) >= 2

    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1", leg=1)
    count = len(world.continued)
    world.advance(3)

    assert len(world.continued) == count


def test_a_start_of_the_leg_before_that_comes_late_changes_nothing():
    world, session = asking()
    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1")

    assert state(world, session) == ("live", "requires_action")


# ---- nobody answers


def test_an_ask_that_nobody_answers_in_time_is_denied():
    world, session = asking(ask_expire_s=30)
    world.advance(20)
    world.step(ev.Ticked(1_900_000_000.0))  # a clock that is set is no time that passes

    assert world.store.asks["aa11"] is None

    world.advance(20)

    assert (world.store.asks["aa11"].approved, world.store.asks["aa11"].by) == (False, "ask_expire_s")
    assert world.world.sessions[session].work.value == "running"


def test_by_default_an_ask_waits_for_ever():
    world, session = asking(idle_hibernate_s=0)
    for _ in range(30):
        world.now_s += 86_400
        world.step(ev.Ticked(1_700_000_000.0 + world.now_s))
        world.hello(session)

    assert world.store.asks["aa11"] is None


# ---- processes die


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_worker_that_ends_while_its_session_asks_leaves_it_hibernated_with_the_ask(is_killed):
    world, session = asking()
    world.die(session, signal="SIGKILL" if is_killed else None, code=None if is_killed else 0)

    assert state(world, session) == ("hibernated", "requires_action")
    assert [ask.id for ask in world.ask(m.ListAsks).asks] == ["aa11"]

    world.decide("aa11")

    assert state(world, session) == ("waking", "running")

    world.hello(session)

    assert [c.leg for c in world.continued] == [1]


def test_an_ask_outlives_the_coordinator():
    world, session = asking("aa11", "bb22")
    world.decide("bb22", approve=False)
    world.die(session)
    world.reboot()

    assert state(world, session) == ("hibernated", "requires_action")
    assert [ask.id for ask in world.ask(m.ListAsks).asks] == ["aa11"]

    world.decide("aa11")
    world.hello(session)

    assert [(c.seq, c.leg) for c in world.continued] == [(1, 1)]


def test_a_turn_that_was_answered_goes_on_after_a_restart_by_itself():
    world, session = asking()
    world.die(session)
    world.decide("aa11")
    world.processes.clear()
    world.reboot()

    assert state(world, session) == ("waking", "running")


def test_a_worker_that_had_gone_on_is_not_sent_it_again_by_the_next_coordinator():
    world, session = asking()
    world.decide("aa11")
    world.continued.clear()
    world.reboot()
    world.hello(session, seq=1, turn_id=f"turn-{session}-1", leg=1)
    world.advance(3)

    assert world.continued == []
    assert state(world, session) == ("live", "running")


def test_a_leg_that_had_begun_and_whose_worker_died_is_interrupted_even_if_resume_is_configured():
    world, session = asking(on_interrupt="resume")
    world.decide("aa11")
    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1", leg=1)
    intent = m.ToolIntent(
        session=session, epoch=1, seq=1, turn_id=f"turn-{session}-1", call="c", tool="run_command", text="make"
    )
    started = m.Started(session=session, epoch=1, seq=1, turn_id=f"turn-{session}-1", leg=1)
    world.die(session, outbox=(started, intent))
    final = world.heard(m.Final)[-1]

    assert final.stop_reason == "interrupted"
    assert final.error.message.endswith("nobody knows what it did: run_command: make.")


def test_a_tool_that_ran_to_its_end_is_not_said_to_be_unfinished():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "do it", follow=True)
    own = {"session": session, "epoch": 1, "seq": 1, "turn_id": "t", "call": "c"}
    world.die(
        session,
        outbox=(
            m.Started(session=session, epoch=1, seq=1, turn_id="t"),
            m.ToolIntent(tool="read_file", text="x", **own),
            m.ToolDone(**own),
        ),
    )

    assert (world.heard(m.Final)[-1].stop_reason, world.heard(m.Final)[-1].error) == ("interrupted", None)


def test_an_ask_in_a_dead_workers_outbox_is_asked():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "do it")
    question = m.Asked(session=session, epoch=1, **asked(session, 1, "aa11"))
    world.die(session, outbox=(m.Started(session=session, epoch=1, seq=1, turn_id=f"turn-{session}-1"), question))

    assert state(world, session) == ("hibernated", "requires_action")
    assert world.dropped == [(session, 1)]


def test_an_ask_that_was_answered_is_not_asked_again_because_its_outbox_still_has_it():
    """The worker died in the leg after it, before it had heard that what it asked was stored."""
    world, session = asking()
    world.decide("aa11")
    turn = f"turn-{session}-1"
    world.report(session, m.Started, seq=1, turn_id=turn, leg=1)
    first, second = (m.Started(session=session, epoch=1, seq=1, turn_id=turn, leg=leg) for leg in (0, 1))
    question = m.Asked(session=session, epoch=1, **asked(session, 1, "aa11"))
    world.die(session, outbox=(first, question, second))

    assert world.heard(m.Final)[-1].stop_reason == "interrupted"
    assert world.ask(m.ListAsks).asks == []


def test_a_coordinator_that_starts_takes_an_ask_from_an_outbox():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "do it")
    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1")
    world.processes.clear()
    question = m.Asked(session=session, epoch=1, **asked(session, 1, "aa11"))
    world.outboxes[session, 1] = (question,)
    world.reboot()

    assert state(world, session) == ("hibernated", "requires_action")


def test_a_close_ends_what_is_asked():
    world, session = asking()
    world.ask(m.Listen)
    world.say(m.Close(request=77, session="a"))
    world.die(session, signal=None, code=0)

    assert world.ask(m.ListAsks).asks == []
    assert world.store.messages[session][-1]["stop_reason"] == "cancelled"
    assert world.heard(m.AskResolved)[-1].outcome == "cancelled"


# ---- two sessions, one file


def test_the_second_session_that_writes_a_file_is_told_who_wrote_it_before():
    world = Simulated()
    first, second = world.new("a"), world.new("b")

    assert world.report(first, m.WriteWanted, path="/f") == [m.WriteKnown(path="/f", holders=[])]
    assert world.report(second, m.WriteWanted, path="/f") == [m.WriteKnown(path="/f", holders=["a"])]
    assert world.report(second, m.WriteWanted, path="/g") == [m.WriteKnown(path="/g", holders=[])]

    world.now_s += 4_000

    assert world.report(first, m.WriteWanted, path="/f") == [m.WriteKnown(path="/f", holders=[])]
