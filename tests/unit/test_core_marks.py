"""Pins, the archive, drafts, and the end of everything: delete. The core alone."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.governing import permits_view
from protocol import messages as m
from protocol.limits import PROMPT_BYTES
from protocol.views import Usage
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


# ---- the model


def wanted(world: Simulated, session: str) -> tuple[str, float | None]:
    """Return what the worker's next turn is told to speak with."""
    order = ev.WorkerSpoke(world.peer(session), m.EndpointWanted(session=session, epoch=1))
    found = [x for x in world.machine.step(order, world.now_s) if isinstance(x, e.SendEndpoint)]
    return found[0].model, found[0].temperature


def test_another_model_counts_from_the_next_turn_on():
    world = Simulated()
    session = world.new("a")
    one, two = world.submit("a", "one").seq, world.submit("a", "two").seq
    assert wanted(world, session) == ("m", None)

    shown = world.ask(m.Mark, session="a", mark="model", value="other").session
    assert shown.model == "other"
    assert wanted(world, session) == ("m", None)

    world.report(session, m.Started, seq=one, turn_id="t")
    world.report(session, m.PermitWanted, boot=1, call=1, turn_id="t")
    world.report(session, m.PermitReturned, boot=1, call=1, status=429, retry_after_s=9.0)
    gates = [gate.provider for gate in permits_view(world.world, world.now_s).gates]
    assert gates == ["http://127.0.0.1:1/v1"]

    world.answer(session, one, "1", started=False)
    assert world.world.sessions[session].turn.seq == two
    assert wanted(world, session) == ("other", None)


def test_another_model_survives_the_coordinator():
    world, session = asleep()
    world.ask(m.Mark, session="a", mark="model", value="other")
    world.reboot()

    assert world.ask(m.GetSession, session="a").session.model == "other"
    assert world.world.sessions[session].model == "other"


@pytest.mark.parametrize(("value", "code"), [("nobody's", "model.unknown"), (True, "value.illegal")])
def test_a_model_that_there_is_not_is_refused(value, code):
    world, _ = asleep()

    assert world.ask(m.Mark, session="a", mark="model", value=value).code == code
    assert world.ask(m.GetSession, session="a").session.model == "m"


# ---- the temperature


def test_a_temperature_goes_to_every_turn_and_survives_the_coordinator():
    world = Simulated()
    made = world.create("a", temperature=1.5)
    world.hello(made.session.id)

    assert made.session.temperature == 1.5
    assert wanted(world, made.session.id) == ("m", 1.5)

    world.reboot()
    assert world.ask(m.GetSession, session="a").session.temperature == 1.5


def test_another_temperature_counts_from_the_next_turn_on_and_survives_the_coordinator():
    world = Simulated()
    made = world.create("a", temperature=1.5)
    world.hello(made.session.id)
    shown = world.ask(m.Mark, session="a", mark="temperature", value=0.25).session

    assert shown.temperature == 0.25
    assert wanted(world, made.session.id) == ("m", 0.25)

    world.ask(m.Mark, session="a", mark="temperature", value=0)
    world.reboot()

    assert world.ask(m.GetSession, session="a").session.temperature == 0.0
    assert world.ask(m.Mark, session="a", mark="temperature", value=None).session.temperature is None


@pytest.mark.parametrize("value", [-0.1, 2.1, float("nan"), True, "hot"])
def test_another_temperature_out_of_range_is_refused(value):
    world = Simulated()
    world.new("a")

    assert world.ask(m.Mark, session="a", mark="temperature", value=value).code == "value.illegal"


@pytest.mark.parametrize("value", [-0.1, 2.1, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_refused(value):
    assert Simulated().create("a", temperature=value).code == "value.illegal"


# ---- what the model does not see


def test_whoever_looks_is_told_how_much_the_model_did_not_see():
    world = Simulated()
    session = world.new("a")
    world.ask(m.Attach, session="a")
    seq = world.submit("a", "one").seq
    world.report(
        session, m.Reply, seq=seq, turn_id="t", text="x", stop_reason="completed", usage=Usage(), pieces=0, left_out=4
    )

    assert [final.left_out for final in world.heard(m.Final)] == [4]
