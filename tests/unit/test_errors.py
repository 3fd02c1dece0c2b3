"""Errors: stable codes for machines, hints for people, exit codes for scripts."""

import re

import pytest

from protocol import errors
from protocol.errors import ChatCoordError, NameAmbiguous, RemoteError, SessionClosed

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ChatCoordError) and kind is not RemoteError
]


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in KINDS]

    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_is_a_word_or_words_with_dots(kind):
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", kind.code)


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("SessionUnknown", 1),
        ("NameIllegal", 1),
        ("CoordinatorAbsent", 3),
        ("CoordinatorSilent", 3),
        ("TimedOut", 4),
        ("HomeOwned", 75),
        ("HomeUnsafe", 78),
        ("ConfigBad", 78),
    ],
)
def test_an_error_has_the_exit_code_that_is_promised(name, exit_code):
    assert getattr(errors, name)("It is so.").exit_code == exit_code


def test_an_error_says_its_sentence_and_carries_its_facts():
    error = NameAmbiguous("It can mean two.", candidates=["a", "b"])

    assert (str(error), error.message, error.facts) == ("It can mean two.",) * 2 + ({"candidates": ["a", "b"]},)


def test_an_error_without_a_hint_of_its_own_has_its_class_s():
    assert SessionClosed("It is closed.").hint == SessionClosed.hint != ""


@pytest.mark.parametrize("hint", ["Do this.", ""])
def test_a_hint_of_its_own_comes_before_the_class_s_even_when_it_is_empty(hint):
    assert SessionClosed("It is closed.", hint=hint).hint == hint


def test_an_error_of_another_process_keeps_that_process_s_code_and_hint():
    error = RemoteError("session.closed", "It is closed.", "Open another.")

    assert (error.remote_code, error.message, error.hint) == ("session.closed", "It is closed.", "Open another.")
