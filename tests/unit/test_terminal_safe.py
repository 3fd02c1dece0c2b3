"""Nothing that reaches a terminal can steer it or hide from its reader."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.terminal_safe import REPLACEMENT, clean, clean_line

EVERY = [chr(c) for c in range(sys.maxunicode + 1)]
# The names that the Unicode bidirectional algorithm gives to characters that change direction.
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ZERO_WIDTH = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u180e"]
DANGEROUS = {
    "controls": [c for c in EVERY if unicodedata.category(c) == "Cc" and c not in "\t\n"],
    "directions": [c for c in EVERY if unicodedata.bidirectional(c) in DIRECTIONS],
    "direction marks": ["\u200e", "\u200f", "\u061c"],
    "zero width": ZERO_WIDTH,
    "line and paragraph separators": ["\u2028", "\u2029"],
    "lone surrogates": [c for c in EVERY if unicodedata.category(c) == "Cs"],
    "tags": [chr(c) for c in range(0xE0000, 0xE0080)],
    "interlinear": ["\ufff9", "\ufffa", "\ufffb"],
}
# Small pieces of what an attacker would try, so that hypothesis meets them often.
HOSTILE = st.lists(
    st.sampled_from(
        ["\x1b", "[2J", "]52;c;AAAA", "\x07", "\r", "\n", "\t", "\x9b", "\u202e", "\u200b", "\x7f", "a", "é"]
    )
    | st.characters(),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("function", [clean, clean_line])
@pytest.mark.parametrize("group", DANGEROUS)
def test_no_dangerous_character_survives_and_each_is_seen(group, function):
    survived = [hex(ord(c)) for c in DANGEROUS[group] if function(f"a{c}b") != f"a{REPLACEMENT}b"]

    assert survived == []


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b]52;c;cm0gLXJm\x07",
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x1b\\",
        "\x9b31m",
        "rm -rf ~\rls",
        "\x1bP1$r\x1b\\",
        "a\bb",
    ],
)
def test_an_escape_sequence_stays_as_harmless_text(attack):
    cleaned = clean(attack)

    assert cleaned.isprintable()
    assert len(cleaned) == len(attack)


@given(HOSTILE, HOSTILE)
def test_a_sequence_split_over_two_pieces_is_broken_all_the_same(first, second):
    assert clean(first) + clean(second) == clean(first + second)


@given(HOSTILE)
def test_one_character_in_is_one_character_out(text):
    assert len(clean(text)) == len(clean_line(text)) == len(text)


@pytest.mark.parametrize(
    "text", ["plain", "Grüße, naïve", "日本語", "עברית", "ελλήνικά", "🙂", "a\u00a0b", "~!@#$%^&*()"]
)
def test_what_people_write_is_left_alone(text):
    assert clean(text) == clean_line(text) == text


def test_lines_and_tabs_of_a_text_stay():
    assert clean("one\n\ttwo\n") == "one\n\ttwo\n"


def test_lines_and_tabs_become_spaces_in_one_line():
    assert clean_line("one\n\ttwo\n") == "one  two "


@given(HOSTILE)
def test_one_line_is_one_line_by_every_definition(text):
    assert len(clean_line(text).splitlines()) <= 1
