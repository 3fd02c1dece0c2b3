"""Names from prompts: a few telling words, bounded, unique; pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.auto_names import NAME_CHARS, name_for
from coordinator.core.naming import normal_name


def nobody(_: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Please help me to fix the login page of our shop", "fix-login-page"),
        ("Fibonacci numbers in Rust", "fibonacci-numbers"),  # the third word is too much
        ("Warum ist der Himmel über Hamburg so blau?", "warum-himmel-über"),
        ("Почему корабль не тонет в море", "почему-корабль-тонет"),
        ("what's up with https://example.org/a/b and me@example.org: dns cache", "whats-dns-cache"),
        ("日本の歴史について教えてください", "日本の歴史について教"),
        ("tests/unit/test_roll.py fails", "tests-unit-test"),
        ("1234 5678 port scan", "port-scan"),
        ("port port scan", "port-scan"),
        ("o'brien's ledger", "obriens-ledger"),
    ],
)
def test_a_name_is_the_first_telling_words(text, name):
    assert name_for(text, nobody) == name


@pytest.mark.parametrize("text", ["", "hi", "hello there", "one", "review", "42", "a b c", "the of and", "é"])
def test_too_little_is_no_name(text):
    assert name_for(text, nobody) is None


def test_a_name_that_is_taken_gets_a_number_within_the_bound():
    taken = {"harbour-cranes", "harbour-cranes-2"}

    assert name_for("harbour cranes", taken.__contains__) == "harbour-cranes-3"
    long = name_for("abcdefghij klmnopqrs", nobody)
    again = name_for("abcdefghij klmnopqrs", {long}.__contains__)
    assert long == "abcdefghij-klmnopqrs"
    assert again == "abcdefghij-klmnopq-2"
    assert len(again) == NAME_CHARS


def test_a_shorter_bound_of_the_configuration_holds():
    assert name_for("harbour cranes rusting", nobody, 16) == "harbour-cranes"


@given(st.text(max_size=300))
def test_whatever_is_said_a_name_is_legal_and_short(text):
    name = name_for(text, nobody)

    assert name is None or (name == normal_name(name) and len(name) <= NAME_CHARS and " " not in name)
