"""What the core tells of one session and of all: complete, without waking or changing anything."""

import msgspec
import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import ChildMemory, Memory, TreeMemory
from tests.support.simulated import CLIENT, Simulated, state

MIB = 1 << 20


def told(world: Simulated, kind: type, message: m.Message) -> list:
    """The effects of one kind that a client's message brings."""
    return [x for x in world.machine.step(ev.ClientSpoke(CLIENT, message), world.now_s) if isinstance(x, kind)]


def inspect(world: Simulated, name: str, *, stacks: bool = False) -> e.SendInspection:
    [order] = told(world, e.SendInspection, m.Inspect(request=9, session=name, stacks=stacks))
    return order


def top(world: Simulated, offset: int = 0) -> e.SendTop:
    [order] = told(world, e.SendTop, m.GetTop(request=9, offset=offset))
    return order


def sampled(world: Simulated, session: str, uss: int) -> None:
    world.step(
        ev.MemorySampled(
            session,
            world.epoch(session),
            Memory(uss_bytes=uss, rss_bytes=uss + MIB),
            TreeMemory(pss_bytes=uss, tree_uss_bytes=uss + 7, children=(ChildMemory(pid=5, name="sh", pss_bytes=7),)),
        )
    )


def test_a_live_session_is_told_with_its_process_its_liveness_and_its_limits():
    world = Simulated()
    a = world.new("a")
    world.report(a, m.Ping, state="idle", turn_id=None, loop_lag_ms=12)
    sampled(world, a, 3 * MIB)
    world.now_s += 0.25
    order = inspect(world, "a")
    worker = order.inspection.worker

    assert order.epoch == worker.epoch == 1
    assert worker.pid == world.world.sessions[a].pid
    assert (worker.heartbeat_age_ms, worker.loop_lag_ms) == (250, 12)
    assert worker.memory.soft_limit_bytes == 52_428_800
    assert worker.memory.hard_limit_bytes == 536_870_912
    assert [point.uss_bytes for point in worker.memory.history] == [3 * MIB]
    assert (worker.inbox, worker.restarts, worker.exit_card) == (0, 0, None)
    assert order.inspection.session.name == "a"


def test_what_waits_and_what_is_buffered_is_counted_while_a_turn_runs():
    world = Simulated(buffer_size_bytes=1_024)
    a = world.new("a")
    world.submit(a, "one")
    world.submit(a, "two")
    world.report(a, m.Started, seq=1, turn_id="t")
    world.report(a, m.Delta, seq=1, turn_id="t", n=0, text="größer")
    order = inspect(world, "a")

    assert order.inspection.worker.inbox == 1
    assert order.inspection.conversation.buffered_bytes == len("größer".encode())
    assert order.inspection.conversation.messages == world.world.sessions[a].messages

    world.report(a, m.Delta, seq=1, turn_id="t", n=1, text="x" * 2_000)
    assert inspect(world, "a").inspection.conversation.buffered_bytes == 1_024


def test_a_permit_is_told_with_its_place_and_how_long_it_was_waited_for():
    world = Simulated(max_concurrent_api_calls=1)
    a, b = world.new("a"), world.new("b")
    for session in (a, b):
        world.submit(session, "x")
        world.report(session, m.Started, seq=1, turn_id="t")
        world.report(session, m.PermitWanted, boot=1, call=1, turn_id="t")
    world.now_s += 2

    assert msgspec.structs.astuple(inspect(world, "a").inspection.worker.permit) == (True, None, 0)
    assert msgspec.structs.astuple(inspect(world, "b").inspection.worker.permit) == (False, 1, 2_000)

    world.report(a, m.PermitReturned, boot=1, call=1, status=200)
    world.now_s += 1
    assert msgspec.structs.astuple(inspect(world, "a").inspection.worker.permit) == (False, None, None)
    assert msgspec.structs.astuple(inspect(world, "b").inspection.worker.permit) == (True, None, 2_000)


@pytest.mark.parametrize("how", ["asleep", "failed", "queued"])
def test_a_session_without_a_worker_is_told_and_not_woken(how):
    world = Simulated(max_active_sessions=1, restart_limit=0)
    a = world.new("a")
    if how == "asleep":
        world.say(m.Hibernate(request=5, session=a))
        world.rest(a)
    elif how == "failed":
        world.submit(a, "x")
        world.die(a)
    else:
        world.submit(a, "x")  # it is busy, so the next one waits
        world.create("b")
    name = "b" if how == "queued" else "a"
    before = {key: state(world, key) for key in world.world.sessions}
    order = inspect(world, name, stacks=True)
    worker = order.inspection.worker

    assert order.epoch is None
    assert order.n == 0
    assert (worker.pid, worker.heartbeat_age_ms, worker.loop_lag_ms, worker.stacks) == (None, None, None, None)
    assert (worker.exit_card is not None) == (how == "failed")
    assert {key: state(world, key) for key in world.world.sessions} == before
    assert not world.pending


def test_nothing_of_a_dead_worker_is_told_of_the_next():
    world = Simulated()
    a = world.new("a")
    world.report(a, m.Ping, state="idle", turn_id=None, loop_lag_ms=99)
    sampled(world, a, MIB)
    world.die(a)
    world.say(m.Wake(request=5, session=a))
    world.hello(a)
    worker = inspect(world, "a").inspection.worker

    assert (worker.loop_lag_ms, worker.memory.history) == (None, ())


def test_an_unknown_name_is_refused():
    assert Simulated().ask(m.Inspect, session="nobody").code == "session.unknown"


# ---- stacks


def test_a_worker_is_asked_for_its_tasks_only_when_somebody_wants_stacks_and_its_words_find_who_asked():
    world = Simulated()
    a = world.new("a")
    assert inspect(world, "a").n == 0
    steps = world.machine.step(ev.ClientSpoke(CLIENT, m.Inspect(request=9, session="a", stacks=True)), world.now_s)
    asked, order = steps

    assert asked == e.SendWorker(world.peer(a), m.StacksWanted(n=1))
    assert (order.stacks, order.n) == (True, 1)
    assert inspect(world, "a", stacks=True).n == 2

    words = m.Stacks(session=a, epoch=1, n=1, text="x" * 100_000)
    [passed] = world.machine.step(ev.WorkerSpoke(world.peer(a), words), world.now_s)
    assert (passed.session, passed.epoch, passed.n) == (a, 1, 1)
    assert len(passed.text) == 64 << 10  # a worker does not decide how much of the coordinator's memory it takes


def test_a_worker_of_the_past_tells_no_stacks():
    world = Simulated()
    a = world.new("a")
    words = m.Stacks(session=a, epoch=7, n=1, text="x")
    effects = world.machine.step(ev.WorkerSpoke(b"elsewhere", words), world.now_s)

    assert [x for x in effects if isinstance(x, e.PassStacks)] == []


# ---- all of them


def test_top_lists_what_has_a_worker_waits_for_one_or_gave_up_and_not_what_sleeps():
    world = Simulated(max_active_sessions=2, restart_limit=0)
    gave_up = world.new("gave up")
    world.submit(gave_up, "x")
    world.die(gave_up)
    asleep = world.new("asleep")
    world.say(m.Hibernate(request=5, session=asleep))
    world.rest(asleep)
    live, busy = world.new("live"), world.new("busy")
    world.submit(live, "x")
    world.submit(busy, "x")
    world.create("in line")
    order = top(world)

    assert [s.name for s in order.answer.sessions] == ["gave up", "live", "busy", "in line"]
    assert order.epochs == (None, 1, 1, None)
    assert not order.answer.more
    assert order.answer.totals.sessions.hibernated == 1


def test_top_tells_memory_pieces_and_who_sleeps_next():
    world = Simulated()
    a = world.new("a")
    for n in range(30):
        sampled(world, a, (n + 1) * MIB)
        world.advance(5)
        world.report(a, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
    world.say(m.ClientHello(client="cli", pid=1))  # it was silent for long
    b = world.new("b")
    world.submit(b, "x")
    world.report(b, m.Started, seq=1, turn_id="t")
    for n in range(11):
        world.report(b, m.Delta, seq=1, turn_id="t", n=n, text="x")
        world.now_s += 0.5
    order = top(world)
    first, second = order.answer.sessions

    assert first.history == tuple((n + 1) * MIB for n in range(6, 30))
    assert first.tree_uss_bytes == 30 * MIB + 7
    assert (first.pieces, first.pieces_per_s) == (0, None)
    assert (second.pieces, second.pieces_per_s) == (11, round(10 / 5.5, 1))
    assert second.tree_uss_bytes is None
    assert [n.name for n in order.answer.next_to_hibernate] == ["a"]


def test_top_is_told_page_by_page():
    world = Simulated(max_active_sessions=60)
    for n in range(55):
        world.create(f"s{n}")
    first, second = top(world).answer, top(world, 50).answer

    assert (len(first.sessions), first.more) == (50, True)
    assert (len(second.sessions), second.more) == (5, False)
    assert [s.name for s in second.sessions] == [f"s{n}" for n in range(50, 55)]
