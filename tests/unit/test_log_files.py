"""Reading logs: the last lines whatever their length, and only whole lines as they come."""

import pytest

from client import log_files
from client.log_files import LogFile
from protocol.paths import Home


@pytest.fixture
def log(tmp_path):
    return LogFile(tmp_path / "x.stderr", is_stderr=True)


def texts(entries):
    return [entry["message"] for entry in entries]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("block", [1, 3, 7, 1_000])
@pytest.mark.parametrize("ending", ["\n", ""])
def test_the_last_lines_are_found_whatever_the_size_of_a_block(log, monkeypatch, count, block, ending):
    monkeypatch.setattr(log_files, "BLOCK_BYTES", block)
    lines = [f"line {number}" for number in range(9)]
    log.path.write_text("\n".join(lines) + ending)

    assert texts(log.tail(count)) == (lines[-count:] if count else [])


def test_only_whole_lines_are_shown_as_they_come_and_none_twice(log):
    log.path.write_text("one\n")

    assert texts(log.tail(5)) == ["one"]
    with log.path.open("a") as file:
        file.write("tw")
        file.flush()
        assert log.more() == []
        file.write("o\nthree\n")
    assert texts(log.more()) == ["two", "three"]
    assert log.more() == []


def test_a_file_that_comes_later_is_begun_anew_or_is_replaced_is_read_from_its_beginning(log):
    assert log.tail(5) == log.more() == []
    log.path.write_text("first\n")
    assert texts(log.more()) == ["first"]
    log.path.write_text("a\n")
    assert texts(log.more()) == ["a"]
    other = log.path.with_name("other")
    other.write_text("b\nc\n")
    other.replace(log.path)
    assert texts(log.more()) == ["b", "c"]


def test_a_line_without_an_end_is_shown_in_pieces(log, monkeypatch):
    monkeypatch.setattr(log_files, "LINE_BYTES", 4)
    log.path.write_text("abcdef\n")

    assert [texts(log.more()), texts(log.more())] == [["abcd"], ["ef"]]


def test_a_log_that_was_just_begun_anew_shows_the_end_of_its_predecessor_too(log):
    log.path.with_name("x.stderr.1").write_text("one\ntwo\nthree\n")
    log.path.write_text("four\n")

    assert texts(log.tail(3)) == ["two", "three", "four"]
    assert texts(log.tail(1)) == ["four"]
    assert log.more() == []


def test_lines_that_are_not_wanted_do_not_count_and_predecessors_are_looked_through(tmp_path):
    log = LogFile(tmp_path / "x.log", is_stderr=False, is_wanted=lambda entry: entry["session"] == "s")
    own = [f'{{"at": {n}, "session": "s", "message": "{n}"}}\n' for n in range(4)]
    other = '{"at": 9, "session": "t", "message": "no"}\n'
    log.path.with_name("x.log.2").write_text(own[0] + own[1] + other * 20)
    log.path.with_name("x.log.1").write_text(other * 20 + own[2])
    log.path.write_text(own[3] + other * 20)

    assert texts(log.tail(3)) == ["1", "2", "3"]
    with log.path.open("a") as file:
        file.write(other + own[0])
    assert texts(log.more()) == ["0"]


def test_lines_of_several_logs_come_by_time_and_those_without_one_stay_where_they_were(tmp_path):
    (tmp_path / "logs").mkdir()
    home = Home(tmp_path)
    (home.logs / "s.jsonl").write_text('{"at": 2, "message": "b"}\nhalf\n{"at": 5, "message": "e"}\n')
    lines = ['{"at": 1, "session": "s", "message": "a"}', '{"at": 3, "session": "t", "message": "no"}']
    lines.append('{"at": 4, "session": "s", "message": "d"}')
    home.coordinator_log.write_text("\n".join(lines) + "\n")
    files = log_files.of_session(home, "s")

    assert texts(log_files.last(files, 9)) == ["a", "b", "half", "d", "e"]
    assert texts(log_files.last(files, 2)) == ["d", "e"]
    assert log_files.last(files, 0) == []
