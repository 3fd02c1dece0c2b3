"""A restored store: whole, checked, fenced off from what came after it; the old one is kept."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.shell import backup, offline, restore
from coordinator.shell.singleton import own
from protocol.errors import HomeOwned, StoreRefused
from protocol.paths import Discovery, Home, write_discovery
from tests.support.stored import fill, opened, prompt, rows, session

GOLDEN = Path(__file__).parents[1] / "golden" / "schema-1.db"
OLD = f"{1:016x}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    fill(home.database, sessions=2, turns=2)
    return home


@pytest.fixture
def file(home: Home, tmp_path: Path) -> Path:
    offline.back_up(home, tmp_path / "backup.db")
    return tmp_path / "backup.db"


def kept(done: dict) -> Path:
    return Path(str(done["kept"])) / "chat-coord.db"


def sessions(path: Path) -> dict[str, tuple]:
    found = rows(path, "SELECT name, epoch, token_sha256, pid FROM sessions")
    return {name: rest for name, *rest in found}


def test_a_backup_takes_the_place_of_the_store_and_the_old_one_is_kept_with_its_log(home, file):
    with closing(sqlite3.connect(home.database, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE sessions SET name = 'later', epoch = 41, pid = 7 WHERE id = ?", (OLD,))
        db.execute("UPDATE meta SET value = 30 WHERE key = 'boot'")
        files = {ending: Path(f"{home.database}{ending}").read_bytes() for ending in ("", "-wal")}
    for ending, raw in files.items():  # as a killed coordinator leaves it
        Path(f"{home.database}{ending}").write_bytes(raw)
    before = sessions(file)
    (home.root / "outbox" / "of-a-worker").write_text("a reply of the time after the backup")
    done = offline.put_back(home, file)

    assert sessions(kept(done))["later"][0] == 41  # it was in the log alone
    assert (kept(done).parent / "outbox" / "of-a-worker").exists()
    assert not list(home.outboxes.glob("*"))
    assert not Path(f"{home.database}-wal").exists()
    assert home.database.stat().st_mode & 0o777 == 0o600
    texts = "SELECT session, seq, role, text, idem, reply_to, turn_id, stop_reason, at FROM messages"
    assert rows(home.database, texts) == rows(file, texts)

    with opened(home.database) as store:
        after = {s.name: s for s in store.contents.sessions}
        assert store.contents.boot > 30
        assert isinstance(store.commit(prompt(1, "new")).outcome.seq, int)
    assert set(after) == set(before)
    assert (after["s1"].epoch, after["s1"].pid) == (42, None)
    assert after["s2"].epoch > before["s2"][0]
    assert [p.resumed for p in after["s1"].unanswered] == [41]  # what those workers note later is not taken in
    assert all(s.token_sha256 != before[s.name][1] for s in after.values())
    assert not list(home.root.glob(".*.part"))


def test_the_store_that_was_there_can_be_put_back_in_the_same_way(home, file):
    with opened(home.database) as store:
        store.commit(session(3))
    first = offline.put_back(home, file)
    second = offline.put_back(home, kept(first))

    assert set(sessions(home.database)) == {"s1", "s2", "s3"}
    assert set(sessions(kept(second))) == {"s1", "s2"}
    assert first["kept"] != second["kept"]


@pytest.mark.parametrize("state", ["damaged", "newer", "gone"])
def test_a_store_that_cannot_be_read_is_replaced_kept_and_outnumbered(home, file, state):
    write_discovery(home, Discovery(boot=77, pid=1, start_ticks=1, clients="", workers=""))
    if state == "damaged":
        home.database.write_bytes(b"\xff" * 20_000)
        Path(f"{home.database}-wal").write_bytes(b"what is left of a log")
    elif state == "newer":
        with closing(sqlite3.connect(home.database)) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("UPDATE sessions SET epoch = 500")
            db.commit()
    else:
        home.database.unlink()
    before = home.database.read_bytes() if home.database.exists() else b""
    done = offline.put_back(home, file)

    with opened(home.database) as store:
        assert store.contents.boot > 77
        assert all(s.epoch > 500 for s in store.contents.sessions)
    if state == "gone":
        assert done["kept"] is None
    else:
        assert kept(done).read_bytes() == before
    if state == "damaged":
        assert Path(f"{kept(done)}-wal").read_bytes() == b"what is left of a log"


def test_a_backup_of_an_older_program_is_migrated_when_it_is_restored(home):
    before = GOLDEN.read_bytes()
    offline.put_back(home, GOLDEN)

    with opened(home.database) as store:
        assert {s.name for s in store.contents.sessions} == {"busy", "quiet", "gone"}
    assert GOLDEN.read_bytes() == before
    assert [p.name for p in GOLDEN.parent.glob("schema-1.db?*")] == []


def test_a_home_that_was_not_there_is_made(home, file, tmp_path):
    new = Home(tmp_path / "new")
    done = offline.put_back(new, file)

    assert done["kept"] is None
    with opened(new.database) as store:
        assert store.contents.boot < 100  # nothing was before it, so nothing has to be outnumbered
        assert len(store.contents.sessions) == 2


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "No such file"),
        ("folder", "no plain file"),
        ("empty", "is empty"),
        ("text", "not a database"),
        ("foreign", "another program"),
        ("newer", "version 99"),
        ("damaged", "damaged"),
        ("itself", "the store itself"),
    ],
)
def test_a_file_that_is_no_backup_is_refused_and_nothing_changes(home, file, what, said):
    if what == "missing":
        file.unlink()
    elif what == "folder":
        file.unlink()
        file.mkdir()
    elif what == "empty":
        file.write_bytes(b"")
    elif what == "text":
        file.write_text("my own notes\n" * 1_000)
    elif what == "foreign":
        file.unlink()
        with closing(sqlite3.connect(file)) as db:
            db.execute("CREATE TABLE accounts (x)")
    elif what == "newer":
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA user_version = 99")
    elif what == "damaged":
        raw = bytearray(file.read_bytes())
        raw[4 * 4_096 : 5 * 4_096] = b"\xff" * 4_096
        file.write_bytes(raw)
    else:
        file = home.database
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    with pytest.raises(StoreRefused, match=said) as refused:
        offline.put_back(home, file)

    assert str(file) in refused.value.message
    assert "The store is as it was" in refused.value.hint
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_neither_backup_nor_restore_nor_export_goes_behind_a_coordinators_back(home, file):
    lock = own(home)
    try:
        for deed in (
            lambda: offline.put_back(home, file),
            lambda: offline.back_up(home, file.with_name("other.db")),
            lambda: list(offline.export(home)),
        ):
            with pytest.raises(HomeOwned):
                deed()
    finally:
        os.close(lock)

    assert not file.with_name("other.db").exists()


def test_a_restore_that_fails_on_the_way_leaves_the_store_as_it_was(home, file, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restore, "prepare", fail)
    before = rows(home.database, "SELECT * FROM messages")
    with pytest.raises(StoreRefused, match="No space left"):
        offline.put_back(home, file)

    assert rows(home.database, "SELECT * FROM messages") == before
    assert not list(home.root.glob(".*.part"))


def test_a_backup_of_a_damaged_store_is_refused_and_leaves_no_file(home, tmp_path):
    raw = bytearray(home.database.read_bytes())
    raw[4 * 4_096 : 5 * 4_096] = b"\xff" * 4_096
    home.database.write_bytes(raw)
    with pytest.raises(StoreRefused) as refused:
        offline.back_up(home, tmp_path / "copy.db")

    assert "export --all" in refused.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


def test_of_a_copy_what_is_damaged_is_the_store_and_what_cannot_be_written_is_the_copy(home, tmp_path):
    os.truncate(home.database, home.database.stat().st_size // 2)
    with pytest.raises(StoreRefused) as refused:
        offline.back_up(home, tmp_path / "copy.db")

    assert f"{home.database} is damaged" in refused.value.message

    full = OSError(errno.ENOSPC, "No space left on device")

    assert str(tmp_path / "copy.db") in backup.reason_of(full, home.database, tmp_path / "copy.db")


def test_a_backup_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreRefused, match="There is no database"):
        offline.back_up(Home(tmp_path / "nowhere"), tmp_path / "copy.db")

    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_or_a_folder_that_is_not_there_is_refused_before_anything_is_copied(home, file, tmp_path):
    for target, said in ((file, "is there already"), (tmp_path / "no" / "copy.db", "cannot be written")):
        with pytest.raises(StoreRefused, match=said):
            backup.begin(target)
    assert file.stat().st_size
