"""A conversation as a model is shown it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from protocol.views import HistoryRow
from workers.core import conversation as conversation_module
from workers.core.conversation import BYTES_PER_TOKEN, CUT_SHORT, Conversation, Line, fits_after

EXCHANGES = st.lists(st.tuples(st.text("aé🙂", max_size=20), st.text("bß", min_size=1, max_size=20)), max_size=12)


def prompt(seq, text):
    return HistoryRow(seq=seq, role="user", text=text, turn_id=None, stop_reason=None, at=0.0)


def reply(seq, text, to, stop_reason="completed"):
    return HistoryRow(seq=seq, role="assistant", text=text, turn_id="t", stop_reason=stop_reason, at=0.0, reply_to=to)


def lines_of(conversation, context_tokens):
    """What is shown before the next prompt, without the mark."""
    shown = conversation.shown(99, context_tokens)
    if not shown.mark or not shown.lines:
        return shown.lines
    first = shown.lines[0].text.removeprefix(f"{shown.mark}\n\n")
    assert first != shown.lines[0].text
    return [Line("user", first), *shown.lines[1:]]


def texts(conversation, context_tokens=None):
    return [line.text for line in lines_of(conversation, context_tokens)]


def size(lines):
    return sum(len(line.text.encode()) for line in lines)


# ---- what a model is shown


def test_a_new_conversation_is_empty():
    assert lines_of(Conversation(1000), None) == []


def test_prompts_and_answers_alternate_in_their_order():
    conversation = Conversation(1000)
    conversation.add(1, "one?", "one.")
    conversation.add(1, "two?", "two.")

    assert lines_of(conversation, None) == [
        Line("user", "one?"),
        Line("assistant", "one."),
        Line("user", "two?"),
        Line("assistant", "two."),
    ]


def test_an_exchange_without_any_answer_is_left_out():
    conversation = Conversation(1000)
    conversation.add(1, "one?", "", is_whole=False)

    assert lines_of(conversation, None) == []


def test_an_answer_that_was_cut_short_says_so():
    conversation = Conversation(1000)
    conversation.add(1, "one?", "on", is_whole=False)

    assert texts(conversation) == ["one?", "on" + CUT_SHORT]


# ---- restoring


def test_a_conversation_is_restored_from_rows_in_any_order():
    rows = [prompt(1, "one?"), reply(2, "one.", 1), prompt(3, "two?"), reply(4, "two.", 3), prompt(5, "3?")]
    rows.append(reply(6, "3.", 5))
    random.Random(1).shuffle(rows)
    conversation = Conversation(1000)
    conversation.restore(rows)

    assert texts(conversation) == ["one?", "one.", "two?", "two.", "3?", "3."]


def test_replies_belong_to_their_prompts_and_not_to_their_neighbours():
    conversation = Conversation(1000)
    conversation.restore([prompt(1, "one?"), prompt(2, "two?"), reply(3, "one.", 1), reply(4, "two.", 2)])

    assert texts(conversation) == ["one?", "one.", "two?", "two."]


def test_prompts_without_replies_and_replies_without_prompts_are_not_restored():
    conversation = Conversation(1000)
    conversation.restore([prompt(1, "one?"), reply(4, "lost", 3), reply(5, "stray", None), prompt(6, "six?")])

    assert texts(conversation) == []


def test_a_turn_that_failed_without_a_word_is_not_restored():
    conversation = Conversation(1000)
    conversation.restore([prompt(1, "one?"), reply(2, "", 1, "failed"), prompt(3, "two?"), reply(4, "two.", 3)])

    assert texts(conversation) == ["two?", "two."]


def test_a_turn_that_was_interrupted_is_restored_as_cut_short():
    conversation = Conversation(1000)
    conversation.restore([prompt(1, "one?"), reply(2, "on", 1, "interrupted")])

    assert texts(conversation) == ["one?", "on" + CUT_SHORT]


@given(EXCHANGES)
def test_waking_restores_what_was_there(exchanges):
    lived, woken = Conversation(200), Conversation(200)
    rows = []
    for i, (asked, answered) in enumerate(exchanges):
        lived.add(2 * i + 1, asked, answered)
        rows += [prompt(2 * i + 1, asked), reply(2 * i + 2, answered, 2 * i + 1)]
    woken.restore(rows)

    assert lines_of(woken, None) == lines_of(lived, None)


@given(EXCHANGES, st.integers(0, 12))
def test_a_snapshot_with_what_came_after_it_is_what_was_there(exchanges, at):
    lived, woken = Conversation(200), Conversation(200)
    rows = []
    kept = ([], 0, False)
    for i, (asked, answered) in enumerate(exchanges):
        if i == at:
            kept = (lived.exchanges, lived.through_seq, lived.is_cut)
            rows = []
        lived.add(2 * i + 1, asked, answered)
        rows += [prompt(2 * i + 1, asked), reply(2 * i + 2, answered, 2 * i + 1)]
    woken.resume(*kept[:2], is_cut=kept[2])
    woken.restore([row for row in rows if row.seq > kept[1]])

    assert woken.shown(99, None) == lived.shown(99, None)
    assert woken.through_seq == lived.through_seq


def test_a_turn_without_a_word_is_over_too():
    conversation = Conversation(1000)
    conversation.add(7, "one?", "", is_whole=False)

    assert conversation.through_seq == 7


# ---- what fits


def test_the_oldest_exchange_goes_when_the_limit_is_passed():
    conversation = Conversation(16)
    for n in "abc":
        conversation.add(1, f"{n}{n}{n}?", f"{n}{n}{n}.")

    assert texts(conversation) == ["bbb?", "bbb.", "ccc?", "ccc."]


def test_bytes_are_counted_and_not_characters():
    conversation = Conversation(16)
    conversation.add(1, "éééé", "aaaa")
    conversation.add(1, "bb", "cccc")

    assert texts(conversation) == ["bb", "cccc"]


def test_half_of_the_window_is_left_for_the_prompt_and_the_reply():
    conversation = Conversation(10_000)
    for n in "abc":
        conversation.add(1, n * 50, n * 50)
    window = 200 * 2 // BYTES_PER_TOKEN

    assert texts(conversation, window) == ["b" * 50, "b" * 50, "c" * 50, "c" * 50]
    assert texts(conversation, window - 1) == ["c" * 50, "c" * 50]


def test_of_very_many_short_exchanges_the_newest_are_shown(monkeypatch):
    monkeypatch.setattr(conversation_module, "MOST_EXCHANGES", 3)
    conversation = Conversation(10_000)
    for n in "abcde":
        conversation.add(1, n, n)

    assert texts(conversation, None) == texts(conversation, 1_000) == list("ccddee")


def test_an_old_exchange_that_would_fit_does_not_jump_over_a_newer_one_that_does_not():
    conversation = Conversation(10_000)
    conversation.add(1, "a", "a")
    conversation.add(1, "b" * 500, "b" * 500)
    conversation.add(1, "c", "c")

    assert texts(conversation, 100) == ["c", "c"]


def test_choosing_for_a_small_window_forgets_nothing():
    conversation = Conversation(10_000)
    conversation.add(1, "one?", "one.")
    lines_of(conversation, 0)

    assert texts(conversation) == ["one?", "one."]


@given(EXCHANGES, st.integers(0, 300), st.none() | st.integers(0, 100))
def test_what_is_shown_fits_and_is_the_newest_without_a_gap(exchanges, limit_bytes, context_tokens):
    conversation = Conversation(limit_bytes)
    for asked, answered in exchanges:
        conversation.add(1, asked, answered)
    lines = lines_of(conversation, context_tokens)
    room = limit_bytes if context_tokens is None else context_tokens * BYTES_PER_TOKEN // 2

    everything = [text for exchange in exchanges for text in exchange]
    assert size(lines) <= room
    assert len(lines) % 2 == 0
    assert [line.text for line in lines] == everything[len(everything) - len(lines) :]


@given(EXCHANGES, st.integers(0, 300))
def test_no_more_is_kept_than_the_limit_but_always_the_newest_exchange(exchanges, limit_bytes):
    conversation = Conversation(limit_bytes)
    for asked, answered in exchanges:
        conversation.add(1, asked, answered)
    kept = lines_of(conversation, 1_000_000)

    assert size(kept) <= limit_bytes or len(kept) == 2
    assert bool(kept) == bool(exchanges)


# ---- what does not fit is said


def test_the_model_is_told_how_many_messages_it_does_not_see():
    conversation = Conversation(10_000)
    for seq in (1, 3, 5):
        conversation.add(seq, f"{seq}" * 50, f"{seq}" * 50)
    whole = conversation.shown(7, 300 * 2 // BYTES_PER_TOKEN)
    half = conversation.shown(7, 200 * 2 // BYTES_PER_TOKEN)

    assert (whole.left_out, whole.mark, whole.size) == (0, "", 300)
    assert (half.left_out, half.size) == (2, 200)
    assert half.lines[0].text == f"[earlier messages left out: 2]\n\n{'3' * 50}"


def test_of_a_window_without_room_for_anything_all_before_the_prompt_is_left_out():
    conversation = Conversation(10_000)
    conversation.add(1, "one?", "one.")
    shown = conversation.shown(3, 0)

    assert (shown.lines, shown.left_out) == ([], 2)
    assert shown.mark == "[earlier messages left out: 2]"


def test_what_a_worker_never_had_counts_as_left_out():
    conversation = Conversation(16)
    conversation.restore([prompt(7, "7777"), reply(8, "8888", 7)], is_cut=True)

    assert conversation.shown(9, None).left_out == 6
    assert conversation.is_cut


def test_what_was_dropped_counts_as_left_out():
    conversation = Conversation(16)
    for seq in (1, 3, 5):
        conversation.add(seq, "aaaa", "bbbb")

    assert conversation.shown(7, None).left_out == 2


def test_turns_without_an_answer_are_not_called_left_out():
    conversation = Conversation(1_000)
    conversation.restore([prompt(1, "one?"), reply(2, "", 1, "failed"), prompt(3, "two?"), reply(4, "two.", 3)])

    assert conversation.shown(5, None).left_out == 0


def test_a_model_that_refused_is_shown_less_than_its_window():
    conversation = Conversation(10_000)
    for seq in (1, 3):
        conversation.add(seq, "a" * 50, "b" * 50)

    assert len(conversation.shown(5, 1_000, 150).lines) == 2
    assert len(conversation.shown(5, 1_000, 99).lines) == 0


def test_room_is_made_by_the_counts_or_by_half():
    assert fits_after(None, 1_000, 7) == 507
    assert fits_after((5, 10), 1_000, 7) == 507
    assert fits_after((10, 0), 1_000, 7) == 507
    assert fits_after((2_000, 1_000), 8_000, 0) == 3_600
    assert fits_after((2_000, 1_000), 8_000, 1_000) == 4_050
