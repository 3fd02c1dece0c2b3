"""What of a reply is on the screen already."""

from hypothesis import given
from hypothesis import strategies as st

from client.core.transcript import AGAIN_MARK, LOST_MARK, Transcript
from protocol.messages import Piece

TEXTS = st.lists(st.text(alphabet="ab \n", min_size=1, max_size=3), min_size=1, max_size=8)


def piece(n, text, turn_id="t1", seq=1):
    return Piece(session="s", seq=seq, turn_id=turn_id, n=n, text=text)


def test_pieces_are_shown_as_they_come_and_nothing_is_left_at_the_end():
    transcript = Transcript()
    shown = [transcript.add(piece(0, "Hel")), transcript.add(piece(1, "lo"))]

    assert shown == ["Hel", "lo"]
    assert transcript.finish("Hello") == ""


def test_a_reply_without_any_piece_is_shown_at_the_end():
    assert Transcript().finish("Hello") == "Hello"


def test_a_piece_that_comes_twice_is_shown_once():
    transcript = Transcript()

    assert [transcript.add(piece(0, "a")) for _ in range(2)] == ["a", ""]


def test_behind_a_lost_piece_nothing_is_shown_until_the_end():
    transcript = Transcript()
    shown = [transcript.add(piece(n, text)) for n, text in [(0, "a"), (2, "c"), (3, "d")]]

    assert shown == ["a", "", ""]
    assert transcript.finish("abcd") == "bcd"


def test_a_reply_that_differs_from_what_was_shown_is_shown_whole_under_a_mark():
    transcript = Transcript()
    transcript.add(piece(0, "Helo"))

    assert transcript.finish("Hello") == LOST_MARK + "Hello"


def test_a_turn_that_runs_already_is_caught_up_with():
    transcript = Transcript()
    shown = [transcript.begin("t1", 2, "ab"), transcript.add(piece(1, "b")), transcript.add(piece(2, "c"))]

    assert shown == ["ab", "", "c"]
    assert transcript.finish("abcd") == "d"


def test_the_next_turn_begins_anew():
    transcript = Transcript()
    transcript.add(piece(0, "one"))
    transcript.finish("one")

    assert transcript.add(piece(0, "two", turn_id="t2", seq=3)) == "two"
    assert transcript.finish("two!") == "!"


def test_the_next_turn_begins_anew_even_when_the_end_of_the_last_was_missed():
    transcript = Transcript()
    transcript.add(piece(0, "one"))

    assert transcript.add(piece(0, "two", turn_id="t2", seq=3)) == "two"
    assert transcript.finish("two") == ""


def test_a_turn_of_which_the_beginning_was_lost_is_shown_at_its_end():
    transcript = Transcript()
    transcript.add(piece(0, "one"))

    assert transcript.add(piece(1, "wo", turn_id="t2", seq=3)) == ""
    assert transcript.finish("two") == "two"


@given(TEXTS, st.lists(st.integers(0, 7), max_size=20), st.integers(0, 8))
def test_whatever_is_lost_or_repeated_or_late_the_screen_shows_the_reply_once(texts, arriving, begun):
    transcript = Transcript()
    begun = min(begun, len(texts))
    screen = transcript.begin("t1", begun, "".join(texts[:begun]))
    for n in arriving:
        if n < len(texts):
            screen += transcript.add(piece(n, texts[n]))
    screen += transcript.finish("".join(texts))

    assert screen == "".join(texts)


def test_a_turn_that_begins_again_in_the_middle_of_its_reply_says_so():
    transcript = Transcript()
    transcript.add(piece(0, "half"))
    shown = transcript.add(piece(0, "whole", turn_id="t2"))

    assert shown == AGAIN_MARK + "whole"
    assert transcript.finish("whole answer") == " answer"
