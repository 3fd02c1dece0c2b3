"""What the store keeps of sleeping sessions, of marks, and of sessions that are deleted. A real file."""

from functools import partial

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.shell import records
from protocol import messages as m
from protocol.codec import encode
from protocol.limits import BODY_BYTES
from tests.support.stored import fill, opened, prompt, reply, rows, session

KEY = f"{1:016x}"


def snapshot(epoch: int, through: int, data: bytes = b"data") -> e.SaveSnapshot:
    return e.SaveSnapshot(KEY, epoch, through, data, 4.0)


def test_a_snapshot_is_in_the_transaction_that_fences_the_worker(tmp_path):
    path = tmp_path / "db"
    with opened(path) as store:
        first = store.commit(session(1)).outcome
        store.commit(e.SaveRoster(KEY, 1, 42, 7))
        told = store.commit(snapshot(1, 0)).outcome

    assert (first.epoch, told.epoch) == (1, 2)
    assert told.token_sha256 != first.token_sha256
    assert rows(path, "SELECT epoch, pid, start_ticks FROM sessions") == [(2, None, None)]
    assert rows(path, "SELECT epoch, through_seq, data FROM snapshots") == [(1, 0, b"data")]


def test_the_newest_snapshot_and_its_predecessor_are_kept(tmp_path):
    path = tmp_path / "db"
    with opened(path) as store:
        store.commit(session(1))
        for epoch in (1, 2, 3):
            store.commit(snapshot(epoch, epoch, f"{epoch}".encode()))

    assert rows(path, "SELECT epoch, data FROM snapshots ORDER BY epoch") == [(2, b"2"), (3, b"3")]


def test_what_a_worker_begins_with_is_the_snapshot_and_what_came_after_it(tmp_path):
    path = tmp_path / "db"
    with opened(path) as store:
        store.commit(session(1))
        for turn in ("one", "two"):
            seq = store.commit(prompt(1, turn)).outcome.seq
            store.commit(reply(1, seq, f"{turn}."))
            store.commit(snapshot(seq, seq, turn.encode()))
        store.commit(prompt(1, "three"))
        newest, before, none = (store.ask(partial(records.restore, session=KEY, skip=skip)) for skip in (0, 1, 2))

    assert (newest.snapshot, [r.text for r in newest.rows]) == (b"two", ["two.", "three"])
    assert (before.snapshot, [r.text for r in before.rows]) == (b"one", ["one.", "two", "two.", "three"])
    assert (none.snapshot, [r.text for r in none.rows]) == (None, ["one", "one.", "two", "two.", "three"])


def test_a_snapshot_that_does_not_fit_into_a_message_with_what_came_after_it_is_left_out(tmp_path):
    with opened(tmp_path / "db") as store:
        store.commit(session(1))
        seq = store.commit(prompt(1, "one")).outcome.seq
        store.commit(reply(1, seq, "x" * 6_000_000))
        store.commit(snapshot(1, seq, b"y" * 6_000_000))
        stored = store.ask(partial(records.restore, session=KEY, skip=0))
    message = encode(m.Restore(snapshot=stored.snapshot, rows=stored.rows, more=stored.more))

    assert (stored.snapshot, stored.more, [r.seq for r in stored.rows]) == (None, True, [seq + 1])
    assert len(message) < BODY_BYTES


def test_a_session_that_waits_in_line_has_no_epoch_yet(tmp_path):
    with opened(tmp_path / "db") as store:
        waiting = e.InsertSession(KEY, "s1", 1, "debug", "m", None, "/", {}, 1.0, b"p", 1, starts=False)
        assert store.commit(waiting).outcome.epoch == 0
        assert store.commit(e.BumpEpoch(KEY)).outcome.epoch == 1


def test_marks_are_read_back(tmp_path):
    path = tmp_path / "db"
    with opened(path) as store:
        store.commit(session(1))
        store.commit(e.SaveMark(KEY, "pinned", True, b"p", 1))
        store.commit(e.SaveMark(KEY, "draft", "not yet", b"p", 2))
    with opened(path) as store:
        [found] = store.contents.sessions

    assert (found.pinned, found.archived, found.draft) == (True, False, "not yet")


def test_a_deleted_session_leaves_no_row_and_the_others_are_untouched(tmp_path):
    path = tmp_path / "db"
    fill(path, sessions=2, turns=3)
    with opened(path) as store:
        store.commit(snapshot(1, 1))
        store.commit(e.SaveActive("cli", KEY))
        store.commit(e.DeleteSession(KEY, b"p", 1))
        late = store.commit(prompt(1, "late"))

    assert isinstance(late, ev.CommitFailed)
    assert late.is_final
    tables = [name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {"messages", "exits", "snapshots", "active", "sessions"} <= set(tables)
    for table in records.OF_SESSIONS:
        assert rows(path, f"SELECT count(*) FROM {table} WHERE session = '{KEY}'") == [(0,)]
    assert rows(path, "SELECT name FROM sessions") == [("s2",)]
    assert rows(path, "SELECT count(*) FROM messages") == [(6,)]


def test_every_table_with_rows_of_sessions_is_emptied_by_a_delete(tmp_path):
    path = tmp_path / "db"
    with opened(path):
        pass
    with_sessions = {
        name
        for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
        if any(column[1] == "session" for column in rows(path, f"PRAGMA table_info({name})"))
    }

    assert with_sessions - {"docs"} == set(records.OF_SESSIONS)  # triggers keep the index; test_search.py
