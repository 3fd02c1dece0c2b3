"""A look at the database makes no file, takes no lock and changes nothing, with and without a write-ahead log."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from coordinator.shell import store_check

WRITE = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
for table in ("meta", "sessions", "messages", "active", "t"):
    db.execute(f"CREATE TABLE {table} (x)")
db.execute("PRAGMA user_version = 2")
db.execute("INSERT INTO t VALUES (zeroblob(50000))")
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
db.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat #1?.db"


def write(path, ending):
    done = subprocess.run([sys.executable, "-c", WRITE, path, ending], check=False)
    assert done.returncode == (-signal.SIGKILL if ending == "kill" else 0)


def files(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


@pytest.mark.parametrize("ending", ["close", "kill", "kill without index"])
def test_a_look_changes_nothing(path, tmp_path, ending):
    write(path, ending.split()[0])
    if ending == "kill without index":
        path.with_name(path.name + "-shm").unlink()
    before = files(tmp_path)

    assert store_check.look(path) == (True, f"{path.stat().st_size / 1e6:.1f} MB, quick_check is ok")
    assert files(tmp_path) == before


@pytest.mark.parametrize("at", [0, 20, 40, -1])
def test_a_look_keeps_a_log_that_is_damaged(path, tmp_path, at):
    write(path, "kill")
    log = path.with_name(path.name + "-wal")
    raw = bytearray(log.read_bytes())
    raw[at] ^= 0x01
    log.write_bytes(raw)
    path.with_name(path.name + "-shm").unlink()
    before = files(tmp_path)
    store_check.look(path)

    assert files(tmp_path) == before


def test_what_is_only_in_the_write_ahead_log_is_looked_at_too(path):
    write(path, "kill")
    log = path.with_name(path.name + "-wal")

    assert log.stat().st_size > path.stat().st_size
    with store_check.open_unchanged(path) as db:
        assert db.execute("SELECT length(x) FROM t").fetchone() == (50_000,)
    db.close()


@pytest.mark.parametrize("what", ["empty", "gone"])
def test_the_log_of_a_database_that_was_cut_to_nothing_is_kept(path, tmp_path, what):
    write(path, "kill")
    path.unlink()
    if what == "empty":
        path.touch()
    before = files(tmp_path)
    is_ok, finding = store_check.look(path)

    assert not is_ok
    assert "its write-ahead log is not" in finding
    assert files(tmp_path) == before


def test_a_cut_in_the_middle_of_a_page_is_told_but_for_a_page_that_the_log_may_have(path, tmp_path):
    write(path, "close")
    os.truncate(path, path.stat().st_size - 100)

    assert "in the middle of a page" in store_check.look(path)[1]

    logged = tmp_path / "logged.db"
    write(logged, "kill")
    with logged.open("ab") as file:
        file.write(b"half a page")

    assert store_check.look(logged)[0]


def test_an_empty_file_is_no_damage_before_the_first_session(path):
    path.touch()

    assert store_check.look(path)[0]

    (path.parent / "logs").mkdir()
    (path.parent / "logs" / "coordinator.log").touch()

    assert store_check.look(path)[0]

    (path.parent / "logs" / f"{1:016x}.jsonl").touch()

    assert "to begin anew" in store_check.look(path)[1]


def test_a_folder_in_its_place_a_newer_schema_and_no_file_are_told(path, tmp_path):
    assert store_check.look(tmp_path) == (False, f"{tmp_path} cannot be read: it is no plain file")
    assert store_check.look(path)[0] is False

    write(path, "close")
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    assert "version 99" in store_check.look(path)[1]


@pytest.mark.parametrize("version", [0, 1, 2, 7])
def test_a_database_of_another_program_is_told_whatever_its_version(path, version):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE sessions (x)")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()

    assert "another program" in store_check.look(path)[1]


def test_a_look_that_takes_too_long_is_ended(path, monkeypatch):
    write(path, "close")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM t")
    db.executemany("INSERT INTO t VALUES (?)", [(os.urandom(10),)] * 20_000)
    db.commit()
    db.close()
    monkeypatch.setattr(store_check, "LOOK_S", -1.0)
    monkeypatch.setattr(store_check, "STEPS", 1)
    is_ok, finding = store_check.look(path)

    assert is_ok
    assert "no damage in what could be read" in finding
