"""Turns whose worker died: completed by its outbox, waiting again, interrupted, resumed, poisoned or cancelled."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import Usage
from tests.support.simulated import FIRST, Simulated, live, state


def started(session: str, epoch: int, seq: int) -> m.Started:
    return m.Started(session=session, epoch=epoch, seq=seq, turn_id=f"t{epoch}")


def reply(session: str, epoch: int, seq: int, text: str = "paid for") -> m.Reply:
    return m.Reply(
        session=session, epoch=epoch, seq=seq, turn_id=f"t{epoch}", text=text, stop_reason="completed",
        usage=Usage(input_tokens=3, output_tokens=4), pieces=1,
    )  # fmt: skip


def ends(world: Simulated, session: str) -> list[tuple[int, str, str]]:
    """Return what each prompt came to: its seq, its end, the text."""
    rows = world.store.messages[session]
    return [(row["reply_to"], row["stop_reason"], row["text"]) for row in rows if "reply_to" in row]


def running(**settings: object) -> tuple[Simulated, str]:
    """A world with a prompt that was delivered to the session's first worker."""
    world = Simulated(**settings)
    session = world.new("a")
    world.submit("a", "one")
    return world, session


# ---- what the outbox says


def test_a_reply_that_only_the_outbox_knows_is_committed_and_its_tokens_count():
    world, session = running()
    world.die(session, outbox=(started(session, 1, 1), reply(session, 1, 1)))

    assert ends(world, session) == [(1, "completed", "paid for")]
    assert world.world.sessions[session].tokens == 7
    assert world.dropped == [(session, 1)]


def test_the_worker_of_an_imported_reply_is_not_replaced_before_there_is_work():
    world, session = running()
    world.die(session, outbox=(started(session, 1, 1), reply(session, 1, 1)))

    assert state(world, session) == ("hibernated", "idle")


def test_an_outbox_is_kept_until_its_reply_is_committed():
    world = live()
    world.say(m.Submit(request=1, session="a", idem="k", text="one", follow=False))
    world.settle()
    world.die(FIRST, outbox=(started(FIRST, 1, 1), reply(FIRST, 1, 1)))

    assert world.dropped == []

    commit = next(change for change in world.pending if isinstance(change, e.InsertReply))
    world.pending.remove(commit)
    world.step(ev.CommitFailed(commit, "the disk is full"))
    world.settle()

    assert world.dropped == []

    world.advance(1)
    world.settle()

    assert ends(world, FIRST) == [(1, "completed", "paid for")]
    assert world.dropped == [(FIRST, 1)]


def test_a_start_that_only_the_outbox_knows_interrupts_the_turn_instead_of_running_it_again():
    world, session = running()
    world.die(session, outbox=(started(session, 1, 1),))

    assert ends(world, session) == [(1, "interrupted", "")]
    assert world.dropped == [(session, 1)]


def test_an_outbox_of_what_is_answered_already_changes_nothing_and_goes():
    world, session = running()
    world.answer(session, 1, "answer")
    world.die(session, outbox=(started(session, 1, 1), reply(session, 1, 1, "again")))

    assert ends(world, session) == [(1, "completed", "answer")]
    assert world.dropped == [(session, 1)]


def test_an_outbox_that_cannot_be_read_is_left_where_it_is():
    world, session = running()
    world.report(session, m.Started, seq=1, turn_id="t")
    world.die(session, outbox=None)

    assert ends(world, session) == [(1, "interrupted", "")]
    assert world.dropped == []


def test_a_reply_that_was_finished_before_the_order_to_leave_beats_the_drain():
    world, session = running()
    world.report(session, m.Started, seq=1, turn_id="t1")
    world.step(ev.StopAsked(now=True))
    world.die(session, signal=None, code=0, outbox=(started(session, 1, 1), reply(session, 1, 1)))

    assert ends(world, session) == [(1, "completed", "paid for")]
    assert world.left


def test_a_reply_that_was_finished_before_the_close_beats_it():
    world, session = running()
    world.report(session, m.Started, seq=1, turn_id="t1")
    world.say(m.Close(request=9, session="a"))
    world.die(session, signal=None, code=0, outbox=(started(session, 1, 1), reply(session, 1, 1)))

    assert ends(world, session) == [(1, "completed", "paid for")]
    assert state(world, session) == ("stopped", "idle")


def test_a_turn_of_which_nobody_can_say_whether_it_began_is_not_run_again():
    world, session = running()
    world.die(session, outbox=None)

    assert ends(world, session) == [(1, "interrupted", "")]


# ---- what the next coordinator finds


def test_the_next_coordinator_commits_what_a_dead_worker_finished():
    world, session = running()
    world.processes.clear()
    world.outboxes[session, 1] = (started(session, 1, 1), reply(session, 1, 1))
    world.reboot()

    assert ends(world, session) == [(1, "completed", "paid for")]
    assert state(world, session) == ("hibernated", "idle")
    assert world.dropped == [(session, 1)]


def test_the_next_coordinator_interrupts_what_a_dead_worker_began_and_serves_the_next_prompt():
    world, session = running()
    world.submit("a", "two")
    world.processes.clear()
    world.outboxes[session, 1] = (started(session, 1, 1),)
    world.reboot()

    assert ends(world, session) == [(1, "interrupted", "")]

    world.hello(session)

    assert world.world.sessions[session].turn.prompt.text == "two"


def test_a_reply_of_a_worker_that_outlived_its_closed_session_is_kept():
    world, session = running()
    world.report(session, m.Started, seq=1, turn_id="t1")
    world.say(m.Close(request=9, session="a"))
    world.reboot()
    world.die(session, outbox=(started(session, 1, 1), reply(session, 1, 1)))

    assert ends(world, session) == [(1, "completed", "paid for")]


def test_a_worker_that_comes_back_with_a_turn_that_the_store_does_not_know_goes_on_with_it():
    world, session = running()
    world.reboot()
    world.hello(session, seq=1, turn_id="t1")
    world.report(session, m.Delta, seq=1, turn_id="t1", n=0, text="half")

    assert state(world, session) == ("live", "running")
    assert world.world.sessions[session].turn.text == ["half"]


def test_a_worker_that_the_store_does_not_know_yet_gets_no_work():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step_one()  # the session, and its epoch
    world.step_one()  # the process
    world.hello(FIRST)
    world.say(m.Submit(request=1, session="a", idem="k", text="one", follow=False))
    roster = next(change for change in world.pending if isinstance(change, e.SaveRoster))
    world.pending.remove(roster)
    world.settle()

    assert state(world, FIRST) == ("live", "idle")

    world.step(ev.Committed(roster, world.store.apply(roster)))

    assert state(world, FIRST) == ("live", "running")


# ---- poison


def test_a_prompt_that_three_workers_died_with_is_skipped_and_the_next_is_served():
    world, session = running()
    world.submit("a", "two")
    for _ in range(3):
        assert world.world.sessions[session].turn.prompt.text == "one"
        world.die(session, signal="SIGSEGV")
        world.advance(1)
        world.hello(session)

    (end,) = ends(world, session)

    assert end == (1, "poisoned", "")
    assert world.world.sessions[session].turn.prompt.text == "two"


def test_the_crashes_of_a_prompt_are_counted_over_coordinators():
    world, session = running()
    for _ in range(2):
        world.die(session, signal="SIGSEGV")
        world.advance(1)
        world.hello(session)
    world.processes.clear()
    world.reboot()
    world.hello(session)
    world.die(session, signal="SIGSEGV")

    assert [end[1] for end in ends(world, session)] == ["poisoned"]


def test_a_worker_that_dies_before_it_has_the_prompt_does_not_count_against_it():
    world = Simulated(restart_limit=10)
    session = world.new("a")
    world.die(session)
    world.submit("a", "one")
    for _ in range(4):
        world.die(session)
        world.advance(2)

    assert world.world.sessions[session].waiting[0].crashes == 0
    assert ends(world, session) == []


# ---- on_interrupt


def test_an_interrupted_turn_is_marked_and_nothing_but_retry_runs_it_again():
    world, session = running()
    world.report(session, m.Started, seq=1, turn_id="t1")
    world.report(session, m.Delta, seq=1, turn_id="t1", n=0, text="half")
    world.die(session)
    world.advance(1)
    world.hello(session)

    assert ends(world, session) == [(1, "interrupted", "half")]
    assert state(world, session) == ("live", "idle")

    answer = world.ask(m.Retry, session="a", idem="again", follow=False)

    assert isinstance(answer, m.Ack)
    assert world.world.sessions[session].turn.prompt.text == "one"
    assert world.ask(m.Retry, session="a", idem="again", follow=False).seq == answer.seq


def test_there_is_nothing_to_retry_after_a_turn_that_completed_or_while_one_runs():
    world, session = running()

    assert world.ask(m.Retry, session="a", idem="r1", follow=False).code == "turn.nothing_to_retry"

    world.answer(session, 1, "answer")

    assert world.ask(m.Retry, session="a", idem="r2", follow=False).code == "turn.nothing_to_retry"


def test_with_resume_an_interrupted_turn_runs_again_once():
    world, session = running(on_interrupt="resume")
    for _ in range(2):
        epoch = world.epoch(session)
        world.report(session, m.Started, seq=1, turn_id=f"t{epoch}")
        world.die(session, outbox=(started(session, epoch, 1),))
        world.advance(1)
        world.hello(session)

    assert ends(world, session) == [(1, "interrupted", "")]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_resumed_turn_is_not_taken_for_begun_because_of_the_outbox_of_its_first_attempt(*, is_known: bool):
    world, session = running(on_interrupt="resume")
    if is_known:
        world.report(session, m.Started, seq=1, turn_id="t1")
    world.die(session, outbox=(started(session, 1, 1),))
    world.outboxes[session, 1] = (started(session, 1, 1),)  # the coordinator dies before it removed the file
    world.processes.clear()
    world.reboot()
    world.hello(session)

    assert ends(world, session) == []
    assert state(world, session) == ("live", "running")


# ---- limits


def test_a_storm_over_all_sessions_ends_at_the_limit_of_all_with_a_reason():
    world = Simulated(restart_limit=100, restart_limit_total=3)
    sessions = [world.new(name) for name in "ab"]
    for name in "ab":
        world.submit(name, "one")
    for _ in range(2):
        for session in sessions:
            world.die(session)
            world.advance(1)
            if state(world, session)[0] != "failed":
                world.hello(session)

    failed = [s for s in sessions if state(world, s)[0] == "failed"]

    assert len(failed) == 1
    assert "all sessions together were restarted 3 times within 60 s" in (
        world.world.sessions[failed[0]].exit_card.reason
    )


def test_a_worker_that_never_says_hello_is_named_so():
    world = Simulated(start_timeout_s=5)
    session = world.create("a").session.id
    world.advance(6)
    world.die(session)

    assert world.world.sessions[session].exit_card.reason == "it did not say hello within 5 s"
