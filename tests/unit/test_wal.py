"""A write-ahead log that is damaged in the middle: what stood behind the damage is counted, kept, and told."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stored import opened, prompt, rows

WRITE = """
import os, signal, sys
from pathlib import Path
from tests.support.stored import Opened, prompt, session
store = Opened(Path(sys.argv[1]))
store.commit(session(1))
for n in range(int(sys.argv[2])):
    store.commit(prompt(1, f"k{n}"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    """A database whose writer was killed, and its log with eleven transactions or more."""
    path = tmp_path / "chat-coord.db"
    done = subprocess.run([sys.executable, "-c", WRITE, path, "10"], check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL
    return path, path.with_name("chat-coord.db-wal")


def prompts(path):
    return [text for (text,) in rows(path, "SELECT text FROM messages ORDER BY seq")]


def test_a_log_that_is_whole_is_taken_without_a_word(killed):
    path, log = killed
    with opened(path) as store:
        assert store.store.notice is None
        assert len(prompts(path)) == 10
    assert not log.with_name("chat-coord.db-wal.damaged").exists()


def test_a_log_that_ends_in_the_middle_of_a_transaction_lost_nothing_that_was_promised(killed):
    path, log = killed
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1_000)
    with opened(path) as store:
        assert store.store.notice is None
        assert len(prompts(path)) == 9


@pytest.mark.parametrize("where", ["middle", "header"])
def test_what_stands_behind_a_damage_is_counted_and_the_log_is_kept(killed, where):
    path, log = killed
    data = bytearray(log.read_bytes())
    at = len(data) // 2 if where == "middle" else 20
    data[at] ^= 0xFF
    log.write_bytes(data)
    with opened(path) as store:
        left = len(prompts(path)) if where == "middle" else 0
        notice = store.store.notice
        if where == "middle":
            assert isinstance(store.commit(prompt(1, "goes on")), object)

    assert notice is not None
    assert "may have been acknowledged" in notice
    assert 0 <= left < 10
    assert log.with_name("chat-coord.db-wal.damaged").read_bytes() == bytes(data)
