"""Forks and imports in the store: whole or not at all, with numbers and keys of their own, and not paid for twice."""

import dataclasses

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.shell.records import history_after
from coordinator.shell.spending import spent
from protocol.views import HistoryRow, ParentView, Usage
from tests.support.stored import opened, prompt, reply, rows, session

SOURCE, NEW = f"{1:016x}", f"{2:016x}"


def fork(at_seq: int | None = None) -> e.InsertFork:
    return e.InsertFork(NEW, SOURCE, at_seq, "s1-fork", 2, 9.0, b"p", 1)


def history(store, key: str = NEW) -> list[HistoryRow]:
    return store.ask(history_after(key, 0))[0]


def said(store, key: str = NEW) -> list[tuple[int, str, int | None]]:
    return [(row.seq, row.text, row.reply_to) for row in history(store, key)]


def talk(store) -> None:
    """Two prompts in line, each answered, and a third one that is not: 1, 2, 3 (to 1), 4 (to 2), 5."""
    store.commit(session(1))
    store.commit(prompt(1, "a", "one"))
    store.commit(prompt(1, "b", "two"))
    for seq in (1, 2):
        answer = dataclasses.replace(reply(1, seq, f"answer {seq}"), usage=Usage(input_tokens=3, output_tokens=4))
        store.commit(dataclasses.replace(answer, model="m"))
    store.commit(prompt(1, "c", "three"))


def outcome(told: ev.Event) -> ev.Outcome:
    assert isinstance(told, ev.Committed), told
    return told.outcome


def test_a_fork_has_every_finished_turn_in_order_under_numbers_of_its_own(tmp_path):
    with opened(tmp_path / "db") as store:
        talk(store)
        made = outcome(store.commit(fork()))

        assert (made.messages, made.parent_seq, made.refusal) == (4, 4, "")
        assert said(store) == [(1, "one", None), (2, "answer 1", 1), (3, "two", None), (4, "answer 2", 3)]
        assert len(said(store, SOURCE)) == 5


@pytest.mark.parametrize(("at_seq", "texts"), [(1, 2), (3, 2), (2, 4), (4, 4), (0, 0)])
def test_a_fork_goes_through_the_turn_of_the_message_that_is_named(tmp_path, at_seq, texts):
    with opened(tmp_path / "db") as store:
        talk(store)
        made = outcome(store.commit(fork(at_seq)))

        assert made.messages == len(said(store)) == texts


@pytest.mark.parametrize("at_seq", [5, 6, 99])
def test_a_turn_that_has_no_end_or_is_not_there_makes_no_fork(tmp_path, at_seq):
    with opened(tmp_path / "db") as store:
        talk(store)
        made = outcome(store.commit(fork(at_seq)))

        assert str(at_seq) in made.refusal
    assert rows(tmp_path / "db", "SELECT count(*) FROM sessions") == [(1,)]


def test_a_fork_knows_where_it_comes_from_and_has_the_settings_of_its_source(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(dataclasses.replace(session(1), system="be brief", model="x", type="review", cwd="/tmp"))
        store.commit(prompt(1, "a", "one"))
        store.commit(reply(1, 1, "answer"))
        store.commit(fork())
    with opened(tmp_path / "db") as store:
        found = next(s for s in store.contents.sessions if s.id == NEW)

        assert found.parent == ParentView(session=SOURCE, seq=2)
        assert (found.system, found.model, found.type, found.cwd) == ("be brief", "x", "review", "/tmp")
        assert found.epoch == 0
        assert found.unanswered == ()


def test_what_a_fork_took_over_is_not_paid_again(tmp_path):
    with opened(tmp_path / "db") as store:
        talk(store)
        store.commit(fork())
        lines = store.ask(spent(None, None))

        assert [(line.session, line.model, line.turns, line.input_tokens, line.output_tokens) for line in lines] == [
            (SOURCE, "m", 2, 6, 8)
        ]


def test_usage_is_counted_from_a_time_on_and_for_one_session(tmp_path):
    with opened(tmp_path / "db") as store:
        talk(store)

        assert store.ask(spent(None, 3.5)) == []
        assert len(store.ask(spent(SOURCE, 2.5))) == 1
        assert store.ask(spent(NEW, None)) == []


def test_a_reply_without_a_noted_model_counts_for_its_sessions(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(dataclasses.replace(session(1), model="old"))
        store.commit(prompt(1, "a"))
        store.commit(dataclasses.replace(reply(1, 1, "x"), usage=Usage(input_tokens=1)))

        assert [line.model for line in store.ask(spent(None, None))] == ["old"]


# ---- conversations from files


def row(seq: int, text: str, reply_to: int | None = None) -> HistoryRow:
    role, stop = ("user", None) if reply_to is None else ("assistant", "completed")
    return HistoryRow(seq=seq, role=role, text=text, turn_id="t", stop_reason=stop, at=seq * 1.5, reply_to=reply_to)


def imported(messages: int, batch: str = "b") -> e.InsertImported:
    return e.InsertImported(
        session=NEW, batch=batch, name="in", number=2, type="debug", model="m", system="s", cwd="/", env={"A": "b"},
        created_at=1.5, last_active_at=2.5, closed=False, archived=True, parent=ParentView(session="x", seq=3),
        origin="codex:1", messages=messages, peer=b"p", request=1,
    )  # fmt: skip


TALK = (row(1, "one"), row(2, "two"), row(3, "to one", 1), row(4, "to two", 2))


def test_an_import_is_what_was_handed_over_even_when_parts_come_twice(tmp_path):
    with opened(tmp_path / "db") as store:
        for part in (TALK[:2], TALK[2:], TALK[:2]):
            store.commit(e.StageRows("b", part, b"p", 1))
        made = outcome(store.commit(imported(4)))

        assert made.refusal == ""
        assert history(store) == list(TALK)
    with opened(tmp_path / "db") as store:
        (found,) = store.contents.sessions

        assert (found.origin, found.parent, found.archived) == ("codex:1", ParentView(session="x", seq=3), True)
        assert (found.created_at, found.last_active_at, found.env) == (1.5, 2.5, {"A": "b"})
        assert found.unanswered == ()
        assert found.tokens == 0
    assert rows(tmp_path / "db", "SELECT count(*) FROM staged") == [(0,)]


@pytest.mark.parametrize(
    ("parts", "count", "why"),
    [
        (TALK[:3], 4, "missing"),
        (TALK[:2], 2, "no reply"),
        ((row(1, "a"), row(3, "b", 1)), 2, "missing"),
        ((row(1, "a"), row(2, "b", 1), row(3, "c", 1)), 3, "two replies"),
        ((row(1, "a", 2), row(2, "b")), 2, "no prompt before"),
        ((row(1, "a"), row(2, "b", 2)), 2, "no prompt before"),
    ],
)
def test_half_a_conversation_becomes_nothing(tmp_path, parts, count, why):
    with opened(tmp_path / "db") as store:
        store.commit(e.StageRows("b", tuple(parts), b"p", 1))
        made = outcome(store.commit(imported(count)))

        assert why in made.refusal
    assert rows(tmp_path / "db", "SELECT count(*) FROM sessions") == [(0,)]
    assert rows(tmp_path / "db", "SELECT count(*) FROM staged") == [(0,)]


def test_what_an_import_that_never_ended_left_is_forgotten_at_the_next_start(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(e.StageRows("b", TALK, b"p", 1))
    with opened(tmp_path / "db") as store:
        assert "missing" in outcome(store.commit(imported(4))).refusal


def test_two_imports_at_once_do_not_mix(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(e.StageRows("b", TALK[:2], b"p", 1))
        store.commit(e.StageRows("c", (row(1, "other"), row(2, "thing", 1)), b"q", 1))
        made = outcome(store.commit(imported(2, batch="c")))

        assert made.refusal == ""
        assert [r.text for r in history(store)] == ["other", "thing"]


def test_a_session_that_comes_back_under_its_id_never_has_an_epoch_again(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(dataclasses.replace(session(2)))
        for _ in range(3):
            last = outcome(store.commit(e.BumpEpoch(NEW))).epoch
        store.commit(e.DeleteSession(NEW, b"p", 1))
        store.commit(session(1))
        store.commit(e.DeleteSession(SOURCE, b"p", 1))
        store.commit(e.StageRows("b", TALK, b"p", 1))
        made = outcome(store.commit(imported(4)))

        assert made.epoch == last == 4
        assert outcome(store.commit(e.BumpEpoch(NEW))).epoch == 5
