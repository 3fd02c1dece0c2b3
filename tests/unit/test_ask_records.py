"""What the store keeps of a turn that stopped to ask. The real statements on a real database."""

import sqlite3

import pytest

from coordinator.core import effects as e
from coordinator.shell import ask_records, records
from coordinator.shell.schema import prepare
from protocol.messages import Asked, Decision, ToolAsk
from protocol.views import Usage


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    prepare(connection)
    records.next_boot(connection)
    records.apply(
        e.InsertSession(
            session="s", name="a", number=1, type="debug", model="m", system=None, cwd="/", env={}, at=1.0, peer=b"",
            request=1,
        ),
        connection,
    )  # fmt: skip
    records.apply(e.InsertPrompt("s", "k", "do it", 1.0, b"", 1, follow=False), connection)
    yield connection
    connection.close()


def ask(db, *ids: str, leg: int = 0) -> None:
    asks = [
        ToolAsk(id=key, call=f"c{key}", kind="approval", tool="run_command", argv=["x"], text="t", digest=f"d{key}")
        for key in ids
    ]
    report = Asked(
        session="s", epoch=1, seq=1, turn_id="t", leg=leg, asks=asks, state=b"state", text="said",
        usage=Usage(input_tokens=3, output_tokens=4), pieces=2,
    )  # fmt: skip
    records.apply(e.InsertAsks("s", 1, report, 5.0), db)


def decide(db, key: str, *, approved: bool = True, idem: str = "i") -> None:
    records.apply(e.SaveDecision("s", 1, key, approved, "why", "cli", idem, 6.0, None, 0), db)


def test_the_state_is_there_when_everything_is_answered_and_not_before(db):
    ask(db, "aa", "bb")
    decide(db, "aa")

    assert ask_records.state_of("s", 1, 1)(db) is None

    decide(db, "bb", approved=False)
    state = ask_records.state_of("s", 1, 1)(db)

    assert (state.seq, state.turn_id, state.leg, state.text, state.state) == (1, "t", 1, "do it", b"state")
    assert (state.said, state.pieces, state.usage) == ("said", 2, Usage(input_tokens=3, output_tokens=4))
    assert state.decisions == [
        Decision(call="caa", approved=True, why="why", digest="daa"),
        Decision(call="cbb", approved=False, why="why", digest="dbb"),
    ]


def test_a_leg_that_was_begun_is_begun_by_nobody_else(db):
    ask(db, "aa")
    decide(db, "aa")
    records.apply(e.SaveStarted("s", 1, "t", 1), db)

    assert ask_records.state_of("s", 1, 1)(db) is None
    assert ask_records.load_legs(db)["s"].has_begun


def test_a_late_start_of_the_leg_that_asked_changes_nothing(db):
    ask(db, "aa")
    records.apply(e.SaveStarted("s", 1, "t", 0), db)

    assert not ask_records.load_legs(db)["s"].has_begun


def test_the_first_answer_stays(db):
    ask(db, "aa")
    decide(db, "aa", approved=False, idem="first")
    decide(db, "aa", approved=True, idem="second")
    fate = ask_records.fate_of("aa")(db)[0]

    assert (fate.outcome, fate.by, fate.idem) == ("denied", "cli", "first")


def test_the_next_coordinator_finds_the_asks_of_the_last_leg(db):
    ask(db, "aa")
    decide(db, "aa")
    records.apply(e.SaveStarted("s", 1, "t", 1), db)
    ask(db, "bb", leg=1)
    leg = records.load_sessions(db)[0].leg

    assert (leg.seq, leg.leg, leg.said, leg.has_begun) == (1, 1, "said", False)
    assert [(a.id, a.approved, a.since) for a in leg.asks] == [("bb", None, 5.0)]


def test_with_the_turn_its_state_goes_and_open_asks_end(db):
    ask(db, "aa")
    records.apply(e.InsertReply("s", 1, "t", "", "cancelled", Usage(), None, unread=False, at=7.0), db)

    assert ask_records.load_legs(db) == {}
    assert ask_records.fate_of("a")(db)[0].outcome == "cancelled"
    assert ask_records.end_of("s", 1)(db) == "cancelled"


def test_an_ask_that_never_was_has_no_fate(db):
    assert ask_records.fate_of("zz")(db) == []
    assert ask_records.fate_of("")(db) == []


def test_a_deleted_session_takes_its_asks_along(db):
    ask(db, "aa")
    records.apply(e.DeleteSession("s", b"", 1), db)

    assert ask_records.fate_of("aa")(db) == []
    assert ask_records.load_legs(db) == {}
