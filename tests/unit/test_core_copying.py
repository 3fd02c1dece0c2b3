"""Forks and imports as clients see them: answered when they are durable, made once, and felt by nobody else."""

import dataclasses

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.errors import StoreReadOnly
from protocol.limits import IMPORT_ROWS, NAME_CHARS
from protocol.settings import TemplateSettings
from protocol.views import HistoryRow, ParentView
from tests.support.simulated import CLIENT, FIRST, Simulated, live, state

NEW, OTHER = "00000000000000f1", "00000000000000f2"
IMPORTED = {
    "id": NEW, "batch": "00000000000000bb", "name": "in", "type": "review", "model": "m", "system": None,
    "cwd": "/", "env": {}, "created_at": 1.0, "last_active_at": 2.0, "closed": False, "archived": False,
    "parent": None, "origin": "codex:1", "messages": 2,
}  # fmt: skip


def talked() -> Simulated:
    """A world with a session FIRST of two turns."""
    world = live()
    world._at_once = True
    for seq in (1, 3):
        world.submit(FIRST, f"prompt {seq}")
        world.answer(FIRST, seq, f"answer {seq}")
    return world


def fork(world: Simulated, session: str = "a", key: str = NEW, **fields: object) -> m.Message:
    return world.ask(m.Fork, session=session, id=key, **fields)


def row(seq: int, reply_to: int | None = None, **fields: object) -> HistoryRow:
    role, stop = ("user", None) if reply_to is None else ("assistant", "completed")
    own = {"role": role, "text": f"text {seq}", "turn_id": None, "stop_reason": stop, "at": 1.0, "reply_to": reply_to}
    return HistoryRow(seq=seq, **(own | fields))


def imported(world: Simulated, key: str = NEW, **fields: object) -> m.Message:
    return world.ask(m.ImportSession, **(IMPORTED | {"id": key} | fields))


def stage(world: Simulated, *rows: HistoryRow, batch: str = "00000000000000bb") -> m.Message:
    return world.ask(m.ImportRows, batch=batch, rows=list(rows))


# ---- fork


def test_a_fork_sleeps_with_the_conversation_and_knows_its_parent():
    world = talked()
    answer = fork(world)

    assert isinstance(answer, m.SessionAnswer), answer
    made = answer.session
    assert (made.id, made.name, made.residency, made.messages) == (NEW, "a-fork", "hibernated", 4)
    assert made.parent == ParentView(session=FIRST, seq=4)
    assert (made.unanswered, made.active, made.pid) == (0, False, None)


def test_a_fork_is_not_felt_by_its_source():
    world = talked()
    before, said = state(world, FIRST), len(world.to_workers)
    fork(world)

    assert state(world, FIRST) == before
    assert len(world.to_workers) == said
    assert len(world.processes) == 1


def test_a_fork_is_answered_when_it_is_durable_and_made_once():
    world = talked()
    world._at_once = False
    order = m.Fork(request=7_000, session="a", id=NEW)

    assert world.say(order) == []
    assert world.say(order) == []  # a resend while it is being committed
    world.settle()
    (answer,) = [a for a in world.heard(m.SessionAnswer) if a.request == 7_000]
    assert answer.session.id == NEW
    (again,) = world.say(order)
    assert again.session.id == NEW
    assert len(world.world.sessions) == 2


def test_a_fork_has_what_its_source_had_when_it_was_made_durable():
    world = talked()
    world._at_once = False
    world.say(m.Mark(request=8, session="a", mark="model", value="other"))
    world.say(m.Mark(request=9, session="a", mark="temperature", value=0.5))
    world.say(m.Fork(request=10, session="a", id=NEW))
    world.settle()
    before = world.world.sessions[NEW]

    assert (before.model, before.temperature) == ("other", 0.5)

    world.reboot()

    assert (world.world.sessions[NEW].model, world.world.sessions[NEW].temperature) == ("other", 0.5)


def test_a_fork_that_is_not_durable_is_in_no_list():
    world = talked()
    world._at_once = False
    world.say(m.Fork(request=7_000, session="a", id=NEW))

    assert [s.name for s in world.ask(m.ListSessions, offset=0, waiting=False, everything=True).sessions] == ["a"]


def test_forks_get_names_that_nobody_has():
    world = talked()
    names = [fork(world, key=f"{n:016x}").session.name for n in range(0xF1, 0xF4)]

    assert names == ["a-fork", "a-fork-2", "a-fork-3"]


def test_a_fork_can_be_given_a_name_and_one_that_is_taken_is_refused():
    world = talked()

    assert fork(world, name="b").session.name == "b"
    assert fork(world, key=OTHER, name="a").code == "name.taken"
    assert fork(world, key=OTHER, name="7").code == "name.illegal"
    assert OTHER not in world.world.sessions


def test_the_longest_name_leaves_room_for_the_end():
    world = talked()
    world.ask(m.Rename, session="a", name="x" * NAME_CHARS)
    made = fork(world, session=FIRST).session

    assert made.name == "x" * (NAME_CHARS - 5) + "-fork"


def test_a_fork_at_a_message_that_is_not_there_leaves_nothing():
    world = talked()
    answer = fork(world, at_seq=9)

    assert answer.code == "value.illegal"
    assert NEW not in world.world.sessions
    assert fork(world, at_seq=2).session.messages == 2  # the name is free again, and the id


def test_a_fork_goes_on_by_itself_with_its_first_prompt():
    world = talked()
    fork(world)
    ack = world.submit(NEW, "and now?")

    assert ack.seq == 5
    assert state(world, NEW)[0] == "waking"
    world.hello(NEW)
    world.answer(NEW, 5, "so")
    assert [row["text"] for row in world.store.messages[NEW]][-2:] == ["and now?", "so"]
    assert len(world.store.messages[FIRST]) == 4


def test_a_fork_survives_a_restart_of_the_coordinator():
    world = talked()
    fork(world)
    world.reboot()
    found = world.ask(m.GetSession, session="a-fork").session

    assert (found.residency, found.messages, found.parent) == ("hibernated", 4, ParentView(session=FIRST, seq=4))


def test_a_fork_that_the_store_does_not_take_leaves_nothing():
    world = talked()
    world._at_once = False
    world.say(m.Fork(request=7_000, session="a", id=NEW))
    change = world.pending.pop()
    world.step(ev.CommitFailed(change, "disk full"))

    assert NEW not in world.world.sessions
    assert [r.code for r in world.heard(m.Refused) if r.request == 7_000] == ["store.failed"]


def test_nothing_is_copied_while_the_store_is_read_only_or_everything_leaves():
    world = talked()
    world.step(ev.StoreTurned("disk full"))
    assert fork(world).code == StoreReadOnly.code
    assert imported(world).code == StoreReadOnly.code
    assert stage(world, row(1)).code == StoreReadOnly.code
    world.step(ev.StoreTurned(None))
    world.ask(m.ShutDown, now=False)

    assert fork(world).code == "coordinator.stopping"


def test_a_bad_id_makes_no_session():
    world = talked()

    assert fork(world, key="../x").code == "id.taken"
    assert imported(world, key="x").code == "id.taken"
    assert stage(world, row(1), batch="b").code == "id.taken"


# ---- import


def test_an_import_sleeps_with_all_that_was_handed_over():
    world = talked()
    assert isinstance(stage(world, row(1), row(2, 1)), m.Done)
    made = imported(world).session

    assert (made.id, made.name, made.type, made.residency) == (NEW, "in", "review", "hibernated")
    assert (made.messages, made.tokens, made.created_at, made.last_active_at) == (2, 0, 1.0, 2.0)
    assert made.origin == "codex:1"


def test_an_imported_session_has_the_epoch_that_the_store_gave_it():
    world = talked()
    stage(world, row(1), row(2, 1))
    world._at_once = False
    world.say(m.ImportSession(request=8_000, **IMPORTED))
    change = world.pending.pop()
    world.step(ev.Committed(change, dataclasses.replace(world.store.apply(change), epoch=7)))

    assert world.world.sessions[NEW].epoch == 7


def test_half_an_import_becomes_nothing():
    world = talked()
    stage(world, row(1))

    assert imported(world).code == "value.illegal"
    assert NEW not in world.world.sessions


def test_the_same_is_not_imported_twice_also_after_a_restart():
    world = talked()
    stage(world, row(1), row(2, 1))
    imported(world)
    world.reboot()

    found = world.ask(m.FindOrigin, origin="codex:1", id=NEW)
    assert (found.session.id, found.id_is_free) == (NEW, False)
    assert imported(world, key=OTHER).session.id == NEW
    assert OTHER not in world.world.sessions


def test_who_imports_the_same_at_the_same_time_gets_the_first_one():
    world = talked()
    stage(world, row(1), row(2, 1))
    stage(world, row(1), row(2, 1), batch="00000000000000bc")
    world._at_once = False
    world.say(m.ImportSession(request=8_000, **IMPORTED))
    second = m.ImportSession(request=8_001, **(IMPORTED | {"id": OTHER, "batch": "00000000000000bc"}))
    assert world.say(second) == []
    world.settle()
    (answer,) = world.say(second)

    assert answer.session.id == NEW


def test_an_unknown_origin_and_a_free_id_are_told():
    world = talked()
    found = world.ask(m.FindOrigin, origin="codex:2", id=NEW)

    assert (found.session, found.id_is_free) == (None, True)
    assert not world.ask(m.FindOrigin, origin="codex:2", id=FIRST).id_is_free
    assert not world.ask(m.FindOrigin, origin="codex:2", id="").id_is_free


@pytest.mark.parametrize(("name", "given"), [("a", "a-2"), ("in", "in"), ("", "session"), ("../x", "session"),
                                             ("7", "session"), ("debug", "session")])  # fmt: skip
def test_an_import_gets_a_name_that_is_one_and_that_nobody_has(name, given):
    world = talked()
    stage(world, row(1), row(2, 1))

    assert imported(world, name=name).session.name == given


def test_a_type_or_model_that_is_not_known_here_becomes_the_default():
    world = talked()
    stage(world, row(1), row(2, 1))
    made = imported(world, type="poetry", model="gone").session

    assert (made.type, made.model) == ("development", "m")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"group": "night", "template": "strict", "temperature": 0.5}, ("night", "strict", 0.5)),
        ({"group": "../x", "template": "lax", "temperature": 9.0}, (None, None, None)),
        ({"temperature": float("nan")}, (None, None, None)),
        ({"temperature": 0.0}, (None, None, 0.0)),
    ],
)
def test_an_import_keeps_group_template_and_temperature_where_they_can_be(given, kept):
    world = live(templates={"strict": TemplateSettings()})
    world._at_once = True
    stage(world, row(1), row(2, 1))
    made = imported(world, messages=2, **given).session

    assert (made.group, made.template, made.temperature) == kept

    world.reboot()
    back = world.world.sessions[NEW]

    assert (back.group, back.template, back.temperature) == kept


def test_a_closed_session_comes_back_closed_and_takes_no_slot_or_name():
    world = talked()
    stage(world, row(1), row(2, 1))
    made = imported(world, closed=True).session

    assert made.residency == "stopped"
    assert isinstance(world.create("in"), m.SessionAnswer)
    assert world.submit(NEW, "x").code == "session.closed"


@pytest.mark.parametrize(
    "bad",
    [
        row(1, role="system"),
        row(1, role="assistant"),
        row(2, 1, stop_reason="maybe"),
        row(2, 1, stop_reason=None),
        row(0),
        row(IMPORT_ROWS + 1),
        row(1, at=float("nan")),
        row(1, at=-1.0),
        row(1, text="x" * ((8 << 20) + 1)),
    ],
)
def test_what_is_no_message_is_refused(bad):
    world = talked()
    answer = stage(world, bad)

    assert answer.code == "value.illegal"
    assert world.store.staged == {}


@pytest.mark.parametrize(
    "bad",
    [
        {"system": "x" * (65 << 10)},
        {"cwd": "x" * 5_000},
        {"env": {"A": "x" * (129 << 10)}},
        {"origin": "x" * 201},
        {"messages": IMPORT_ROWS + 1},
        {"created_at": float("inf")},
        {"last_active_at": -1.0},
    ],
)
def test_what_is_too_large_for_a_session_is_refused(bad):
    world = talked()

    assert imported(world, **bad).code == "value.illegal"
    assert NEW not in world.world.sessions


# ---- looked at


def test_an_outline_is_what_an_export_says_beside_the_messages():
    world = talked()
    stage(world, row(1), row(2, 1))
    imported(world)
    fork(world, session=NEW, key=OTHER)

    own = world.ask(m.Outline, session=NEW).session
    assert (own.name, own.origin, own.messages, own.closed) == ("in", "codex:1", [], False)
    child = world.ask(m.Outline, session=OTHER).session
    assert (child.parent, child.origin) == (ParentView(session=NEW, seq=2), None)


def test_what_came_back_from_an_export_of_ours_has_no_foreign_origin():
    world = talked()
    stage(world, row(1), row(2, 1))
    imported(world, origin=f"chat-coord:{FIRST}")

    assert world.ask(m.Outline, session=NEW).session.origin is None


@pytest.mark.parametrize("text", ["", " ", "--", "x" * 1_025, "x " * 33])
def test_a_search_for_nothing_or_too_much_is_refused(text):
    assert talked().ask(m.Search, text=text).code == "value.illegal"


def test_a_search_and_usage_are_questions_to_the_store():
    world = talked()
    orders = world.machine.step(ev.ClientSpoke(CLIENT, m.Search(request=1, text="x y", limit=5)), world.now_s)
    assert orders == [e.SendFound(CLIENT, 1, "x y", 5)]
    orders = world.machine.step(ev.ClientSpoke(CLIENT, m.GetUsage(request=2, session="a", since=3.0)), world.now_s)
    assert orders == [e.SendUsage(CLIENT, 2, FIRST, 3.0)]
    assert world.ask(m.GetUsage, session="nobody").code == "session.unknown"


def test_prompts_without_a_reply_are_counted_while_they_wait_and_run():
    world = talked()
    world.submit(FIRST, "x")
    world.submit(FIRST, "y")
    assert world.ask(m.GetSession, session=FIRST).session.unanswered == 2
    world.answer(FIRST, 5, "done")

    assert world.ask(m.GetSession, session=FIRST).session.unanswered == 1


def test_a_reply_is_stored_with_the_model_that_gave_it():
    world = live()
    world.say(m.Submit(request=9_000, session=FIRST, idem="k", text="x", follow=False))
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id="t")
    world.report(FIRST, m.Reply, seq=1, turn_id="t", text="y", stop_reason="completed", usage=m.Usage(), pieces=0)
    (reply,) = [change for change in world.pending if isinstance(change, e.InsertReply)]

    assert reply.model == "m"
