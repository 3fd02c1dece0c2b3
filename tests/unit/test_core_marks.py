"""Pins, the archive, drafts, and the end of everything: delete. The core alone."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.limits import PROMPT_BYTES
from tests.support.simulated import FIRST, Simulated, live

OTHER = b"other client"


def asleep(name: str = "a") -> tuple[Simulated, str]:
    world = Simulated()
    session = world.new(name)
    world.say(m.Hibernate(request=500, session=name))
    world.rest(session)
    return world, session


def names(world: Simulated, **flags: bool) -> list[str]:
    order = {"offset": 0, "waiting": False, "everything": False} | flags
    return [s.name for s in world.ask(m.ListSessions, **order).sessions]


# ---- marks


def test_a_mark_is_answered_when_it_is_durable():
    world = live()
    assert [a for a in world.say(m.Mark(request=9, session="a", mark="pinned", value=True)) if a] == []

    world.settle()
    assert world.to_clients[-1][1].session.pinned


def test_marks_survive_the_coordinator():
    world, _ = asleep()
    world.ask(m.Mark, session="a", mark="pinned", value=True)
    world.ask(m.Mark, session="a", mark="draft", value="not sent yet")
    world.reboot()

    shown = world.ask(m.Attach, session="a", observes=True)
    assert (shown.session.pinned, shown.draft) == (True, "not sent yet")


def test_an_archived_session_is_hidden_until_all_are_asked_for():
    world, _ = asleep()
    world.ask(m.Mark, session="a", mark="archived", value=True)
    assert (names(world), names(world, everything=True)) == ([], ["a"])

    world.ask(m.Mark, session="a", mark="archived", value=False)
    assert names(world) == ["a"]


@pytest.mark.parametrize(
    ("mark", "value", "code"),
    [
        ("pinned", "yes", "value.illegal"),
        ("draft", True, "value.illegal"),
        ("draft", "x" * (PROMPT_BYTES + 1), "prompt.too_large"),
    ],
)
def test_a_mark_of_the_wrong_kind_is_refused(mark, value, code):
    world, _ = asleep()

    assert world.ask(m.Mark, session="a", mark=mark, value=value).code == code


def test_a_mark_that_the_store_does_not_take_is_refused_and_forgotten():
    world = live()
    world.say(m.Mark(request=9, session="a", mark="pinned", value=True))
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.to_clients[-1][1].code == "store.failed"
    assert not world.world.sessions[FIRST].is_pinned


# ---- delete


def test_delete_removes_the_session_its_files_and_its_name():
    world, session = asleep()
    world.say(m.ClientHello(client="other", pid=2), OTHER)
    world.ask(m.Listen, OTHER)
    answer = world.ask(m.Delete, session="a")

    assert isinstance(answer, m.Done)
    assert world.heard(m.Changed, OTHER)[-1].after == "gone"
    assert session not in world.store.sessions
    assert names(world, everything=True) == []
    assert world.create("a").session.number == 1
    assert world.ask(m.GetSession, session=session).code == "session.unknown"


def test_what_workers_left_in_files_goes_when_the_rows_are_gone():
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Delete(request=9, session="a"))
    change = world.pending.popleft()
    effects = world.machine.step(ev.Committed(change, world.store.apply(change)), world.now_s)

    assert e.DropFiles(FIRST) in effects


def test_a_session_with_a_worker_is_not_deleted():
    world = Simulated()
    world.new("a")

    refused = world.ask(m.Delete, session="a")
    assert (refused.code, "close" in refused.hint) == ("session.busy", True)


def test_a_session_that_is_being_deleted_takes_no_prompt_and_no_wake():
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Delete(request=9, session="a"))

    assert world.ask(m.Submit, session="a", idem="k", text="late", follow=False).code == "session.closed"
    assert world.ask(m.Wake, session="a").code == "session.closed"
    assert world.ask(m.Delete, session="a").code == "session.closed"


def test_a_delete_that_the_store_does_not_take_leaves_everything_as_it_was():
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Delete(request=9, session="a"))
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.to_clients[-1][1].code == "store.failed"
    assert isinstance(world.ask(m.GetSession, session="a"), m.SessionAnswer)
    world.say(m.Delete(request=10, session="a"))
    world.settle()
    assert isinstance(world.to_clients[-1][1], m.Done)


def test_who_had_it_as_the_active_session_gets_another():
    world, _ = asleep()
    world.new("b")
    world.ask(m.Switch, session="a")
    world.ask(m.Delete, session="a")

    assert world.ask(m.GetSession, session=None).session.name == "b"
