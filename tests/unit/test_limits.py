"""Cutting a text to a number of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import CUT_MARK, REPLY_BYTES, cut

TEXTS = st.text(alphabet="aé€🙂", max_size=40)


@given(TEXTS, st.integers(0, 20))
def test_a_text_that_fits_is_left_alone(text, spare):
    assert cut(text, len(text.encode()) + spare, "…") == text


@given(TEXTS.filter(lambda text: len(text) > 5), st.data())
def test_a_cut_text_is_its_own_beginning_with_the_mark(text, data):
    mark = data.draw(st.sampled_from(["", "…", "[cut]"]))
    limit = data.draw(st.integers(len(mark.encode()), len(text.encode()) - 1))
    result = cut(text, limit, mark)

    assert len(result.encode()) <= limit
    assert result.endswith(mark)
    assert text.startswith(result.removesuffix(mark))


@given(TEXTS.filter(bool), st.data())
def test_no_more_than_a_broken_character_is_lost(text, data):
    limit = data.draw(st.integers(0, len(text.encode()) - 1))

    assert limit - len(cut(text, limit).encode()) <= 3


@pytest.mark.parametrize(("limit", "result"), [(0, ""), (1, ""), (2, "é"), (3, "é"), (4, "éé")])
def test_a_character_is_never_split(limit, result):
    assert cut("ééé", limit) == result


def test_the_mark_of_a_long_reply_says_the_limit_and_counts_against_it():
    mark = CUT_MARK.format(limit=REPLY_BYTES)
    result = cut("x" * (REPLY_BYTES + 1), REPLY_BYTES, mark)

    assert len(result.encode()) == REPLY_BYTES
    assert result.endswith(f"longer than {REPLY_BYTES} bytes]")
