"""What the next coordinator finds: sessions asleep, closed, failed, and workers that outlived the last one."""

from coordinator.core import events as ev
from coordinator.core.effects import BumpEpoch, Commit, EndWorker, StartTimer
from coordinator.core.machine import Machine
from protocol import messages as m
from tests.support.simulated import CLIENT, FIRST, Simulated, state


def rebooted(world: Simulated) -> Simulated:
    world.reboot()
    return world


def test_the_boot_the_node_the_time_and_the_active_session_are_those_of_the_start():
    world = Simulated()
    session = world.new("a")
    rebooted(world)
    view = world.ask(m.GetSession, session=None).session
    pong = world.say(m.ClientPing())

    assert (view.id, view.node) == (session, "node")
    assert [answer.boot for answer in pong] == [2]
    assert world.world.wall_s(world.now_s) == 1_700_000_000.0


def test_the_time_of_day_is_taken_from_the_last_tick():
    world = Simulated()
    world.step(ev.Ticked(1_800_000_000.0))

    assert world.create("a").session.created_at == 1_800_000_000.0


def test_a_closed_session_stays_closed_and_its_name_is_free():
    world = Simulated()
    session = world.new("a")
    world.say(m.Close(request=9, session="a"))
    world.die(session, signal=None, code=0)
    rebooted(world)

    assert state(world, session)[0] == "stopped"
    assert isinstance(world.create("a"), m.SessionAnswer)


def test_a_failed_session_stays_failed_and_is_not_woken_by_what_waits():
    world = Simulated(restart_limit=0)
    session = world.new("a")
    world.submit("a", "one")
    world.die(session)
    rebooted(world)

    assert state(world, session)[0] == "failed"
    assert not world.processes


def test_an_unread_answer_still_waits_and_one_that_was_seen_does_not():
    world = Simulated()
    seen, unread = world.new("seen"), world.new("unread")
    for session in (seen, unread):
        world.submit(session, "one")
        world.answer(session, 1, "answer")
    world.say(m.Fetch(request=9, session=seen, after_seq=0, view=True))
    rebooted(world)
    waits = {s.name: (s.unread, s.waiting_since is not None) for s in world.world.sessions.values()}

    assert waits == {"seen": (False, False), "unread": (True, True)}


def test_a_session_without_prompts_is_not_woken():
    world = Simulated()
    session = world.new("a")
    world.die(session)
    rebooted(world)

    assert state(world, session)[0] == "hibernated"


def test_more_waiting_sessions_than_slots_wait_in_line():
    world = Simulated(max_active_sessions=1)
    one = world.new("one")
    world.die(one)
    two = world.new("two")
    world.submit("two", "hello")
    world.submit("one", "hello")
    world.die(two)
    world.processes.clear()
    rebooted(world)

    assert [state(world, s)[0] for s in (one, two)] == ["waking", "queued"]


def test_a_worker_that_outlived_the_coordinator_and_never_says_hello_is_ended():
    world = Simulated(start_timeout_s=5)
    session = world.new("a")
    rebooted(world)
    pid = world.world.sessions[session].pid
    world.advance(6)

    assert pid == 101
    assert world.signals[0] == (session, 1, "SIGTERM")


def test_a_worker_that_outlived_the_coordinator_holds_its_slot_and_is_not_started_again():
    world = Simulated(max_active_sessions=1)
    session = world.new("a")
    world.submit("a", "one")
    rebooted(world)

    assert world.create("b", queue=False).code == "session.limit"
    assert state(world, session)[0] == "waking"
    assert list(world.processes) == [(session, 1)]


def test_a_worker_that_outlived_the_coordinator_and_dies_is_a_crash_and_its_turn_is_interrupted():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    rebooted(world)
    world.die(session)
    world.advance(1)
    again = world.hello(session)

    assert m.Deliver not in [type(answer) for answer in again]
    assert world.store.messages[session][-1]["stop_reason"] == "interrupted"


def test_a_worker_with_another_turn_than_the_stored_one_has_lost_it():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    world.submit("a", "two")
    rebooted(world)
    answers = world.hello(session)

    assert [answer.seq for answer in answers if isinstance(answer, m.Deliver)] == [2]
    assert world.store.messages[session][-1]["reply_to"] == 1


def test_a_worker_that_kept_its_reply_hands_it_to_the_next_coordinator():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id=f"turn-{FIRST}-1")
    world.settle()
    world.answer(FIRST, 1, "answer", started=False)
    world.reboot()  # the reply was not committed
    world.hello(FIRST, seq=1, turn_id=f"turn-{FIRST}-1")
    world.answer(FIRST, 1, "answer", started=False)
    world.settle()

    assert [row["text"] for row in world.store.messages[FIRST]] == ["one", "answer"]


def test_a_closed_session_whose_worker_outlived_the_coordinator_only_ends_and_counts_until_it_is_dead():
    world = Simulated(max_active_sessions=1)
    session = world.new("a")
    world.say(m.Close(request=9, session="a"))
    stored, alive = world.store.load(), frozenset({session})
    effects = Machine(world._settings).step(ev.Booted(2, "node", 0.0, stored, {}, alive), world.now_s)

    assert effects == [EndWorker(session, 1, "SIGTERM"), StartTimer(("kill", session, 1), 1.5)]

    rebooted(world)
    early = world.create("b", queue=False)
    world.die(session, signal="SIGTERM")

    assert early.code == "session.limit"
    assert state(world, session)[0] == "stopped"
    assert isinstance(world.create("b"), m.SessionAnswer)


def test_one_epoch_is_ordered_for_each_session_that_is_woken():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.processes.clear()
    stored = world.store.load()
    effects = Machine(world._settings).step(ev.Booted(2, "n", 0.0, stored, {}, frozenset()), 0.0)

    assert effects == [Commit(BumpEpoch(session))]


def test_a_client_of_the_last_coordinator_says_hello_before_it_is_served():
    world = Simulated()
    world.new("a")
    world.say(m.ClientBye())
    refused = world.ask(m.GetSession, session="a")
    world.say(m.ClientHello(client="cli", pid=1))

    assert refused.code == "protocol.hello_missing"
    assert world.ask(m.GetSession, session="a").session.name == "a"
    assert CLIENT in world.world.peers
