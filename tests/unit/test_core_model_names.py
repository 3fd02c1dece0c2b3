"""A session's model is asked once for a name, if that takes nothing from anybody; a person's name wins for ever."""

import sqlite3

import pytest

from coordinator.core import effects as e
from coordinator.core.auto_names import name_of_model
from coordinator.shell import records
from coordinator.shell.schema import prepare
from protocol import messages as m
from protocol.settings import ModelSettings
from protocol.views import Usage
from tests.support.simulated import FIRST, Simulated

COST = Usage(input_tokens=30, output_tokens=4)


def talked(text: str = "why does the parser crash", **settings: object) -> Simulated:
    """A world with a session that was given no name, after its first turn."""
    world = Simulated(**settings)
    given = {"type": "", "model": None, "system": None, "cwd": "/", "env": {}}
    world.ask(m.Create, id=FIRST, name=None, **given)
    world.hello(FIRST)
    world.ask(m.Submit, session=FIRST, idem="k", text=text, follow=False)
    world.answer(FIRST, 1, "Because.")
    return world


def asked(world: Simulated) -> int:
    return sum(isinstance(message, m.NameWanted) for _, message in world.to_workers)


def want(world: Simulated, session: str = FIRST) -> list[type]:
    """Let the worker ask for the permit, and return the kinds of what it is told."""
    answers = world.report(session, m.PermitWanted, boot=world.world.boot, call=7, turn_id=m.NAMING)
    return [type(answer) for answer in answers]


def give(world: Simulated, text: str) -> None:
    world.report(FIRST, m.NameGiven, text=text, usage=COST)


def name(world: Simulated) -> str:
    return world.ask(m.GetSession, session=FIRST).session.name


def test_after_its_first_turn_the_model_gives_the_name_and_that_stays():
    world = talked()

    assert (name(world), asked(world)) == ("parser-crash", 1)
    assert want(world) == [m.Permit]

    give(world, '"Parser Crash Fix".\n')

    assert name(world) == "parser-crash-fix"
    assert world.ask(m.GetSession, session=FIRST).session.tokens >= 34

    world.ask(m.Submit, session=FIRST, idem="k2", text="another subject altogether", follow=False)
    world.answer(FIRST, 3, "Yes.")
    give(world, "something else entirely")

    assert (name(world), asked(world)) == ("parser-crash-fix", 1)


def test_what_is_no_name_leaves_that_of_the_words_and_later_prompts_may_still_say_one():
    worded, silent = talked(), talked("hi")
    for world in (worded, silent):
        give(world, "I would call this conversation something about parsers, because it is about parsers.")
    silent.ask(m.Submit, session=FIRST, idem="k2", text="harbour cranes", follow=False)

    assert (name(worded), name(silent)) == ("parser-crash", "harbour-cranes")


def test_a_person_who_renames_meanwhile_wins_for_ever():
    world = talked()
    world.ask(m.Rename, session=FIRST, name="mine")
    give(world, "parser-crash-fix")

    assert name(world) == "mine"
    assert want(world) == [m.PermitRefused]


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_names": False},
        {"auto_names_by_model": False},
        {"spend_tokens_total": 1_000_000},
    ],
)
def test_nothing_is_asked_where_that_is_not_wanted(settings: dict):
    assert asked(talked(**settings)) == 0


def test_a_local_model_and_a_turn_that_did_not_complete_are_not_asked():
    world = Simulated()
    world.world.settings.models["m"] = ModelSettings(provider="local")
    given = {"type": "", "model": None, "system": None, "cwd": "/", "env": {}}
    world.ask(m.Create, id=FIRST, name=None, **given)
    world.hello(FIRST)
    world.ask(m.Submit, session=FIRST, idem="k", text="why does the parser crash", follow=False)
    world.answer(FIRST, 1, "Because.")

    assert asked(world) == 0


def test_the_request_goes_out_only_while_a_permit_is_to_spare():
    world = talked(max_concurrent_api_calls=2)
    other = world.new("b")
    world.submit("b", "work")
    world.report(other, m.Started, seq=1, turn_id=f"turn-{other}-1")
    world.report(other, m.PermitWanted, boot=world.world.boot, call=1, turn_id=f"turn-{other}-1")

    assert want(world) == [m.PermitRefused]
    assert world.world.governor.in_use == 1

    world.report(other, m.PermitReturned, boot=world.world.boot, call=1, status=200)

    assert want(world) == [m.Permit]
    assert want(world) == [m.Permit]  # asked again, because the answer was lost


def test_a_prompt_that_came_meanwhile_goes_before():
    world = talked()
    world.ask(m.Submit, session=FIRST, idem="k2", text="go on", follow=False)

    assert want(world) == [m.PermitRefused]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("parser-crash-fix", "parser-crash-fix"),
        ("  `Parser crash`\n", "parser-crash"),
        ("The parser crash", "parser-crash"),
        ("parser crash\nand more", None),
        ("parser", None),
        ("x" * 61, None),
        ("<why does the parser crash>", None),
        ("\x1b]0;evil\x07 parser crash", None),
        ("\x1b[1mparser crash", None),
        ("", None),
    ],
)
def test_only_a_short_line_of_words_is_a_name(said: str, found: str | None):
    assert name_of_model(said, lambda _: False) == found


def test_the_store_knows_whose_the_name_is_and_counts_what_it_cost():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    prepare(db)
    records.next_boot(db)
    records.apply(e.InsertSession("s", "session-1", 1, "debug", "m", None, "/", {}, 1.0, b"", 1, is_named=False), db)
    records.apply(e.InsertPrompt("s", "k", "look", 1.0, b"", 1, follow=False), db)
    records.apply(e.InsertReply("s", 1, "t", "x", "completed", COST, None, False, 2.0), db)
    found = []
    for change in (
        e.SaveName("s", "session-1", b"", 0, is_auto=True, is_final=None, usage=COST),
        e.SaveName("s", "words", b"", 0, is_auto=True, is_final=False),
        e.SaveName("s", "model", b"", 0, is_auto=True),
    ):
        records.apply(change, db)
        (session,) = records.load_sessions(db)
        found.append((session.name, session.is_named, session.has_words_for_name, session.tokens))
    db.close()

    assert found == [
        ("session-1", False, False, 68),
        ("words", True, True, 68),
        ("model", True, False, 68),
    ]
