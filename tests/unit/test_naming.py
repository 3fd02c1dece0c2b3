"""Names of sessions: what is one, and which session a text means."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.naming import normal_name, resolve
from protocol.errors import NameAmbiguous, NameIllegal, SessionUnknown


@dataclass
class Known:
    """The least that can be looked up."""

    id: str
    name: str
    number: int
    is_closed: bool = False


# ---- what is a name


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "notes",
        "my notes",
        "fix-bug_7",
        "7up",
        "4 2",
        "4-2",
        "Größe",
        "日本語",
        "हिन्दी",
        "debugging",
        "re view",
        "-x",
        "x" * 64,
    ],
)
def test_letters_digits_spaces_dashes_and_underscores_make_a_name(name):
    assert normal_name(name) == name


def test_a_name_is_kept_in_its_composed_form():
    assert normal_name("re\u0301sume\u0301") == "r\u00e9sum\u00e9"


def test_the_length_of_a_name_is_counted_in_its_composed_form():
    assert normal_name("e\u0301" * 64) == "\u00e9" * 64


def test_spaces_at_the_ends_are_no_part_of_a_name():
    assert normal_name("  my notes ") == "my notes"


@given(st.text(max_size=80))
def test_a_name_that_is_taken_is_normal_already_and_safe_to_show(text):
    try:
        name = normal_name(text)
    except NameIllegal:
        return

    assert normal_name(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= 64
    assert name.isprintable()


@pytest.mark.parametrize("name", ["", " ", "     "])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(NameIllegal, match="at least one character"):
        normal_name(name)


@pytest.mark.parametrize("length", [65, 300, 100_000])
def test_a_name_of_more_than_64_characters_is_refused_and_not_repeated_whole(length):
    with pytest.raises(NameIllegal, match=f"has {length} characters; 64 are allowed") as caught:
        normal_name("x" * length)

    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["1", "42", "007", "\u0663", "\u00b2"])
def test_a_name_of_digits_alone_is_refused(name):
    with pytest.raises(NameIllegal, match=f"The name {name!r} has digits alone"):
        normal_name(name)


def test_a_name_of_one_dash_is_refused():
    with pytest.raises(NameIllegal, match="previous session"):
        normal_name("-")


@pytest.mark.parametrize("name", ["debug", "planning", "development", "review", "Debug", "REVIEW", " review "])
def test_a_type_of_session_is_no_name_in_any_spelling(name):
    with pytest.raises(NameIllegal, match="is a type of session"):
        normal_name(name)


@pytest.mark.parametrize(
    "char",
    [
        *"/\\.,:;@#$%&*()[]{}<>|?!'\"`~+=^\n\r\t\0\x07\x1b\x7f",
        "\x85",
        "\u00a0",
        "\u200b",
        "\u200d",
        "\u202e",
        "\u2028",
        "🙂",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("form", ["a{}b", "{}ab", "ab{}"])
def test_a_name_with_any_other_character_is_refused_and_the_character_is_named(form, char):
    with pytest.raises(NameIllegal) as caught:
        normal_name(form.format(char))

    assert f"not allowed: {char!r}" in caught.value.message


@pytest.mark.parametrize("name", ["../etc/passwd", "..", ".", "/", "a/../b", "~root", "$HOME", "a;rm", "C:"])
def test_a_name_is_never_a_path_or_a_piece_of_shell(name):
    with pytest.raises(NameIllegal, match="not allowed"):
        normal_name(name)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\u202eb", "x\ny"])
def test_a_refusal_does_not_repeat_what_steers_a_terminal(name):
    with pytest.raises(NameIllegal) as caught:
        normal_name(name)

    assert caught.value.message.isprintable()


# ---- which session a text means


def test_a_session_is_found_by_its_exact_name():
    sessions = [Known("aa01", "notes", 1), Known("bb02", "notes 2", 2)]

    assert resolve("notes", sessions) is sessions[0]


def test_a_session_is_found_by_its_number():
    sessions = [Known("aa01", "notes", 1), Known("bb02", "plans", 2)]

    assert resolve("2", sessions) is sessions[1]


@pytest.mark.parametrize("prefix", ["b", "bb0", "bb02", "BB"])
def test_a_session_is_found_by_the_beginning_of_its_id(prefix):
    sessions = [Known("aa01", "notes", 1), Known("bb02", "plans", 2)]

    assert resolve(prefix, sessions) is sessions[1]


def test_a_name_comes_before_the_beginning_of_an_id():
    sessions = [Known("bb01", "notes", 1), Known("aa02", "bb", 2)]

    assert resolve("bb", sessions) is sessions[1]


def test_a_number_comes_before_the_beginning_of_an_id():
    sessions = [Known("2201", "notes", 1), Known("aa02", "plans", 2)]

    assert resolve("2", sessions) is sessions[1]


def test_a_name_comes_before_a_number():
    sessions = [Known("aa01", "plans", 2), Known("bb02", "2", 1)]

    assert resolve("2", sessions) is sessions[1]


def test_a_name_is_found_however_its_accents_are_typed():
    sessions = [Known("aa01", "r\u00e9sum\u00e9", 1)]

    assert resolve(" re\u0301sume\u0301 ", sessions) is sessions[0]


@pytest.mark.parametrize("text", ["Notes", "note", "otes", "01", "3", "cc", "", " "])
def test_what_is_no_name_number_or_beginning_of_an_id_is_unknown(text):
    with pytest.raises(SessionUnknown, match="There is no session"):
        resolve(text, [Known("aa01", "notes", 1), Known("bb02", "plans", 2)])


def test_an_unknown_name_is_not_repeated_whole():
    with pytest.raises(SessionUnknown) as caught:
        resolve("x" * 100_000, [])

    assert len(caught.value.message) < 100


def test_an_id_that_begins_alike_is_ambiguous_and_the_candidates_are_listed():
    sessions = [Known("aa01", "notes", 1), Known("aa02", "plans", 2), Known("bb03", "other", 3)]

    with pytest.raises(NameAmbiguous, match=r"'aa' can mean 2 sessions: aa01 \(notes\), aa02 \(plans\)") as caught:
        resolve("aa", sessions)

    assert caught.value.facts == {"candidates": ["aa01 (notes)", "aa02 (plans)"]}


def test_of_very_many_candidates_ten_are_listed():
    sessions = [Known(f"aa{i:03}", f"name {i}", i + 1) for i in range(500)]

    with pytest.raises(NameAmbiguous, match="can mean 500 sessions") as caught:
        resolve("aa", sessions)

    assert len(caught.value.facts["candidates"]) == 10


def test_a_closed_session_is_still_found_by_its_name_and_its_id():
    sessions = [Known("aa01", "notes", 1, is_closed=True)]

    assert resolve("notes", sessions) is resolve("aa", sessions) is sessions[0]


def test_a_closed_session_has_no_number_any_more():
    with pytest.raises(SessionUnknown):
        resolve("1", [Known("aa01", "notes", 1, is_closed=True)])


def test_a_living_session_comes_before_a_closed_one_of_the_same_name():
    sessions = [Known("aa01", "notes", 1, is_closed=True), Known("bb02", "notes", 1)]

    assert resolve("notes", sessions) is sessions[1]
    assert resolve("1", sessions) is sessions[1]


def test_two_closed_sessions_of_the_same_name_are_ambiguous():
    sessions = [Known("aa01", "notes", 1, is_closed=True), Known("bb02", "notes", 1, is_closed=True)]

    with pytest.raises(NameAmbiguous, match=r"aa01 \(notes\), bb02 \(notes\)"):
        resolve("notes", sessions)
