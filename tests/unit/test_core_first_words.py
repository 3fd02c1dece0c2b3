"""Names and types that come from the first prompts, groups, templates: the core alone."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.settings import TemplateSettings, TypeSettings
from tests.support.simulated import FIRST, Simulated


def new(world: Simulated, name: str | None = None, **fields: object) -> m.Message:
    given = {"type": "", "model": None, "system": None, "cwd": "/", "env": {}}
    key = f"{len(world.store.sessions) + 0xAA:016x}"
    return world.ask(m.Create, id=key, name=name, **(given | fields))


def send(world: Simulated, text: str, session: str = FIRST) -> None:
    world.ask(m.Submit, session=session, idem=text, text=text, follow=False)


def shown(world: Simulated, session: str = FIRST):
    return world.ask(m.GetSession, session=session).session


def test_a_session_without_a_name_is_named_after_its_first_telling_prompt():
    world = Simulated()
    new(world)

    send(world, "hi")
    assert shown(world).name == "session-1"
    send(world, "harbour cranes")
    assert shown(world).name == "harbour-cranes"
    send(world, "another subject")

    assert shown(world).name == "harbour-cranes"
    assert shown(world, "session-1").id == FIRST  # what scripts call it


def test_session_n_means_a_session_that_is_named_so_before_number_n():
    world = Simulated()
    new(world)
    send(world, "harbour cranes")
    second = new(world, "session-1").session

    assert shown(world, "session-1").id == second.id


def test_a_later_prompt_names_nothing():
    world = Simulated()
    new(world)
    for n in range(6):
        send(world, f"{n}")

    send(world, "harbour cranes")

    assert shown(world).name == "session-1"


def test_two_sessions_about_one_thing_have_two_names():
    world = Simulated()
    new(world)
    second = new(world).session
    send(world, "harbour cranes")
    send(world, "harbour cranes", second.id)

    assert shown(world, second.id).name == "harbour-cranes-2"


@pytest.mark.parametrize("settings", [{"auto_names": False}, {}])
def test_what_a_person_named_or_nobody_wants_named_keeps_its_name(settings):
    world = Simulated(**settings)
    new(world, None if settings else "mine")
    send(world, "harbour cranes")

    assert shown(world).name == ("session-1" if settings else "mine")


def test_a_name_that_a_person_gave_later_stays_over_a_restart_too():
    world = Simulated()
    new(world)
    world.ask(m.Rename, session=FIRST, name="mine")
    world.reboot()
    send(world, "harbour cranes")

    assert shown(world).name == "mine"


def test_an_unnamed_session_is_still_named_after_a_restart():
    world = Simulated()
    new(world)
    world.reboot()
    send(world, "harbour cranes")

    assert shown(world).name == "harbour-cranes"


def test_a_rename_wins_over_a_name_that_is_on_its_way():
    world = Simulated()
    new(world)
    world._at_once = False
    world.say(m.Submit(request=1, session=FIRST, idem="k", text="harbour cranes", follow=False))
    world.step_one()  # the prompt is committed, the name is not
    world.say(m.Rename(request=2, session=FIRST, name="mine"))
    world.settle()
    world._at_once = True

    assert shown(world).name == "mine"
    assert new(world, "harbour-cranes").session.name == "harbour-cranes"  # it is free again


def test_a_name_that_the_store_did_not_take_is_free_and_nobody_is_told():
    world = Simulated()
    new(world)
    change = e.SaveName(FIRST, "harbour-cranes", b"", 0, is_auto=True, is_final=False)
    world._at_once = False
    world.say(m.Submit(request=1, session=FIRST, idem="k", text="harbour cranes", follow=False))
    world.step_one()
    assert change in world.pending
    world.pending.remove(change)
    told = len(world.to_clients)
    world.step(ev.CommitFailed(change, "no room"))
    world._at_once = True

    assert [to for to, _ in world.to_clients[told:]] == []
    assert new(world, "harbour-cranes").session.name == "harbour-cranes"


def test_the_worker_is_told_the_name_and_nobody_is_answered():
    world = Simulated()
    new(world)
    world.hello(FIRST)
    told = len(world.to_clients)
    send(world, "harbour cranes")

    assert m.Renamed(name="harbour-cranes") in [message for _, message in world.to_workers]
    assert not any(isinstance(message, m.SessionAnswer) for _, message in world.to_clients[told:])


# ---- types


def test_a_type_is_proposed_and_changed_only_by_a_person():
    world = Simulated()
    new(world)
    send(world, "please review this diff")

    assert (shown(world).type, shown(world).proposed_type) == ("development", "review")
    world.reboot()
    assert shown(world).proposed_type == "review"
    changed = world.ask(m.Mark, session=FIRST, mark="type", value="review").session
    assert (changed.type, changed.proposed_type) == ("review", None)
    world.reboot()
    assert (shown(world).type, shown(world).proposed_type) == ("review", None)


def test_nothing_is_proposed_to_who_chose_a_type():
    world = Simulated()
    new(world, type="development")
    send(world, "please review this diff")

    assert shown(world).proposed_type is None


def test_nothing_is_proposed_after_a_type_was_set():
    world = Simulated()
    new(world)
    world.ask(m.Mark, session=FIRST, mark="type", value="debug")
    send(world, "please review this diff")

    assert shown(world).proposed_type is None


@pytest.mark.parametrize("value", ["poetry", "", True])
def test_a_type_that_does_not_exist_is_refused(value):
    world = Simulated()
    new(world)

    assert world.ask(m.Mark, session=FIRST, mark="type", value=value).code == "value.illegal"


def test_a_worker_is_told_what_its_session_s_type_says():
    world = Simulated(types={"review": TypeSettings(system="Be strict.")})
    new(world)
    world.hello(FIRST)
    world.ask(m.Mark, session=FIRST, mark="type", value="review")

    assert m.Retyped(type="review", system="Be strict.") in [message for _, message in world.to_workers]
    second = new(world, type="review").session
    world.hello(second.id)
    welcomes = [message for _, message in world.to_workers if isinstance(message, m.Welcome)]
    assert [(w.type, w.system) for w in welcomes] == [("development", None), ("review", "Be strict.")]


# ---- groups and templates


def test_the_list_of_a_group_has_its_sessions_alone():
    world = Simulated()
    new(world, "a", group="night")
    new(world, "b")
    new(world, "c", group="night")

    def names(**fields: object) -> list[str]:
        order = {"offset": 0, "waiting": False, "everything": False} | fields
        return [s.name for s in world.ask(m.ListSessions, **order).sessions]

    assert names(group="night") == ["a", "c"]
    assert names(group="night", offset=1) == ["c"]
    assert names(group="night", waiting=True) == []
    assert names(group="day") == []
    assert names() == ["a", "b", "c"]
    world.reboot()
    assert names(group="night") == ["a", "c"]
    assert shown(world).group == "night"


def test_a_deleted_session_is_in_no_group():
    world = Simulated()
    new(world, "a", group="review")  # a group may be called like a type
    world.world.remove(world.world.sessions[FIRST])

    listed = world.ask(m.ListSessions, offset=0, waiting=False, everything=True, group="review")
    assert listed.sessions == []
    assert world.world.roll._groups == {}


@pytest.mark.parametrize("group", ["", "x" * 65, "a/b", "a\nb"])
def test_a_group_s_name_has_the_characters_of_names(group):
    assert new(Simulated(), group=group).code == "name.illegal"


def test_a_template_is_remembered_and_must_be_known():
    world = Simulated(templates={"t": TemplateSettings()})

    assert new(world, template="no").code == "template.unknown"
    assert new(world, template="t").session.template == "t"
    world.reboot()
    assert shown(world).template == "t"


def test_a_fork_has_group_template_and_the_type_of_today():
    world = Simulated(templates={"t": TemplateSettings()})
    new(world, "a", template="t", group="g")
    world.ask(m.Mark, session="a", mark="type", value="review")
    forked = world.ask(m.Fork, id="00000000000000ff", session="a", at_seq=None, name=None).session

    assert (forked.group, forked.template, forked.type) == ("g", "t", "review")
    assert world.ask(m.Fork, id="00000000000000fe", session="a", at_seq=None, name="x" * 65).code == "name.illegal"
    world.reboot()
    forked = shown(world, forked.id)
    assert (forked.group, forked.template, forked.type) == ("g", "t", "review")


def test_a_name_may_be_as_long_as_configured():
    world = Simulated(name_max_length=16)

    assert new(world, "x" * 17).code == "name.illegal"
    assert new(world, "x" * 16).session.name == "x" * 16
    assert world.ask(m.Rename, session="x" * 16, name="y" * 17).code == "name.illegal"
