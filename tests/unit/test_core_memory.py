"""Memory in the core: four limits, what follows from each, the order in which sessions go, and what is told of it."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.lifecycle import Work
from coordinator.core.memory import HISTORY, HISTORY_S, SETTLED_S
from coordinator.core.pressure import STALE_S
from protocol import messages as m
from protocol.views import ChildMemory, Memory, TreeMemory
from tests.support.simulated import CLIENT, Simulated, state

MIB = 1 << 20
GIB = 1 << 30
SOFT, HARD = 50 * MIB, 512 * MIB


def read(world: Simulated, session: str, uss: int, tools: int = 0, epoch: int | None = None) -> None:
    """The monitor read a worker that has so much of its own, and tools with so much."""
    children = (ChildMemory(pid=77, name="make", pss_bytes=tools),) if tools else ()
    tree = TreeMemory(pss_bytes=uss, tree_uss_bytes=uss + tools, tree_pss_bytes=uss + tools, children=children)
    memory = Memory(uss_bytes=uss, rss_bytes=uss + 60 * MIB)
    world.step(ev.MemorySampled(session, epoch or world.world.sessions[session].worker_epoch, memory, tree))


def look(world: Simulated, *, available: int = 4 * GIB, helpers: int = 100 * MIB, stalls: float | None = 0.0) -> None:
    """The monitor looked at a machine of 8 GiB."""
    world.step(
        ev.SystemSampled(
            machine_bytes=8 * GIB, available_bytes=available, pressure_percent=stalls, coordinator_rss_bytes=40 * MIB,
            zygote_rss_bytes=60 * MIB, model_server_rss_bytes=None, helpers_pss_bytes=helpers,
        )
    )  # fmt: skip


def notes(world: Simulated, event: ev.Event) -> list[e.Note]:
    return [effect for effect in world.machine.step(event, world.now_s) if isinstance(effect, e.Note)]


def causes(world: Simulated, session: str) -> list[str]:
    return [change.cause for change in world.heard(m.Changed) if change.session == session]


def pin(world: Simulated, name: str) -> None:
    world.ask(m.Mark, session=name, mark="pinned", value=True)


def three(**settings: object) -> tuple[Simulated, list[str]]:
    """Three live sessions, used one after the other, a second apart."""
    world = Simulated(**settings)
    world.say(m.Listen(request=900))
    sessions = []
    for name in "abc":
        sessions.append(world.new(name))
        world.advance(1)
    return world, sessions


# ---- over the soft limit


def test_a_session_over_the_soft_limit_sleeps_when_it_is_idle_and_listeners_are_told_why():
    world, (a, b, _) = three()
    read(world, a, SOFT + 1)
    read(world, b, SOFT)
    world.advance(SETTLED_S + 1)
    world.rest(a)

    assert state(world, a) == ("hibernated", "idle")
    assert causes(world, a)[-2] == "over memory_soft_bytes"
    assert state(world, b) == ("live", "idle")


@pytest.mark.parametrize(("launcher", "residency"), [("local", "hibernating"), ("spawn", "live")])
def test_what_a_worker_could_not_share_with_a_zygote_is_not_held_against_it(launcher, residency):
    """An idle worker that was not forked has 57 MiB for itself: it would sleep, wake with them, and sleep again."""
    world, (a, *_others) = three(launcher=launcher)
    world.advance(3)
    read(world, a, 57 * MIB)
    world.advance(1)

    assert state(world, a)[0] == residency


@pytest.mark.parametrize("gone_with", ["the coordinator", "nobody"])
def test_a_worker_may_have_what_it_shared_with_a_zygote_that_is_gone(gone_with: str):
    world, (a, *_others) = three()
    if gone_with == "nobody":
        world.step(ev.ZygoteLost())
    else:
        world.reboot()
        world.hello(a)
    world.advance(3)
    read(world, a, 70 * MIB)
    world.advance(3)
    assert state(world, a)[0] == "live"
    read(world, a, SOFT + 64 * MIB + 1)
    world.advance(1)
    assert state(world, a)[0] == "hibernating"
    world.rest(a)
    world.say(m.Wake(request=901, session=a))
    world.hello(a)
    world.advance(3)
    read(world, a, 70 * MIB)
    world.advance(1)

    assert state(world, a)[0] == "hibernating"


def test_what_is_over_the_soft_limit_and_needed_stays():
    world, (a, b, c) = three()
    world.submit("a", "a long one")
    pin(world, "b")
    world.ask(m.Attach, session="c")
    for session in (a, b, c):
        read(world, session, SOFT + 1)
    for session in (a, b, c):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
    world.advance(5)

    assert [state(world, s)[0] for s in (a, b, c)] == ["live"] * 3


def test_a_session_is_judged_by_what_was_read_after_its_last_use_and_not_at_once():
    world = Simulated()
    a = world.new("a")
    world.submit("a", "one")
    read(world, a, SOFT + 1)
    world.answer(a, 1, "said")
    world.advance(SETTLED_S + 3)
    assert state(world, a) == ("live", "idle")  # it may have given back what it needed for the turn

    read(world, a, SOFT + 1)
    world.advance(1)
    assert state(world, a) == ("hibernating", "idle")

    world = Simulated()
    a = world.new("a")
    world.submit("a", "one")
    world.answer(a, 1, "said")
    world.now_s += 0.1
    read(world, a, SOFT + 1)
    world.advance(1)
    assert state(world, a) == ("live", "idle")  # just used


# ---- over the hard limit


def test_a_worker_over_the_hard_limit_is_killed_and_its_card_says_so_with_numbers():
    world, (a, b, _) = three()
    world.submit("a", "one")
    world.report(a, m.Started, seq=1, turn_id="t")
    read(world, a, HARD + MIB)
    assert world.signals == [(a, 1, "SIGKILL")]

    read(world, a, HARD + 2 * MIB)
    assert world.signals == [(a, 1, "SIGKILL")]  # once

    world.die(a)
    card = world.world.sessions[a].exit_card
    assert card.reason == "it had 513.0 MiB of memory of its own, and memory_hard_bytes allows 512.0 MiB"
    assert (card.signal, card.oom_suspected, card.seq_in_flight) == ("SIGKILL", False, 1)
    assert world.store.messages[a][-1]["stop_reason"] == "interrupted"

    world.advance(1)
    world.hello(a)
    assert state(world, a) == ("live", "idle")
    world.die(a)
    assert world.world.sessions[a].exit_card.reason == "killed by SIGKILL"  # of the new worker nothing is known
    assert state(world, b) == ("live", "idle")


def test_a_worker_at_the_hard_limit_or_an_earlier_one_over_it_is_not_killed():
    world = Simulated()
    a = world.new("a")
    read(world, a, HARD)
    read(world, a, HARD + 1, epoch=9)

    assert world.signals == []


def test_a_worker_that_left_because_the_kernel_gave_it_no_more_says_so():
    world = Simulated()
    a = world.new("a")
    world.die(a, signal=None, code=12)

    assert "the kernel gave it no more memory" in world.world.sessions[a].exit_card.reason
    assert not world.world.sessions[a].exit_card.oom_suspected


@pytest.mark.parametrize(("available", "is_suspected"), [(GIB // 8, True), (4 * GIB, False)])
def test_a_kill_that_nobody_sent_is_suspected_to_be_for_memory_when_memory_is_short(available, is_suspected):
    world = Simulated()
    a = world.new("a")
    pin(world, "a")
    look(world, available=available)
    world.die(a)

    assert world.world.sessions[a].exit_card.oom_suspected is is_suspected


# ---- tools


def test_tools_over_their_limit_are_ended_the_worker_stays_and_is_told_first():
    world, (a, b, _) = three(tool_memory_bytes=GIB)
    look(world)
    read(world, b, 8 * MIB, tools=GIB)
    assert world.tools_ended == []

    read(world, a, 8 * MIB, tools=GIB + MIB)
    assert world.tools_ended == [(a, 1)]
    (told,) = [message for _, message in world.to_workers if isinstance(message, m.ToolEnded)]
    assert told.reason == (
        "What the session started had 1025.0 MiB of memory, make (pid 77) the most of it, 1025.0 MiB; "
        "tool_memory_bytes allows 1024.0 MiB. It was ended."
    )
    assert world.signals == []
    assert state(world, a) == ("live", "idle")


def test_tools_may_have_a_quarter_of_the_machine_when_nothing_else_is_said():
    world = Simulated()
    a = world.new("a")
    read(world, a, MIB, tools=7 * GIB)
    assert world.tools_ended == []  # nobody has looked how large the machine is

    look(world)
    read(world, a, MIB, tools=2 * GIB)
    assert world.tools_ended == []
    read(world, a, MIB, tools=2 * GIB + 1)
    assert world.tools_ended == [(a, 1)]


# ---- all of them


def test_over_the_budget_so_many_sleep_as_free_what_is_too_much_the_least_recently_used_first():
    world, (a, b, c) = three(memory_total_bytes=GIB)
    for session in (a, b, c):
        read(world, session, 40 * MIB)
    look(world, helpers=GIB - 120 * MIB)
    assert [state(world, s)[0] for s in (a, b, c)] == ["live"] * 3  # exactly the budget

    # 10 MiB over it, so what is above nine tenths has to go: 112.4 MiB are three workers
    look(world, helpers=GIB - 110 * MIB)
    assert [state(world, s)[0] for s in (a, b, c)] == ["hibernating"] * 3
    assert causes(world, a)[-1] == "memory is short"

    world, (a, b, c) = three(memory_total_bytes=GIB)
    read(world, a, 80 * MIB)
    read(world, b, 80 * MIB)
    read(world, c, 2 * MIB)
    look(world, helpers=GIB - 161 * MIB)
    assert [state(world, s)[0] for s in (a, b, c)] == ["hibernating", "hibernating", "live"]
    look(world, helpers=GIB - 161 * MIB)  # both are on their way: that is enough
    assert state(world, c)[0] == "live"


def test_when_the_machine_is_short_one_sleeps_at_each_look_and_those_that_are_needed_never():
    world, (a, b, c) = three()
    d = world.new("d")
    world.submit("a", "runs")
    pin(world, "b")
    look(world, available=GIB // 8)
    assert [state(world, s)[0] for s in (a, b, c, d)] == ["live", "live", "hibernating", "live"]

    look(world, available=GIB // 8)
    assert state(world, d)[0] == "live"  # c is on its way
    world.rest(c)
    look(world, available=GIB // 8)
    assert state(world, d)[0] == "hibernating"
    world.rest(d)
    look(world, available=GIB // 8)
    assert [state(world, s)[0] for s in (a, b)] == ["live", "live"]


@pytest.mark.parametrize(
    ("begins", "goes_on", "ends"),
    [
        ({"available": 409 * MIB}, {"available": 600 * MIB}, {"available": 700 * MIB}),
        ({"stalls": 10.0}, {"stalls": 5.0}, {"stalls": 4.9}),
        ({"helpers": 5 * GIB}, {"helpers": 3_700 * MIB}, {"helpers": 3_600 * MIB}),
    ],
)
def test_memory_is_short_from_one_mark_until_another(begins, goes_on, ends):
    world = Simulated()
    for session in "ab":
        pin(world, world.new(session))
    look(world, **goes_on)
    assert isinstance(world.create("early"), m.SessionAnswer)
    look(world, **begins)
    assert world.create("late").code == "memory.short"
    look(world, **goes_on)
    assert world.create("late").code == "memory.short"
    look(world, **ends)
    assert isinstance(world.create("late"), m.SessionAnswer)


def test_a_kernel_without_stalls_is_judged_by_what_is_available():
    world = Simulated()
    look(world, stalls=None)
    assert isinstance(world.create("a"), m.SessionAnswer)
    look(world, stalls=None, available=MIB)
    assert world.create("b").message == "Memory is short: the machine has 1.0 MiB of 8192.0 MiB left."


def test_a_new_session_is_refused_with_the_numbers_while_memory_is_short():
    world = Simulated()
    pin(world, world.new("a"))
    look(world, available=100 * MIB, stalls=12.0)
    refused = world.create("b")
    assert refused.message == (
        "Memory is short: the machine has 100.0 MiB of 8192.0 MiB left, and tasks waited for memory 12 % of 10 s."
    )

    look(world, helpers=5 * GIB)
    refused = world.create("b")
    assert refused.message == (
        "Memory is short: all processes together have 5120.0 MiB, and memory_total_bytes allows 4096.0 MiB."
    )


def test_a_prompt_to_a_sleeping_session_waits_while_memory_is_short_and_says_why():
    world = Simulated()
    a, b = world.new("a"), world.new("b")
    pin(world, "b")
    world.say(m.Hibernate(request=800, session="a"))
    world.rest(a)
    look(world, available=MIB)
    world.submit("a", "one")
    waiting = world.ask(m.GetSession, session="a").session

    assert waiting.residency == "queued"
    assert waiting.work_detail["position"] == 1
    assert waiting.work_detail["why"].startswith("memory is short: the machine has 1.0 MiB")

    look(world)
    assert world.ask(m.GetSession, session="a").session.residency == "starting"
    world.hello(a)
    assert world.to_workers[-1][1] == m.Deliver(seq=1, text="one")
    assert state(world, b)[0] == "live"


def test_a_budget_that_is_too_small_lets_one_run_at_a_time():
    world = Simulated()
    look(world, helpers=5 * GIB)
    a = world.new("a")

    assert world.create("b").code == "memory.short"
    look(world, helpers=5 * GIB)  # a is idle: it goes, because something else may need its place
    world.rest(a)
    assert isinstance(world.create("b"), m.SessionAnswer)


def test_when_nobody_looks_any_more_nobody_is_refused():
    world = Simulated()
    look(world, available=MIB)
    assert world.create("a").code == "memory.short"
    world.advance(STALE_S + 2)
    world.say(m.ClientHello(client="cli", pid=1))

    assert isinstance(world.create("a"), m.SessionAnswer)


def test_the_log_says_once_that_memory_is_short_and_once_that_it_is_not():
    world = Simulated()
    short = ev.SystemSampled(machine_bytes=8 * GIB, available_bytes=MIB)
    enough = ev.SystemSampled(machine_bytes=8 * GIB, available_bytes=4 * GIB)
    said = [note.message for event in (enough, short, short, enough, enough) for note in notes(world, event)]

    assert said == ["memory is short", "memory is enough again"]


# ---- what is told


def test_status_names_who_would_go_next_and_why_and_that_order_is_the_order_at_the_cap():
    world, (a, b, c) = three(max_active_sessions=3)
    d = world.create("d", queue=True).session.id
    assert (state(world, a)[0], state(world, d)[0]) == ("hibernating", "queued")

    world.rest(a)
    world.hello(d)
    world.submit("d", "runs")
    read(world, b, 20 * MIB)
    world.advance(2)
    shown = overview(world)
    assert [(n.session, n.name) for n in shown.next_to_hibernate] == [(b, "b"), (c, "c")]
    assert shown.next_to_hibernate[0].why == (
        "idle for 4 s, 20.0 MiB of its own; nobody works on it, and it is not pinned"
    )

    world.create("e", queue=True)
    assert (state(world, b)[0], state(world, c)[0]) == ("hibernating", "live")


def overview(world: Simulated):
    effects = world.machine.step(ev.ClientSpoke(CLIENT, m.GetStatus(request=9)), world.now_s)
    return next(effect.memory for effect in effects if isinstance(effect, e.SendStatus))


def test_status_counts_everything_that_belongs_to_the_coordinator():
    world, (a, b, _) = three()
    assert overview(world).total_pss_bytes is None

    read(world, a, 10 * MIB, tools=5 * MIB)
    read(world, b, 20 * MIB)
    look(world, stalls=1.5)
    shown = overview(world)

    assert (shown.workers_uss_bytes, shown.total_pss_bytes) == (30 * MIB, 135 * MIB)
    assert (shown.coordinator_rss_bytes, shown.zygote_rss_bytes, shown.model_server_rss_bytes) == (
        40 * MIB,
        60 * MIB,
        None,
    )
    assert (shown.limit_bytes, shown.tool_limit_bytes) == (4 * GIB, 2 * GIB)
    assert (shown.machine_bytes, shown.available_bytes, shown.pressure_percent) == (8 * GIB, 4 * GIB, 1.5)
    assert shown.short is None

    look(world, available=MIB)
    assert overview(world).short.startswith("the machine has 1.0 MiB")


def test_what_was_read_of_a_worker_is_kept_for_plots_so_long_and_no_longer():
    world = Simulated()
    a = world.new("a")
    session = world.world.sessions[a]
    for n in range(2 * (HISTORY + 10)):
        world.now_s += HISTORY_S / 2
        read(world, a, n * 1_000)
    points = list(session.history)

    assert len(points) == HISTORY
    assert points[1].at - points[0].at == pytest.approx(HISTORY_S)
    assert points[-1].uss_bytes == (2 * (HISTORY + 10) - 2) * 1_000
    assert points[-1].rss_bytes == points[-1].uss_bytes + 60 * MIB

    world.die(a)
    assert (session.history, session.memory, session.tree) == (None, Memory(), TreeMemory())


def test_a_reading_that_moved_far_is_kept_at_once_so_that_a_leak_is_seen_before_it_is_over():
    world = Simulated()
    a = world.new("a")
    for size in (10, 11, 70, 130, 131):
        world.now_s += 1
        read(world, a, size * MIB)

    assert [point.uss_bytes // MIB for point in world.world.sessions[a].history] == [10, 70, 130]


def test_a_drain_is_not_disturbed_by_want_of_memory():
    world, (a, _, _) = three()
    world.submit("a", "one")
    world.report(a, m.Started, seq=1, turn_id="t")
    world.step(ev.StopAsked(now=False))
    read(world, a, SOFT + 1)
    look(world, available=MIB)
    world.advance(1)

    assert state(world, a) == ("live", "running")


def test_a_session_that_waits_for_a_person_is_named_so():
    world = Simulated()
    a = world.new("a")
    world.world.sessions[a].work = Work.REQUIRES_ACTION

    assert overview(world).next_to_hibernate[0].why.startswith("waits for a person for 0 s; ")
