"""The store's thread with a real file: what it refuses, what it keeps, and what it does when it cannot write."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.shell import durable, schema
from coordinator.shell import store as store_module
from protocol.errors import StoreFailed, StoreRefused
from protocol.views import Usage
from tests.support.stored import fill, opened, prompt, reply, rows, session

GOLDEN = Path(__file__).parents[1] / "golden" / "schema-1.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat-coord.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that tries again at once: what is waited for in these tests is never a delay."""
    monkeypatch.setattr(store_module, "TRY_CHANGES_S", 0.0)
    monkeypatch.setattr(store_module, "TRY_ROOM_S", 0.01)
    monkeypatch.setattr(durable, "BUSY_MS", 10)


def limit_pages(store, pages: int) -> None:
    store.ask(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


# ---- full, locked, gone, damaged


@pytest.mark.usefixtures("impatient")
def test_a_full_database_takes_nothing_says_why_answers_questions_and_comes_back_by_itself(path):
    with opened(path) as store:
        store.commit(session(1))
        taken = [store.commit(prompt(1, "k0"))]
        limit_pages(store, 20)
        failed = store.commit(prompt(1, "k1", "x" * 200_000))

        assert isinstance(failed, ev.CommitFailed)
        assert not failed.is_final
        assert "no room is left" in failed.reason
        assert store.store.fault.reason == failed.reason
        assert store.ask(lambda db: db.execute("SELECT count(*) FROM messages").fetchone()[0]) == 1
        assert isinstance(store.commit(prompt(1, "k1", "x" * 200_000)), ev.CommitFailed)

        limit_pages(store, 1_000_000)
        assert store.turned().reason is None  # nobody asked for it
        assert store.store.fault is None
        taken.append(store.commit(prompt(1, "k1", "x" * 200_000)))

    assert all(isinstance(t, ev.Committed) for t in taken)
    assert [idem for (idem,) in rows(path, "SELECT idem FROM messages ORDER BY seq")] == ["k0", "k1"]
    assert rows(path, "SELECT * FROM meta WHERE key = 'room'") == []


@pytest.mark.usefixtures("impatient")
def test_it_says_that_it_turned_before_it_says_what_was_not_taken(path):
    with opened(path) as store:
        store.commit(session(1))
        limit_pages(store, 1)
        store.store.commit(prompt(1, "k", "x" * 100_000))
        told = [store.events.get(timeout=60) for _ in range(2)]

    assert [type(event) for event in told] == [ev.StoreTurned, ev.CommitFailed]


@pytest.mark.usefixtures("impatient")
def test_a_lock_of_another_program_makes_it_read_only_for_as_long_as_it_is_held(path):
    with opened(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store.commit(session(1))
        other.execute("BEGIN IMMEDIATE")
        failed = store.commit(prompt(1, "k"))

        assert isinstance(failed, ev.CommitFailed)
        assert "another program holds a lock" in failed.reason
        assert store.ask(lambda db: db.execute("SELECT count(*) FROM sessions").fetchone()[0]) == 1

        other.execute("ROLLBACK")
        assert store.turned().reason is None
        assert isinstance(store.commit(prompt(1, "k")), ev.Committed)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("ending", ["", "-wal"])
def test_nothing_is_acknowledged_into_a_file_that_was_deleted(path, ending):
    with opened(path) as store:
        store.commit(session(1))
        path.with_name(path.name + ending).unlink()
        failed = [store.commit(prompt(1, key)) for key in ("k1", "k2")]

        assert all(isinstance(f, ev.CommitFailed) for f in failed)
        assert "moved, replaced or deleted" in failed[0].reason
        assert store.store.fault.lasts


@pytest.mark.usefixtures("impatient")
def test_damage_that_is_met_while_it_runs_ends_the_writing_for_good(path):
    fill(path, sessions=1, turns=40)
    with opened(path) as store:
        (root,) = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'messages'")[0]
        with path.open("r+b") as file:
            file.seek((root - 1) * 4_096)
            file.write(b"\xff" * 4_096)
        said = store.ask(
            lambda db: [db.execute("PRAGMA shrink_memory"), db.execute("SELECT * FROM messages").fetchall()]
        )

        assert "is damaged" in str(said)
        assert isinstance(store.commit(session(2)), ev.CommitFailed)
        assert "export --all" in store.store.fault.hint


def test_a_change_that_can_never_be_harms_no_other_of_its_group(path):
    with opened(path) as store:
        store.commit(session(1))
        store.store.commit(prompt(1, "before"))
        orphan = prompt(7, "nobody's")
        store.store.commit(orphan)
        after = store.commit(prompt(1, "after"))

        assert isinstance(after, ev.Committed)
        assert store.store.fault is None
    assert [idem for (idem,) in rows(path, "SELECT idem FROM messages ORDER BY seq")] == ["before", "after"]


# ---- old, new, foreign, damaged


def test_a_database_of_version_1_is_migrated_with_everything_in_it_and_a_copy_is_kept(path):
    shutil.copy(GOLDEN, path)
    before = rows(path, "SELECT session, seq, role, text, idem, reply_to, stop_reason FROM messages")
    with opened(path) as store:
        known = {s.name: s for s in store.contents.sessions}
        assert isinstance(store.commit(prompt(9, "new")), ev.CommitFailed)  # no such session
        assert isinstance(store.commit(session(9)), ev.Committed)

    assert [p.text for p in known["busy"].unanswered] == ["a prompt that was never answered", "nor was this one"]
    assert known["busy"].unanswered[0].turn_id == "turn-1"
    assert (known["busy"].is_named, known["busy"].group, known["busy"].proposed_type) == (True, None, None)
    assert (known["quiet"].messages, known["quiet"].tokens, known["gone"].closed) == (4, 33, True)
    assert store.contents.active == {"cli": known["busy"].id}
    assert store.contents.boot == 4
    assert before == rows(path, "SELECT session, seq, role, text, idem, reply_to, stop_reason FROM messages")
    assert rows(path, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]

    kept = path.with_name("chat-coord.db.schema-1")
    assert rows(kept, "PRAGMA user_version") == [(1,)]
    assert rows(kept, "SELECT session, seq, role, text, idem, reply_to, stop_reason FROM messages") == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.part"))


def test_a_migration_that_fails_in_the_middle_leaves_version_1_whole(path):
    shutil.copy(GOLDEN, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE messages ADD COLUMN resumed INTEGER")  # the second step will meet it
    columns = rows(path, "PRAGMA table_info(messages)")
    messages = rows(path, "SELECT * FROM messages")
    with pytest.raises(StoreFailed, match="duplicate column"), opened(path):
        pass

    assert rows(path, "PRAGMA user_version") == [(1,)]
    assert rows(path, "PRAGMA table_info(messages)") == columns
    assert rows(path, "SELECT * FROM messages") == messages


def test_no_room_for_the_copy_means_no_migration(path, monkeypatch):
    shutil.copy(GOLDEN, path)
    path.with_name("chat-coord.db.schema-1").mkdir()  # in the way of the copy
    with pytest.raises(StoreFailed), opened(path):
        pass

    assert rows(path, "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize(
    ("make", "said", "helps"),
    [
        ("newer", "version 99", "Install"),
        ("foreign", "another program", "restore FILE"),
        ("text", "not a database", "export --all"),
        ("cut", "damaged", "restore FILE"),
        ("nicked", "in the middle of a page", "export --all"),
        ("page", "damaged", "export --all"),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_touched(path, make, said, helps):
    fill(path, sessions=2, turns=20)
    if make == "newer":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
    elif make == "foreign":
        path.unlink()
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE accounts (x)")
    elif make == "text":
        path.write_bytes(b"somebody's own file\n" * 1_000)
    elif make == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif make == "nicked":
        os.truncate(path, path.stat().st_size - 100)
    else:
        with path.open("r+b") as file:
            file.seek(8 * 4_096)
            file.write(b"\xff" * 4_096)
    before = path.read_bytes()
    with pytest.raises(StoreFailed) as refused, opened(path):
        pass

    assert str(path) in refused.value.message
    assert said in refused.value.message
    assert helps in refused.value.hint
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("what", ["empty", "gone"])
def test_a_log_without_its_database_is_refused_and_kept(path, what):
    writer(path, 20, 1_000, "kill").communicate(timeout=60)
    path.unlink()
    if what == "empty":
        path.touch()
    log = path.with_name(path.name + "-wal")
    before = log.read_bytes()
    with pytest.raises(StoreFailed, match="its write-ahead log is not"), opened(path):
        pass

    assert log.read_bytes() == before


def test_a_database_that_was_cut_to_nothing_is_not_begun_anew(path):
    path.touch()
    (path.parent / "logs").mkdir()
    (path.parent / "logs" / f"{1:016x}.jsonl").touch()
    with pytest.raises(StoreFailed, match="the file is empty"), opened(path):
        pass

    assert path.stat().st_size == 0


def test_the_check_at_the_start_is_bounded_and_the_start_goes_on(path, monkeypatch):
    fill(path, sessions=1, turns=5)
    monkeypatch.setattr(durable, "START_CHECK_S", -1.0)
    monkeypatch.setattr("coordinator.shell.store_check.STEPS", 1)
    with opened(path) as store:
        assert len(store.contents.sessions) == 1


# ---- power cuts


WRITER = """
import sys
from pathlib import Path
from tests.support.stored import opened, prompt, session
from coordinator.core.events import Committed
with opened(Path(sys.argv[1])) as store:
    store.commit(session(1))
    for i in range(int(sys.argv[2])):
        store.store.commit(prompt(1, str(i), f"{i}:" + "x" * int(sys.argv[3])))
        told = store.events.get(timeout=60)
        assert isinstance(told, Committed), told
        print(told.change.idem, flush=True)
    if sys.argv[4] == "kill":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


def writer(path: Path, count: int, size: int, ending: str = "close") -> subprocess.Popen:
    words = [sys.executable, "-c", WRITER, str(path), str(count), str(size), ending]
    return subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


def committed(path: Path) -> list[int] | None:
    """The keys in the order of their commits, None when the store refuses the database."""
    try:
        with opened(path):
            pass
    except StoreFailed:
        return None
    found = rows(path, "SELECT seq, idem, text FROM messages ORDER BY seq")
    assert all(text.startswith(f"{idem}:") for _, idem, text in found)
    assert [seq for seq, _, _ in found] == list(range(1, len(found) + 1))
    return [int(idem) for _, idem, _ in found]


def copy_of(path: Path, folder: Path) -> Path:
    folder.mkdir()
    for ending in ("", "-wal"):
        source = path.with_name(path.name + ending)
        if source.exists():
            shutil.copy(source, folder / source.name)
    return folder / path.name


def test_whatever_is_on_the_disk_at_any_moment_has_every_change_that_was_told_to_be_durable(path, tmp_path):
    child = writer(path, 400, 60_000)
    told, copies = 0, []
    try:
        for line in child.stdout:
            told = int(line) + 1
            if told % 25 == 0:
                os.kill(child.pid, signal.SIGSTOP)
                copies.append((told, copy_of(path, tmp_path / str(told))))
                os.kill(child.pid, signal.SIGCONT)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()

    assert told == 400
    assert len(copies) == 16
    for least, copy in copies:
        found = committed(copy)
        assert found is not None
        assert found == list(range(len(found)))
        assert len(found) >= least


@pytest.mark.parametrize("damage", ["cut", "flip", "header"])
def test_a_damaged_log_leaves_an_exact_prefix_of_the_commits_or_a_refusal(path, tmp_path, damage):
    child = writer(path, 150, 60_000, "kill")  # some checkpoints, and a log that was not taken in
    child.communicate(timeout=60)
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    chance = random.Random(7)

    assert size > 100_000
    lengths = set()
    for i in range(12):
        copy = copy_of(path, tmp_path / f"{damage}{i}")
        broken = copy.with_name(log.name)
        if damage == "cut":
            os.truncate(broken, chance.randrange(size))
        else:
            with broken.open("r+b") as file:
                file.seek(chance.randrange(32) if damage == "header" else chance.randrange(32, size))
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 0x10]))
        found = committed(copy)
        if found is not None:
            assert found == list(range(len(found)))
            lengths.add(len(found))
    assert lengths


# ---- copies


def test_a_copy_has_what_was_committed_before_it_and_commits_go_on_while_it_is_made(path, tmp_path, monkeypatch):
    from coordinator.shell import backup

    fill(path, sessions=4, turns=20, text="word " * 1_000)
    monkeypatch.setattr(backup, "STEP_PAGES", 1)
    copy, is_begun, may_commit, may_end = backup.copy, *(threading.Event() for _ in range(3))

    def copy_in_steps(source, scratch, between):
        def wait_between():
            is_begun.set()
            assert may_commit.wait(60)
            between()
            assert may_end.wait(60)

        copy(source, scratch, wait_between)

    monkeypatch.setattr(backup, "copy", copy_in_steps)
    scratch = backup.begin(tmp_path / "copy.db")
    with opened(path) as store:
        told: list[object] = []
        store.store.copy(scratch, told.append, told.append)
        assert is_begun.wait(60)
        for i in range(20):
            store.store.commit(prompt(2, f"while{i}"))
        may_commit.set()
        during = [store.told(lambda event: isinstance(event, ev.Committed)) for _ in range(20)]
        assert not told
        assert store.calls.empty()
        may_end.set()
        while not told:
            store.calls.get(timeout=60)()

    assert told == [None]
    done = backup.publish(scratch, tmp_path / "copy.db")
    assert len(during) == 20
    assert len(rows(tmp_path / "copy.db", "SELECT * FROM messages WHERE idem LIKE 'while%'")) == 20
    assert done.sessions == 4
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert rows(tmp_path / "copy.db", "PRAGMA integrity_check") == [("ok",)]
    assert len(rows(tmp_path / "copy.db", "SELECT * FROM messages WHERE session LIKE '%4'")) == 40
    assert [p.name for p in tmp_path.iterdir() if ".part" in p.name] == []


def test_a_copy_never_takes_the_place_of_a_file_that_came_meanwhile(path, tmp_path):
    from coordinator.shell import backup

    fill(path, sessions=1, turns=1)
    scratch = backup.begin(tmp_path / "copy.db")
    with closing(sqlite3.connect(path)) as db:
        backup.copy(db, scratch, lambda: None)
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(StoreRefused, match="is there already"):
        backup.publish(scratch, tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_text() == "mine"
    assert not scratch.exists()


def test_a_store_that_is_closed_in_the_middle_of_a_copy_ends_and_says_so(path, tmp_path, monkeypatch):
    from coordinator.shell import backup

    fill(path, sessions=2, turns=20)
    monkeypatch.setattr(backup, "STEP_PAGES", 1)
    told: list[object] = []
    with opened(path) as store:
        store.store.copy(backup.begin(tmp_path / "copy.db"), told.append, told.append)
    store.calls.get(timeout=60)()

    assert told in ([None], ["the coordinator is stopping"])


def test_a_write_that_the_system_refuses_is_a_failure_that_is_never_ignored(path):
    code = """
import resource, sys
from pathlib import Path
from tests.support.stored import opened, prompt, session
with opened(Path(sys.argv[1])) as store:
    store.commit(session(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for i in range(10):
        print(i, type(store.commit(prompt(1, str(i), "x" * 60_000))).__name__)
    print(store.store.fault.reason)
"""
    words = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True, timeout=100)
    lines = done.stdout.splitlines()
    taken = [line.split()[0] for line in lines[:10] if line.endswith(" Committed")]

    assert 0 < len(taken) < 10
    assert str(path) in lines[10]
    assert [idem for (idem,) in rows(path, "SELECT idem FROM messages ORDER BY seq")] == taken


def test_a_reply_comes_once_however_often_it_is_committed(path):
    with opened(path) as store:
        store.commit(session(1))
        store.commit(prompt(1, "k"))
        first, second = store.commit(reply(1, 1, "yes")), store.commit(reply(1, 1, "yes"))

    assert (first.outcome.is_new, second.outcome.is_new) == (True, False)
    assert first.outcome.seq == second.outcome.seq == 2


def test_the_log_is_taken_in_whole_and_emptied_so_that_damage_to_it_never_mixes_old_pages_into_new(path, monkeypatch):
    monkeypatch.setattr(durable, "CHECKPOINT_BYTES", 1)
    log = path.with_name(path.name + "-wal")
    with opened(path) as store:
        store.commit(session(1))
        for i in range(3):
            store.commit(prompt(1, str(i), "x" * 50_000))
            store.ask(lambda db: db.execute("SELECT 1").fetchone())  # behind what follows the commit

            assert log.stat().st_size == 0
            assert store.store.size_bytes == path.stat().st_size > i * 50_000


def test_every_commit_waits_for_the_disk(path):
    with opened(path) as store:
        modes = [
            store.ask(lambda db, p=p: db.execute(f"PRAGMA {p}").fetchone()[0]) for p in ("synchronous", "journal_mode")
        ]

    assert modes == [2, "wal"]


# ---- what was spent


def spent(number: int, seq: int, tokens: int) -> e.InsertReply:
    usage = Usage(input_tokens=tokens - 1, output_tokens=1)
    return e.InsertReply(f"{number:016x}", seq, f"t{seq}", "text", "completed", usage, None, False, 3.0)


def test_what_all_sessions_spent_is_counted_once_and_outlives_them(tmp_path: Path):
    with opened(tmp_path / "db") as store:
        for number in (1, 2):
            store.commit(session(number))
            store.commit(prompt(number, "k"))
            store.commit(spent(number, 1, 100))
        store.commit(spent(2, 1, 100))  # the same reply once more

        assert store.contents.tokens_spent == 0

    with opened(tmp_path / "db") as store:
        assert store.contents.tokens_spent == 200

        store.commit(e.DeleteSession(f"{1:016x}", b"p", 1))

    with opened(tmp_path / "db") as store:
        assert store.contents.tokens_spent == 200
        assert sum(s.tokens for s in store.contents.sessions) == 100


def test_what_an_older_program_did_not_count_is_counted_from_the_replies(tmp_path: Path):
    with opened(tmp_path / "db") as store:
        store.commit(session(1))
        store.commit(prompt(1, "k"))
        store.commit(spent(1, 1, 100))
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        db.execute("DELETE FROM meta WHERE key = 'tokens'")
        db.commit()
    with opened(tmp_path / "db") as store:
        assert store.contents.tokens_spent == 100
