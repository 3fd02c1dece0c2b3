"""Clients: who is known, what is forgotten, what lists and lookups show, what is refused. The core alone."""

import pytest

from coordinator.core import events as ev
from coordinator.core.effects import Commit, SaveActive, SaveSeen, SendHistory, SendStatus
from protocol import messages as m
from protocol.limits import CWD_BYTES, ENV_BYTES, PAGE_SESSIONS, PROMPT_BYTES, SYSTEM_BYTES
from tests.support.simulated import CLIENT, FIRST, Simulated


def orders(world: Simulated, message: m.Message, kind: type, peer: bytes = CLIENT) -> list:
    """Return the orders of a kind that follow from a client's message; none is carried out."""
    effects = world.machine.step(ev.ClientSpoke(peer, message), world.now_s)
    return [effect for effect in effects if isinstance(effect, kind)]


def saved(world: Simulated, message: m.Message, kind: type) -> list:
    return [order.change for order in orders(world, message, Commit) if isinstance(order.change, kind)]


def names(world: Simulated, *, everything: bool = False, offset: int = 0) -> list[str]:
    answer = world.ask(m.ListSessions, offset=offset, waiting=False, everything=everything)
    return [view.name for view in answer.sessions]


def test_a_hello_is_answered_with_who_answers():
    (welcome,) = Simulated().say(m.ClientHello(client="tty", pid=2), b"tty")

    assert (welcome.boot, welcome.pid) == (1, 0)


def test_a_ping_of_a_stranger_is_answered_with_no_boot_so_that_it_says_hello():
    world = Simulated()

    assert [pong.boot for pong in world.say(m.ClientPing(), b"stranger")] == [0]
    assert [pong.boot for pong in world.say(m.ClientPing())] == [1]


def test_a_request_before_hello_is_refused():
    assert Simulated().ask(m.Listen, b"stranger").code == "protocol.hello_missing"


def test_a_client_that_says_hello_again_goes_on_listening():
    world = Simulated()
    world.ask(m.Listen)
    world.say(m.ClientHello(client="cli", pid=1))
    world.new("a")

    assert world.heard(m.Changed)


@pytest.mark.parametrize("sign_of_life", [m.ClientPing(), m.Listen(request=1)])
def test_a_silent_client_is_forgotten_and_one_that_is_heard_is_not(sign_of_life: m.Message):
    world = Simulated()
    world.say(m.ClientHello(client="tty", pid=2), b"tty")
    world.advance(6)
    world.say(sign_of_life)
    world.advance(6)

    assert list(world.world.peers) == [CLIENT]


def test_a_stall_of_the_coordinator_forgets_no_client():
    world = Simulated()
    world.advance(1)
    world.now_s += 60
    world.step(ev.Ticked(0))

    assert list(world.world.peers) == [CLIENT]


def test_the_active_session_of_a_terminal_goes_with_its_last_connection():
    world = Simulated()
    for peer in (b"one", b"two"):
        world.say(m.ClientHello(client="tty", pid=2), peer)
    world.new("a")
    world.ask(m.Switch, b"one", session="a")
    world.say(m.ClientBye(), b"one")
    still = dict(world.world.active)
    world.say(m.ClientBye(), b"two")

    assert still == {"cli": FIRST[:-2] + "01", "tty": FIRST[:-2] + "01"}
    assert list(world.world.active) == ["cli"]


def test_the_active_session_of_the_command_line_outlives_its_connections():
    world = Simulated()
    session = world.new("a")
    world.say(m.ClientBye())

    assert world.world.active == {"cli": session}


def test_only_the_active_session_of_the_command_line_is_saved():
    world = Simulated()
    world.say(m.ClientHello(client="tty", pid=2), b"tty")
    session = world.new("a")
    world.new("b")
    mine = saved(world, m.Switch(request=1, session="b"), SaveActive)

    assert world.store.active == {"cli": session}
    assert [change.client for change in mine] == ["cli"]
    assert not orders(world, m.Switch(request=2, session="a"), Commit, b"tty")


def test_nobody_switches_to_a_closed_session():
    world = Simulated()
    session = world.new("a")
    world.say(m.Close(request=99, session="a"))
    world.die(session, signal=None, code=0)

    assert world.ask(m.Switch, session="a").code == "session.closed"


def test_the_first_session_becomes_active_and_the_second_does_not():
    world = Simulated()
    first, second = world.create("a"), world.create("b")

    assert (first.session.active, second.session.active) == (True, False)


def test_a_lookup_finds_by_name_and_without_a_name_the_active_one_or_none():
    world = Simulated()
    nothing = world.ask(m.GetSession, session=None)
    one, two = world.new("one"), world.new("two")

    assert nothing.session is None
    assert world.ask(m.GetSession, session=None).session.id == one
    assert world.ask(m.GetSession, session="two").session.id == two


def test_a_list_shows_closed_sessions_only_when_everything_is_asked_for():
    world = Simulated()
    session = world.new("a")
    world.new("b")
    world.say(m.Close(request=99, session="a"))
    world.die(session, signal=None, code=0)

    assert names(world) == ["b"]
    assert names(world, everything=True) == ["b", "a"]


def test_a_session_that_is_not_committed_is_in_no_list():
    world = Simulated(commits_at_once=False)
    world.order_session("a")

    assert names(world) == []


def test_a_list_comes_in_pages():
    world = Simulated(max_active_sessions=PAGE_SESSIONS + 1)
    for n in range(PAGE_SESSIONS):
        world.new(f"s{n}")
    whole = world.ask(m.ListSessions, offset=0, waiting=False, everything=False)
    world.new("last")
    first = world.ask(m.ListSessions, offset=0, waiting=False, everything=False)

    assert (len(whole.sessions), whole.more) == (PAGE_SESSIONS, False)
    assert (len(first.sessions), first.more) == (PAGE_SESSIONS, True)
    assert names(world, offset=PAGE_SESSIONS) == ["last"]


def test_a_page_of_history_is_fetched_and_looking_at_it_once_is_saved_once():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")

    assert not saved(world, m.Fetch(request=1, session="a", after_seq=0, view=False), SaveSeen)
    assert world.world.sessions[session].waiting_since is not None

    assert saved(world, m.Fetch(request=2, session="a", after_seq=0, view=True), SaveSeen) == [SaveSeen(session)]
    assert not saved(world, m.Fetch(request=3, session="a", after_seq=0, view=True), SaveSeen)
    assert world.world.sessions[session].waiting_since is None

    page = orders(world, m.Fetch(request=4, session="a", after_seq=1, view=True), SendHistory)
    assert page == [SendHistory(CLIENT, 4, session, 1)]


def test_who_listens_hears_that_an_answer_was_seen():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.answer(session, 1, "answer")
    world.ask(m.Listen)
    world.ask(m.Attach, session="a")
    seen = world.heard(m.Changed)[-1]

    assert (seen.before, seen.after, seen.cause) == ("unread", "idle", "seen")


def test_who_detaches_looks_at_nothing():
    world = Simulated()
    world.new("a")
    world.ask(m.Attach, session="a")
    attached = world.ask(m.GetSession, session="a").session.attached
    detached = world.ask(m.Attach, session=None)

    assert attached
    assert detached.session is None
    assert not world.ask(m.GetSession, session="a").session.attached


def test_the_counts_are_of_sessions_by_where_they_are():
    world = Simulated(max_active_sessions=2)
    asleep = world.new("asleep")
    world.die(asleep)
    queued = world.new("queued")
    world.die(queued)
    for name in ("one", "two"):
        world.new(name)
        world.ask(m.Attach, session=name)
        world.submit(name, "hello")
    world.submit("queued", "wake up")
    (status,) = orders(world, m.GetStatus(request=1), SendStatus)
    found = status.sessions

    assert (found.live, found.queued, found.hibernated, found.total, found.max_active) == (2, 1, 1, 4, 2)


def test_a_view_tells_the_place_in_line_the_running_turn_and_the_node():
    world = Simulated(max_active_sessions=1)
    queued = world.new("queued")
    world.die(queued)
    busy = world.new("busy")
    world.submit("busy", "one")
    world.submit("busy", "two")
    world.report(busy, m.Started, seq=1, turn_id="t")
    world.submit("queued", "wake up")
    here, there = (world.ask(m.GetSession, session=name).session for name in ("busy", "queued"))

    assert (here.node, here.pid, here.work_detail) == (
        "node",
        102,
        {"seq": 1, "turn_id": "t", "prompts_waiting": 1, "asks": 0, "stalled": False},
    )
    assert (there.node, there.pid, there.work_detail) == (None, None, {"position": 1})


def test_a_rename_is_answered_and_the_worker_is_told():
    world = Simulated()
    session = world.new("a")
    answer = world.ask(m.Rename, session="a", name="b")
    told = [message.name for to, message in world.to_workers if isinstance(message, m.Renamed)]

    assert (answer.session.id, answer.session.name, told) == (session, "b", ["b"])


def test_a_rename_of_a_sleeping_session_is_answered_too():
    world = Simulated()
    world.die(world.new("a"))

    assert world.ask(m.Rename, session="a", name="b").session.name == "b"
    assert not [message for _, message in world.to_workers if isinstance(message, m.Renamed)]


def test_a_session_may_keep_its_name_and_take_that_of_a_closed_one_but_of_no_other():
    world = Simulated()
    closed = world.new("closed")
    world.say(m.Close(request=99, session="closed"))
    world.die(closed, signal=None, code=0)
    world.new("a")
    world.new("b")

    assert world.ask(m.Rename, session="a", name="a").session.name == "a"
    assert world.ask(m.Rename, session="a", name="closed").session.name == "closed"
    assert world.ask(m.Rename, session="b", name="closed").code == "name.taken"


def test_sessions_without_a_name_get_the_lowest_free_number_and_a_free_name():
    world = Simulated()
    first = world.create().session
    world.create("session-3")
    world.create("other")
    fourth = world.create().session
    world.say(m.Close(request=99, session="1"))
    world.die(first.id, signal=None, code=0)
    again = world.create().session

    assert (first.name, first.number) == ("session-1", 1)
    assert (fourth.name, fourth.number) == ("session-4", 4)
    assert (again.name, again.number) == ("session-1", 1)


def test_a_name_that_is_taken_is_stepped_over():
    world = Simulated()
    world.create("session-2")

    assert world.create().session.name == "session-3"


def test_an_order_that_comes_twice_makes_one_session_and_is_answered_twice():
    world = Simulated(commits_at_once=False)
    order = m.Create(request=1, id=FIRST, name="a", type="debug", model=None, system=None, cwd="/", env={})
    world.say(order)
    world.say(order)
    world.settle()
    early = len(world.heard(m.SessionAnswer))
    world.say(order)

    assert (early, len(world.heard(m.SessionAnswer))) == (1, 2)
    assert list(world.world.sessions) == [FIRST]


def test_an_order_with_a_key_that_is_no_identifier_is_refused():
    order = m.Create(request=1, id="../x", name="a", type="debug", model=None, system=None, cwd="/", env={})

    assert [answer.code for answer in Simulated().say(order)] == ["id.taken"]


@pytest.mark.parametrize(
    "fields", [{"system": "x" * SYSTEM_BYTES}, {"cwd": "/" * CWD_BYTES}, {"env": {"A": "x" * (ENV_BYTES - 1)}}]
)
def test_a_field_of_exactly_the_allowed_size_is_taken(fields: dict):
    assert isinstance(Simulated().create("a", **fields), m.SessionAnswer)


@pytest.mark.parametrize(
    ("text", "idem", "code"),
    [
        (" \n", "k", "prompt.empty"),
        ("x" * (PROMPT_BYTES + 1), "k", "prompt.too_large"),
        ("one", "k" * 129, "value.illegal"),
        ("one", "", "value.illegal"),
    ],
)
def test_an_illegal_prompt_is_refused(text: str, idem: str, code: str):
    world = Simulated()
    world.new("a")
    order = m.Submit(request=9, session="a", idem=idem, text=text, follow=False)

    assert [answer.code for answer in world.say(order)] == [code]


def test_a_prompt_and_a_key_of_exactly_the_allowed_size_are_taken():
    world = Simulated()
    world.new("a")

    assert isinstance(world.submit("a", "x" * PROMPT_BYTES, "k" * 128), m.Ack)
