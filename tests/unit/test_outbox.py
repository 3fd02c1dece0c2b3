"""The worker's durable notes: what is whole is read back, what is torn, foreign or damaged ends the reading."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol import messages as m
from protocol.outbox import list_outboxes, outbox_path, read_outbox, record
from protocol.views import Usage
from workers.shell.outbox import Outbox

SESSION = "0123456789abcdef"


def started(seq: int = 1, epoch: int = 2) -> m.Started:
    return m.Started(session=SESSION, epoch=epoch, seq=seq, turn_id="t")


def reply(text: str = "Hello.", seq: int = 1) -> m.Reply:
    return m.Reply(
        session=SESSION, epoch=2, seq=seq, turn_id="t", text=text, stop_reason="completed", usage=Usage(), pieces=1
    )


@pytest.fixture
def outbox(tmp_path: Path):
    opened = Outbox(outbox_path(tmp_path, SESSION, 2))
    yield opened
    opened.close()


def read(tmp_path: Path):
    return read_outbox(tmp_path, SESSION, 2)


def test_what_was_noted_is_read_in_order(tmp_path, outbox):
    outbox.append(started())
    outbox.append(reply())

    assert read(tmp_path) == (started(), reply())


def test_what_was_noted_is_on_the_disk_when_append_returns(tmp_path, outbox, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    outbox.append(started())

    assert synced == [len(record(started()))]


def test_nothing_is_made_before_the_first_note_and_nothing_is_left_after_a_trim(tmp_path, outbox):
    assert list_outboxes(tmp_path) == []

    outbox.append(started())
    outbox.append(reply())
    outbox.trim()

    assert read(tmp_path) == ()

    outbox.append(started(3))

    assert read(tmp_path) == (started(3),)


def test_of_a_torn_record_only_the_tail_goes_wherever_it_is_torn(tmp_path):
    path = outbox_path(tmp_path, SESSION, 2)
    whole = record(started()) + record(reply())
    for size in range(len(record(started())), len(whole)):
        path.write_bytes(whole[:size])

        assert read(tmp_path) == (started(),)


def test_a_flipped_byte_ends_the_reading_before_it(tmp_path):
    path = outbox_path(tmp_path, SESSION, 2)
    whole = bytearray(record(started()) + record(reply()))
    for at in range(len(record(started())), len(whole)):
        damaged = whole.copy()
        damaged[at] ^= 0x40
        path.write_bytes(damaged)

        assert read(tmp_path) == (started(),)


def test_a_record_of_another_worker_ends_the_reading(tmp_path):
    outbox_path(tmp_path, SESSION, 2).write_bytes(record(started()) + record(started(epoch=1)) + record(reply()))

    assert read(tmp_path) == (started(),)


def test_garbage_and_no_file_are_read_as_nothing(tmp_path):
    assert read(tmp_path) == ()

    outbox_path(tmp_path, SESSION, 2).write_bytes(b"\xff" * 5_000)

    assert read(tmp_path) == ()


def test_outboxes_are_listed_by_session_and_epoch_and_other_files_are_left_out(tmp_path):
    for name in (f"{SESSION}-10.outbox", f"{SESSION}-9.outbox", "notes", f"{SESSION}-x.outbox", "ab-1.outbox"):
        (tmp_path / name).write_bytes(b"")

    assert list_outboxes(tmp_path) == [(SESSION, 9), (SESSION, 10)]
    assert list_outboxes(tmp_path / "missing") == []


def test_a_full_disk_leaves_what_was_noted_before_and_the_next_note_is_whole(tmp_path):
    """A limit on the size of files stands for a full disk: the write comes back short, then fails."""
    story = f"""
import resource, signal, sys
from pathlib import Path
from tests.unit.test_outbox import outbox_path, read_outbox, reply, started, SESSION, Outbox
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path({str(tmp_path)!r})
outbox = Outbox(outbox_path(folder, SESSION, 2))
outbox.append(started())
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    outbox.append(reply("x" * 5000))
except OSError as error:
    print("refused", error.errno)
print(read_outbox(folder, SESSION, 2) == (started(),))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
outbox.append(reply("small"))
print(read_outbox(folder, SESSION, 2) == (started(), reply("small")))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", story], capture_output=True, text=True, check=False, cwd=root, timeout=60
    )

    assert done.stdout.splitlines() == ["refused 27", "True", "True"], done.stderr
