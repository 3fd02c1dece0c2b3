"""What a typed line means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.core.input_router import ALIASES, COMMANDS, Command, Nothing, Say, SayTo, Unknown, route

# Text that is rich in what the router looks at.
TEXTS = st.text(alphabet=st.sampled_from("/@ \t\r\nsnew-") | st.characters(codec="utf-8"), max_size=30)


@given(TEXTS.filter(lambda text: not text.startswith("/")))
def test_a_text_behind_one_slash_is_never_a_prompt(text):
    assert isinstance(route(f"/{text}"), Command | Unknown)


@given(TEXTS)
def test_a_text_behind_two_slashes_is_sent_with_one(text):
    assert route(f"//{text}") == Say(f"/{text}".rstrip("\r\n"))


@given(TEXTS.filter(lambda text: text.strip() and text[0] not in "/@"))
def test_any_other_text_is_sent_as_it_is_without_the_end_of_its_line(text):
    assert route(text) == Say(text.rstrip("\r\n"))


@given(st.text(alphabet=" \t\r\n\u00a0\u3000"))
def test_a_blank_line_is_nothing(line):
    assert route(line) == Nothing()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_known_with_and_without_text_behind_it(name):
    assert route(f"/{name}\n") == Command(name, "")
    assert route(f"/{name}  some  text \n") == Command(name, "some  text")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    assert COMMANDS[name].startswith(f"/{name} ")


def test_every_alias_is_its_command():
    assert {alias: route(f"/{alias} 3") for alias in ALIASES} == {a: Command(name, "3") for a, name in ALIASES.items()}


def test_s_is_short_for_switch():
    assert route("/s -") == Command("switch", "-")


@pytest.mark.parametrize(
    ("line", "word", "suggestion"),
    [
        ("/swich notes", "swich", "switch"),
        ("/session", "session", "sessions"),
        ("/quite", "quite", "quit"),
        ("/New", "New", "new"),
        ("/xyzzy", "xyzzy", None),
        ("/", "", None),
        ("/ new", "", None),
    ],
)
def test_an_unknown_command_is_an_error_with_the_nearest_one(line, word, suggestion):
    assert route(line) == Unknown(word, suggestion)


@pytest.mark.parametrize("line", [" /new", "\t/quit", "see /help", "a/b", "\n/new"])
def test_a_slash_that_is_not_in_the_first_column_is_text(line):
    assert route(line) == Say(line)


@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1),
    text=TEXTS.filter(str.strip),
)
def test_a_text_behind_a_name_goes_to_that_session(name, text):
    assert route(f"@{name} {text}") == SayTo(name, text.strip())


@pytest.mark.parametrize("line", ["@", "@name", "@name  ", "@ text", "me@example.org hello"])
def test_an_at_sign_without_name_or_text_is_text(line):
    assert route(line) == Say(line)


def test_a_prompt_of_several_lines_stays_whole():
    assert route("one\n/two\n\n@three four\n") == Say("one\n/two\n\n@three four")
