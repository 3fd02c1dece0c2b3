"""A turn may stop to ask for words instead of a yes: the same asks, answered with a text. Core and store alone."""

import sqlite3

import pytest

from coordinator.core import effects as e
from coordinator.shell import ask_records, records
from coordinator.shell.schema import prepare
from protocol import messages as m
from protocol.limits import ANSWER_BYTES
from protocol.views import Usage
from tests.support.simulated import CLIENT, Simulated, asked, state

OTHER = b"other"
WHICH = "Which of the two?"


def asking(kind: str = "question") -> tuple[Simulated, str]:
    world = Simulated()
    session = world.new("a")
    world.submit("a", "do it", follow=True)
    world.report(session, m.Started, seq=1, turn_id=f"turn-{session}-1")
    facts = asked(session, 1, "aa11")
    ask = m.ToolAsk(id="aa11", call="c", kind=kind, tool="ask_person", argv=["ask_person"], text=WHICH, digest="d")
    world.report(session, m.Asked, **facts | {"asks": [ask]})
    return world, session


def decide(world: Simulated, peer: bytes = CLIENT, **said: object) -> list[m.Message]:
    return world.say(m.Decide(request=77, ask="aa11", idem="k", **said), peer)


def test_a_question_waits_as_an_ask_does_and_its_answer_lets_the_turn_go_on():
    world, session = asking()
    view = world.ask(m.ListAsks).asks[0]
    world.say(m.ClientHello(client="other", pid=2), OTHER)
    world.ask(m.Listen, OTHER)
    decide(world, approve=True, answer="the second")
    world.settle()

    assert (view.kind, view.text) == ("question", WHICH)
    assert (world.store.asks["aa11"].why, world.store.asks["aa11"].is_words) == ("the second", True)
    assert [told.outcome for to, told in world.to_clients if isinstance(told, m.AskResolved)] == ["answered"]
    assert [(c.session, c.leg) for c in world.continued] == [(session, 1)]
    assert state(world, session) == ("live", "running")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("question", {"approve": True}),
        ("question", {"approve": False, "answer": "words"}),
        ("question", {"approve": True, "answer": "  "}),
        ("question", {"approve": True, "answer": "x" * (ANSWER_BYTES + 1)}),
        ("approval", {"approve": True, "answer": "words"}),
    ],
)
def test_a_question_wants_words_and_a_call_a_yes_or_a_no(kind: str, said: dict):
    world, session = asking(kind)
    refused = next(a for a in decide(world, **said) if isinstance(a, m.Refused))

    assert refused.code == "value.illegal"
    assert state(world, session) == ("live", "requires_action")
    assert len(world.ask(m.ListAsks).asks) == 1


def test_a_question_may_be_left_unanswered():
    world, session = asking()
    decide(world, approve=False, why="decide yourself")
    world.settle()

    assert not world.store.asks["aa11"].approved
    assert state(world, session) == ("live", "running")


def test_the_store_gives_the_answer_to_the_worker_that_goes_on_and_says_who_gave_it():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    prepare(db)
    records.apply(e.InsertSession("s", "a", 1, "debug", "m", None, "/", {}, 1.0, b"", 1), db)
    records.apply(e.InsertPrompt("s", "k", "do it", 1.0, b"", 1, follow=False), db)
    ask = m.ToolAsk(id="aa11", call="c", kind="question", tool="ask_person", argv=["x"], text=WHICH, digest="d")
    report = m.Asked(
        session="s", epoch=1, seq=1, turn_id="t", leg=0, asks=[ask], state=b"", text="", usage=Usage(), pieces=0
    )
    records.apply(e.InsertAsks("s", 1, report, 5.0), db)
    records.apply(e.SaveDecision("s", 1, "aa11", True, "the second", "cli", "i", 6.0, None, 0, is_words=True), db)

    assert ask_records.state_of("s", 1, 1)(db).decisions == [
        m.Decision(call="c", approved=True, why="the second", digest="d")
    ]
    assert ask_records.load_legs(db)["s"].asks[0].approved is True
    assert [(fate.outcome, fate.why) for fate in ask_records.fate_of("aa")(db)] == [("answered", "the second")]
    db.close()
