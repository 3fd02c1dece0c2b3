"""Logs know a bound, and a log that cannot be written stops nobody."""

import json
import logging
import os

import pytest

from coordinator.shell import output_files
from coordinator.shell.output_files import trim_all
from protocol import logs
from protocol.logs import log_to
from tests.support.disks import fill, small_disk


@pytest.fixture
def root():
    """The root logger; what it was is put back."""
    logger = logging.getLogger()
    before, level, raises = logger.handlers[:], logger.level, logging.raiseExceptions
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.handlers[:], logger.level, logging.raiseExceptions = before, level, raises


def test_a_log_has_two_predecessors_and_never_more_than_its_bound(tmp_path, root, monkeypatch):
    monkeypatch.setattr(logs, "LOG_BYTES", 1_000)
    path = tmp_path / "coordinator.log"
    log_to(path, "test")
    for n in range(100):
        root.info("a line", extra={"n": n})
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    kept = [
        json.loads(line)["n"]
        for name in ("coordinator.log.2", "coordinator.log.1", "coordinator.log")
        for line in (tmp_path / name).read_text().splitlines()
    ]

    assert set(sizes) == {"coordinator.log", "coordinator.log.1", "coordinator.log.2"}
    assert max(sizes.values()) <= 1_000
    assert kept == list(range(kept[0], 100))


def test_the_bound_is_five_megabytes_and_two_predecessors():
    assert (logs.LOG_BYTES, logs.PREDECESSORS) == (5 << 20, 2)


def test_a_log_that_cannot_be_opened_stops_nobody(tmp_path, root):
    log_to(tmp_path / "no folder" / "a.log", "test")
    root.info("a line")


def test_a_full_disk_stops_nobody_and_when_there_is_room_the_log_goes_on(tmp_path, root, monkeypatch):
    monkeypatch.setattr(logs, "LOG_BYTES", 10_000)
    folder = tmp_path / "disk"
    with small_disk(folder, 1):
        path = folder / "coordinator.log"
        log_to(path, "test")
        root.info("before")
        fill(folder / "filler")
        for _ in range(300):  # more than fits, and more than once round
            root.info("x" * 100)
        (folder / "filler").unlink()
        root.info("after")

        assert json.loads(path.read_text().splitlines()[-1])["message"] == "after"
        root.handlers[0].close()


def test_a_rotation_that_fails_half_way_does_not_end_the_log(tmp_path, root, monkeypatch):
    path = tmp_path / "coordinator.log"
    log_to(path, "test")
    root.info("before")
    root.handlers[0].stream.close()  # as after a close that had no room for its last bytes
    root.info("lost")
    root.info("after")

    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["before", "after"]


def failing() -> None:
    try:
        int(f"what a {'person'} said")
    except ValueError as error:
        raise OSError(28, "No space left on device") from error


@pytest.mark.parametrize("level", ["info", "debug"])
def test_every_line_says_whose_it_is_and_a_traceback_quotes_nobody_above_debug(tmp_path, root, level):
    path = tmp_path / "a.log"
    log_to(path, "worker", level, session="s", epoch=3)
    logs.bind(boot=7)
    try:
        failing()
    except OSError:
        root.exception("it failed", extra={"turn": "t"})
    line = json.loads(path.read_text().splitlines()[-1])

    assert list(line)[:7] == ["at", "level", "process", "boot", "session", "turn", "epoch"]
    assert (line["process"], line["boot"], line["session"], line["turn"], line["epoch"]) == ("worker", 7, "s", "t", 3)
    assert line["message"] == "it failed"
    assert "in failing" in line["traceback"]
    assert "OSError: [Errno 28] No space left on device" in line["traceback"]
    assert "ValueError" in line["traceback"]
    assert ("what a person said" in path.read_text()) == (level == "debug")


def test_what_is_wrong_is_told_to_the_journal_with_its_priority_in_one_line(tmp_path, root, capsys):
    log_to(tmp_path / "a.log", "coordinator")
    logs.also_to_stderr()
    root.info("all is well")
    root.warning("it is odd", extra={"why": "a\nb"})
    root.error("it failed")

    assert capsys.readouterr().err.splitlines() == ["<4>it is odd why='a\\nb'", "<3>it failed"]


# ---- what processes say on standard output and error


@pytest.mark.parametrize("name", ["abc.stderr", "coordinator.stderr", "zygote.log", "model-small.log"])
def test_output_over_the_bound_becomes_a_predecessor_and_its_writer_goes_on(tmp_path, monkeypatch, name):
    monkeypatch.setattr(output_files, "LOG_BYTES", 1_000)
    path = tmp_path / name
    writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for n in range(4):
            os.write(writer, f"{n}".encode() * 1_001)
            trim_all(tmp_path)
        os.write(writer, b"and on")
    finally:
        os.close(writer)

    assert {file.name: file.read_bytes()[:6] for file in tmp_path.iterdir()} == {
        name: b"and on",
        f"{name}.1": b"333333",
        f"{name}.2": b"222222",
    }
    assert (tmp_path / f"{name}.1").stat().st_size == 1_000
    assert (tmp_path / f"{name}.1").stat().st_mode & 0o777 == 0o600


def test_output_within_the_bound_and_other_files_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(output_files, "LOG_BYTES", 1_000)
    for name, size in (("abc.stderr", 1_000), ("abc.jsonl", 2_000), ("abc.stderr.1", 2_000), ("precious", 2_000)):
        (tmp_path / name).write_bytes(b"x" * size)
    before = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    trim_all(tmp_path)

    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == before


def test_output_is_emptied_also_when_there_is_no_room_for_a_predecessor(tmp_path, monkeypatch):
    monkeypatch.setattr(output_files, "LOG_BYTES", 1_000)
    folder = tmp_path / "disk"
    with small_disk(folder, 1):
        (folder / "abc.stderr").write_bytes(b"x" * 600_000)
        fill(folder / "filler")
        monkeypatch.setattr(output_files, "LOG_BYTES", 500_000)
        trim_all(folder)

        assert (folder / "abc.stderr").stat().st_size == 0


def test_a_folder_that_is_gone_stops_nobody(tmp_path):
    trim_all(tmp_path / "none")
