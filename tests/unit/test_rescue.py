"""What can be read of a damaged store is exported as it was, and what cannot is named; the store is not touched."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.shell import rescue
from protocol.errors import StoreRefused
from tests.support.stored import fill, rows

PAGE = 4_096
SESSIONS = 12


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "chat-coord.db"
    fill(path, sessions=SESSIONS, turns=15, text="word " * 100)
    return path


def read(path: Path) -> tuple[dict, list[str]]:
    with rescue.opened(path) as remains:
        return {s.id: s for s in remains.sessions()}, remains.found


def texts(session) -> dict[int, str]:
    return {row.seq: row.text for row in session.messages}


def test_a_sound_store_is_exported_whole_in_the_order_of_its_turns(sound):
    sessions, found = read(sound)

    assert found == []
    assert len(sessions) == SESSIONS
    assert all(s.missing is None for s in sessions.values())
    assert [r.seq for r in sessions[f"{2:016x}"].messages] == list(range(1, 31))
    assert sessions[f"{1:016x}"].messages[-1].text == "last"
    assert sessions[f"{1:016x}"].name == "s1"


@pytest.mark.parametrize("how", ["zeros", "ones", "noise"])
def test_with_any_page_damaged_what_is_exported_is_true_and_what_is_missing_is_named(sound, tmp_path, how):
    whole, _ = read(sound)
    chance = random.Random(3)
    pages = sound.stat().st_size // PAGE
    for page in range(pages):
        copy = tmp_path / f"{page}.db"
        raw = bytearray(sound.read_bytes())
        dirt = {"zeros": bytes(PAGE), "ones": b"\xff" * PAGE, "noise": chance.randbytes(PAGE)}[how]
        raw[page * PAGE : (page + 1) * PAGE] = dirt
        copy.write_bytes(raw)
        sessions, found = read(copy)
        for key, session in whole.items():
            got = sessions.get(key)
            assert got is not None, (page, key)
            assert all(texts(session).get(seq) == text for seq, text in texts(got).items()), (page, key)
            assert (got.missing is None) == (got == session), (page, key)
        assert copy.read_bytes() == raw
        assert [p.name for p in tmp_path.iterdir()] == [copy.name]
        copy.unlink()
        lost = sum(len(session.messages) - len(sessions[key].messages) for key, session in whole.items())
        assert found or sessions == whole, page
        assert lost <= 10, page  # what stood on that page


def test_a_store_that_was_cut_short_gives_what_is_in_front_of_the_cut(sound, tmp_path):
    whole, _ = read(sound)
    copy = tmp_path / "cut.db"
    copy.write_bytes(sound.read_bytes())
    os.truncate(copy, copy.stat().st_size * 2 // 3)
    sessions, found = read(copy)

    assert found
    assert sum(texts(sessions[k]) == texts(s) for k, s in whole.items() if k in sessions) >= SESSIONS // 3


def test_what_is_only_in_the_log_of_a_killed_coordinator_is_exported_too(tmp_path):
    path = tmp_path / "chat-coord.db"
    fill(path, sessions=1, turns=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE sessions SET name = 'only in the log'")
        for ending in ("", "-wal"):
            source = path.with_name(path.name + ending)
            (tmp_path / f"copy.db{ending}").write_bytes(source.read_bytes())
    sessions, found = read(tmp_path / "copy.db")

    assert [s.name for s in sessions.values()] == ["only in the log"]
    assert found == []


@pytest.mark.parametrize("what", ["empty", "gone"])
def test_of_a_database_that_was_cut_to_nothing_the_log_is_exported(tmp_path, what):
    path, copy = tmp_path / "chat-coord.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        fill(path, sessions=2, turns=3)
        db.execute("UPDATE messages SET text = text || '!'")
        (tmp_path / "copy.db-wal").write_bytes(path.with_name(path.name + "-wal").read_bytes())
    if what == "empty":
        copy.touch()
    sessions, found = read(copy)

    assert sum(text.endswith("!") for s in sessions.values() for text in texts(s).values()) == 13
    assert any("its write-ahead log is not" in finding for finding in found)


@pytest.mark.parametrize("what", ["nothing", "empty", "foreign"])
def test_what_is_no_store_is_refused(tmp_path, what):
    path = tmp_path / "chat-coord.db"
    if what == "empty":
        path.touch()
    elif what == "foreign":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE accounts (x)")
    with pytest.raises(StoreRefused, match=str(path)):
        read(path)


def test_a_text_that_is_no_text_any_more_is_exported_as_far_as_it_can_be_read(sound, tmp_path):
    path = tmp_path / "chat-coord.db"
    fill(path, sessions=1, turns=1, text="a marked text ")
    raw = path.read_bytes()
    at = raw.index(b"a marked text")
    path.write_bytes(raw[:at] + b"\xff\xfe" + raw[at + 2 :])
    sessions, _ = read(path)
    (session,) = sessions.values()

    assert any("\ufffd" in text and "marked text" in text for text in texts(session).values())
    assert len(rows(sound, "SELECT * FROM sessions")) == SESSIONS
