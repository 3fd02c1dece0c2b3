"""What reaches the screen: clean, whole, and the same whether a reply came in pieces or at once. And what comes in."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual._xterm_parser import XTermParser

from client.core.record import Record
from client.tui.driver import IDLE_TICKS, Reader
from client.tui.entry import LargePaste, transportable
from client.tui.keys import teach
from client.tui.painting import Painter
from client.tui.session_list import row
from protocol.limits import PROMPT_BYTES
from protocol.messages import Piece
from protocol.terminal_safe import clean_line
from tests.support.scripted_connection import NOW, a_session, a_turn
from tests.unit.test_terminal_oracle import ATTACKS, attack, obeyed

CASES = 1_500
WORDS = [
    "# Title\n",
    "a **b** c",
    "`x`",
    "\n\n",
    "- item\n",
    "```\ncode\n```\n",
    "| a |\n|---|\n| 1 |\n",
    "<b>",
    "漢字 ",
    "> q\n",
    "word ",
]


def painted(record: Record, width: int = 40) -> list[str]:
    painter = Painter(width)
    return [strip.text for block in record.blocks for strip in painter.lines(block)]


def assert_harmless(painter: Painter, record: Record) -> None:
    for block in record.blocks:
        for strip in painter.lines(block):
            for segment in strip:
                assert not segment.control
                assert segment.text == clean_line(segment.text), repr(segment.text)
                assert segment.style is None or segment.style.link is None


def test_nothing_of_what_is_said_steers_the_terminal_wherever_it_stands():
    rng = random.Random(7)
    for _ in range(CASES):
        evil = attack(rng)
        record = Record()
        for message in a_turn(1, evil, evil, stop_reason="failed"):
            record.take(message)
        record.blocks[-1].mark = evil
        record.note(evil)
        record.note(evil, "ask")
        record.note(evil, "problem")
        assert_harmless(Painter(30), record)


def test_markdown_makes_no_link_that_can_be_followed_and_no_control():
    evil = "".join(ATTACKS)
    record = Record()
    text = f"[here](http://evil/{evil}) ![{evil}](x) <http://auto> `{evil}`\n\n```{evil}\n{evil}\n```\n\n"
    text += f"# {evil}\n\n| {evil} |\n|-|\n"
    for message in a_turn(1, "p", text):
        record.take(message)

    assert_harmless(Painter(50), record)
    assert "http://evil" in "".join(painted(record, 200))  # where it leads is said


def test_html_in_a_reply_is_shown_as_it_is():
    record = Record()
    for message in a_turn(1, "p", "<hello>\n\na <b>c</b> &amp; <!-- d -->"):
        record.take(message)

    shown = "\n".join(painted(record))
    assert "<hello>" in shown
    assert "a <b>c</b> & <!-- d -->" in shown


@settings(max_examples=60)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25), st.integers(8, 60))
def test_a_reply_that_came_in_pieces_has_every_word_of_one_that_came_whole(pieces, width):
    growing, painter = Record(), Painter(width)
    for n, text in enumerate(pieces):
        growing.add(Piece(session="s", seq=1, turn_id="t1", n=n, text=text))
        growing.settle()
        lines = painter.lines(growing.blocks[0])
    whole = Record()
    whole.take(a_turn(1, "p", "".join(pieces))[1])

    # Where it was cut a list or a table may look otherwise for the moment, but no word is missing.
    assert sorted("".join(s.text for s in lines).split()) == sorted("".join(painted(whole, width)).split()) or (
        growing.blocks[0].done
    )
    assert all(cell_len(strip.text) <= width for strip in lines)


@given(st.text(max_size=80), st.integers(1, 30))
def test_a_row_of_the_list_is_as_wide_as_the_list_whatever_the_name(name, width):
    shown = row(a_session(name, 3, display="requires_action"), "x", NOW, width).plain

    assert cell_len(shown) <= max(width, len("  3 ! asks 3m") + 1)
    assert shown == clean_line(shown)
    assert "asks" in shown


def messages(chunks: list[bytes]) -> list[events.Event]:
    teach()
    reader = Reader(XTermParser())
    return [message for chunk in chunks for message in reader.feed(chunk)]


def keys(*chunks: bytes) -> list[str]:
    return [m.key for m in messages(list(chunks)) if isinstance(m, events.Key)]


def test_alt_and_a_digit_is_known_at_once_and_is_no_other_character():
    assert keys(b"\x1b1", b"\x1b9", b"\x1bw", b"\x1b\r") == ["alt+1", "alt+9", "alt+w", "alt+enter"]


def test_bytes_that_are_no_text_end_nothing():
    assert [m.character for m in messages([b"a\xff\xc3", b"\xa9\x80b"]) if isinstance(m, events.Key)] == [
        "a", "\ufffd", "é", "\ufffd", "b",
    ]  # fmt: skip


@given(st.binary(max_size=60).filter(lambda b: b"\x1b" not in b), st.lists(st.integers(0, 80), max_size=6))
def test_a_paste_is_the_same_however_it_was_cut_on_the_way(data, cuts):
    stream = b"x\x1b[200~" + data + b"\x1b[201~y"
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    got = messages([stream[a:b] for a, b in itertools.pairwise(edges) if a < b])

    pastes = [m for m in got if isinstance(m, events.Paste)]
    assert [p.text for p in pastes] == [data.decode(errors="replace")]
    assert [m.key for m in got if isinstance(m, events.Key)] == ["x", "y"]


def test_of_a_paste_that_is_too_large_only_the_beginning_is_kept_and_its_size():
    chunk = b"z" * (1 << 16)
    [paste] = messages([b"\x1b[200~", *[chunk] * 160, b"\x1b[201~"])

    assert isinstance(paste, LargePaste)
    assert paste.size == 160 << 16
    assert len(paste.text) < PROMPT_BYTES + 10
    [fits] = messages([b"\x1b[200~" + b"z" * PROMPT_BYTES + b"\x1b[201~"])
    assert not isinstance(fits, LargePaste)


def test_a_paste_whose_end_was_lost_is_over_after_a_second_and_the_keys_work_again():
    teach()
    reader = Reader(XTermParser())
    assert list(reader.feed(b"\x1b[200~abc\x11")) == []
    got = [message for _ in range(IDLE_TICKS) for message in reader.rest()]
    assert [p.text for p in got] == ["abc\x11"]

    assert [m.key for m in reader.feed(b"\x11")] == ["ctrl+q"]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "plain", "漢\0"])
def test_what_is_typed_can_always_be_sent(text):
    transportable(text).encode()

    assert transportable("plain 漢\0") == "plain 漢\0"


def test_the_oracle_would_see_what_was_not_cleaned():
    assert obeyed("".join(ATTACKS))
