"""What a terminal keeps of a session: blocks in the order of turns, a growing reply, and where it may be cut."""

from hypothesis import given
from hypothesis import strategies as st

from client.core.input_history import KEPT, InputHistory
from client.core.markdown_cut import LONGEST_BLOCK, stable_end
from client.core.record import SHOWN_BYTES, Record
from client.core.suggesting import matches, suggestions
from protocol.messages import Piece
from protocol.views import ErrorView
from tests.support.scripted_connection import a_turn


def piece(n: int, text: str, seq: int = 1, turn_id: str = "t1") -> Piece:
    return Piece(session="s", seq=seq, turn_id=turn_id, n=n, text=text)


def shown(record: Record) -> list[str]:
    return [block.text for block in record.blocks]


@given(st.permutations([*a_turn(1, "p1", "r1"), *a_turn(3, "p2", "r2")]))
def test_messages_stand_in_the_order_of_turns_whatever_came_first_and_none_twice(rows):
    record = Record()
    for row in [*rows, *rows]:
        record.take(row)

    assert shown(record) == ["p1", "r1", "p2", "r2"]
    assert (record.seen, record.first) == (4, 1)


def test_a_reply_to_an_earlier_prompt_stands_before_the_next_prompt():
    first, second = a_turn(1, "p1", "r1", seq=3, reply_to=1), a_turn(2, "p2", "r2", seq=4, reply_to=2)
    record = Record()
    for row in (first[0], second[0], first[1], second[1]):
        record.take(row)

    assert shown(record) == ["p1", "r1", "p2", "r2"]


def test_the_committed_reply_takes_the_place_of_its_pieces():
    record = Record()
    record.take(a_turn(1, "p1", "")[0])
    assert record.add(piece(0, "half "))
    assert record.add(piece(1, "of it"))
    assert shown(record) == ["p1", "half of it"]

    record.take(a_turn(1, "p1", "the whole")[1])

    assert shown(record) == ["p1", "the whole"]
    assert record.settle() == 0
    assert record.add(piece(7, "too late"))
    record.begin("t1", 1, 2, "half of it")
    assert shown(record) == ["p1", "the whole"]


def test_a_piece_that_was_lost_is_noticed_and_one_that_comes_twice_is_not_shown_twice():
    record = Record()
    assert record.add(piece(0, "a"))
    assert record.add(piece(0, "a"))
    assert not record.add(piece(2, "c"))
    assert shown(record) == ["a"]

    record.begin("t1", 1, 3, "abc")

    assert record.add(piece(3, "d"))
    assert shown(record) == ["abcd"]

    record.begin("t1", 1, 9, "the end", dropped=77)

    assert "77 bytes of this reply were dropped" in shown(record)[0]
    assert shown(record)[0].endswith("the end")


def test_another_attempt_at_a_turn_begins_anew():
    record = Record()
    record.add(piece(0, "first"))
    record.add(piece(0, "second", turn_id="t2"))

    assert shown(record) == ["second"]


def test_a_prompt_is_shown_at_once_and_stands_where_it_was_committed():
    record = Record()
    for row in a_turn(1, "p1", "r1"):
        record.take(row)
    block = record.send("mine")
    record.note("beside")
    assert shown(record) == ["p1", "r1", "beside", "mine"]
    assert block.mark

    record.committed(block, 3)
    record.take(a_turn(3, "mine", "")[0])

    assert shown(record) == ["p1", "r1", "beside", "mine"]
    assert not record.blocks[-1].mark
    record.unsent(again := record.send("not taken"))
    assert again not in record.blocks


def test_a_turn_that_did_not_complete_has_its_mark_with_the_reason_and_the_hint():
    record = Record()
    error = ErrorView(code="x", message="It failed.", hint="Try again.")
    for row in a_turn(1, "p", "half", stop_reason="failed", error=error):
        record.take(row)

    assert record.blocks[-1].mark == "[failed] It failed. Try again."


def test_a_very_long_reply_is_shown_from_its_end_with_a_mark_also_while_it_grows():
    record, size = Record(), 2 * SHOWN_BYTES + 100
    for row in a_turn(1, "p", "x" * size):
        record.take(row)
    assert len(record.blocks[-1].text) < SHOWN_BYTES + 200
    assert f"{size - SHOWN_BYTES} characters" in record.blocks[-1].text

    growing = Record()
    for n in range(40):
        growing.add(piece(n, "y" * 64_000))
    assert len(growing.blocks[-1].text) < 3 * SHOWN_BYTES


def test_a_fence_a_list_and_a_paragraph_that_may_go_on_are_not_cut():
    done = "one\n\n"
    for tail in ("two", "```py\nx\n\ny\n\nz"):
        assert stable_end(done + tail) == len(done), tail
    for begun in ("- item\n\n  more", "1. a\n\n2. b", "> a\n\n> b", "- a\n\n      code"):
        assert stable_end(begun) == 0, begun
    fenced = "```\na\n\n```\n\nafter"
    assert stable_end(fenced) == fenced.index("after")
    assert stable_end("~~~\n```\n\nx") == 0


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "```", "~~~~", "- ", " ", "word"]), max_size=40))
def test_where_it_was_cut_once_it_is_cut_for_ever(pieces):
    text, end = "", 0
    for more in pieces:
        text += more
        after = stable_end(text, end)
        assert end <= after <= len(text)
        if after > end:
            assert text[after - 1] == "\n"
        end = after

    assert stable_end(text) == end or "`" in text or "~" in text


def test_a_block_without_an_end_is_cut_at_a_word():
    text = "word " * LONGEST_BLOCK

    end = stable_end(text)

    assert 0 < end <= LONGEST_BLOCK
    assert text[end - 1] == " "
    assert stable_end("x" * 3 * LONGEST_BLOCK) == LONGEST_BLOCK


def test_up_and_down_bring_back_what_was_sent_and_then_what_was_begun():
    sent = InputHistory()
    for line in ("one", "two", "two", " ", "three"):
        sent.add(line)

    assert [sent.older("begun"), sent.older("three"), sent.older("two"), sent.older("one")] == [
        "three", "two", "one", None,
    ]  # fmt: skip
    assert [sent.newer(), sent.newer(), sent.newer(), sent.newer()] == ["two", "three", "begun", None]
    sent.older("x")
    sent.leave()
    assert sent.older("y") == "three"
    for i in range(KEPT + 5):
        sent.add(str(i))
    walked = 0
    while sent.older("") is not None:
        walked += 1
    assert walked == KEPT


def lines(line: str, *names: str) -> list[str]:
    return [s.line for s in suggestions(line, names)]


def test_commands_names_and_words_are_completed_and_a_prompt_is_not():
    assert lines("/sw") == ["/switch "]
    assert "/session-name " in lines("/se")
    assert lines("/switch re", "research", "review", "code") == ["/switch research", "/switch review"]
    assert lines("/s my", "my notes") == ["/s my notes"]
    assert lines("/type d") == ["/type debug", "/type development"]
    assert lines("/sessions --w") == ["/sessions --waiting"]
    assert lines("@re", "research", "re view") == ["@research "]
    assert lines("@research hello", "research") == []
    assert lines("//sw") == lines("hello") == lines("") == lines("/sw\n") == lines("/quit x") == []
    assert lines("/switch research", "research") == []


def test_the_picker_finds_by_letters_in_order_the_closest_first():
    names = ["my-research", "research", "code", "rice-chart"]

    assert matches("", names) == names
    assert matches("rch", names) == ["research", "my-research", "rice-chart"] or matches("rch", names)[0] in names
    assert matches("RESEARCH", names) == ["research", "my-research"]
    assert matches("xyz", names) == []
    assert matches("cd", names) == ["code"]
