"""A worker's snapshot: what is in it, when it is refused, and how a worker that begins does without."""

import struct

import msgspec
import pytest

from protocol import messages as m
from protocol.codec import encode
from protocol.messages import Message
from protocol.views import HistoryRow
from workers.core.conversation import Conversation, Exchange
from workers.shell.restoring import Restoring
from workers.shell.snapshot import VERSION, Snapshot, SnapshotUnfit, pack, snapshot_of, unpack

SESSION = "00000000000000aa"
PAIRS = [("größer?", "ja 🙂"), ("two?", "two.")]
WHOLE = Snapshot(session=SESSION, through_seq=3, exchanges=PAIRS, seqs=[1, 3], is_cut=False)
EXCHANGES = [Exchange(1, *PAIRS[0]), Exchange(3, *PAIRS[1])]


class Stranger(Message, frozen=True):
    """A message that is no snapshot."""

    session: str


def row(seq: int, text: str, reply_to: int | None = None) -> HistoryRow:
    role, reason = ("user", None) if reply_to is None else ("assistant", "completed")
    return HistoryRow(seq=seq, role=role, text=text, turn_id="t", stop_reason=reason, at=0.0, reply_to=reply_to)


def restoring() -> tuple[Restoring, Conversation, list[m.Message]]:
    said: list[m.Message] = []
    conversation = Conversation(10_000)
    return Restoring(SESSION, 2, conversation, said.append), conversation, said


# ---- the document


def test_a_snapshot_comes_back_as_it_was():
    assert unpack(pack(WHOLE), SESSION) == WHOLE


def damaged() -> dict[str, bytes]:
    good = pack(WHOLE)
    newer = good[:4] + struct.pack("<H", VERSION + 1) + good[6:]
    other = pack(WHOLE)[:10] + encode(Stranger(session=SESSION))
    return {
        "cut short": good[:7],
        "no snapshot": b"\x80\x04" + good[2:],
        "version": newer,
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "checksum is wrong": other,
    }


@pytest.mark.parametrize(("why", "data"), damaged().items(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_damaged_newer_or_something_else_is_refused_with_the_reason(why, data):
    with pytest.raises(SnapshotUnfit, match=why):
        unpack(data, SESSION)


def test_the_snapshot_of_another_session_is_refused():
    with pytest.raises(SnapshotUnfit, match="another session"):
        unpack(pack(WHOLE), "00000000000000bb")


def test_exchanges_that_are_not_counted_are_refused():
    lame = Snapshot(session=SESSION, through_seq=3, exchanges=PAIRS, seqs=[1], is_cut=False)
    with pytest.raises(SnapshotUnfit, match="not counted"):
        unpack(pack(lame), SESSION)


def test_a_snapshot_knows_that_there_was_more():
    begin, conversation, _ = restoring()
    begin.on_restore(m.Restore(snapshot=pack(msgspec.structs.replace(WHOLE, is_cut=True)), rows=[], more=False))

    assert snapshot_of(SESSION, conversation) == msgspec.structs.replace(WHOLE, is_cut=True)


# ---- beginning with it


def test_a_worker_begins_with_the_snapshot_and_what_came_after_it():
    begin, conversation, said = restoring()
    begin.ask()
    begin.on_restore(m.Restore(snapshot=pack(WHOLE), rows=[row(5, "three?"), row(6, "three.", 5)], more=False))

    assert said[0] == m.RestoreWanted(session=SESSION, epoch=2, skip=0)
    assert said[-1] == m.Restored(session=SESSION, epoch=2, source="snapshot", exchanges=3)
    assert conversation.exchanges == [*EXCHANGES, Exchange(5, "three?", "three.")]
    assert conversation.through_seq == 5


def test_one_that_cannot_be_used_is_skipped_and_the_one_before_is_asked_for():
    begin, conversation, said = restoring()
    begin.on_restore(m.Restore(snapshot=b"garbage", rows=[], more=False))
    assert said[-1] == m.RestoreWanted(session=SESSION, epoch=2, skip=1)

    begin.on_restore(m.Restore(snapshot=pack(WHOLE), rows=[], more=False))
    assert begin.is_done
    assert conversation.exchanges == EXCHANGES


def test_when_both_cannot_be_used_history_is_asked_for_and_says_the_same():
    begin, conversation, said = restoring()
    begin.on_restore(m.Restore(snapshot=b"garbage", rows=[], more=False))
    begin.on_restore(m.Restore(snapshot=b"garbage", rows=[], more=False))
    assert said[-1] == m.FetchBack(session=SESSION, epoch=2, before_seq=None)

    begin.on_history(m.HistoryBack(rows=[row(3, "two?"), row(4, "two.", 3)], more=True))
    assert said[-1] == m.FetchBack(session=SESSION, epoch=2, before_seq=3)

    begin.on_history(m.HistoryBack(rows=[row(1, "größer?"), row(2, "ja 🙂", 1)], more=False))
    assert said[-1] == m.Restored(session=SESSION, epoch=2, source="history", exchanges=2)
    assert conversation.exchanges == EXCHANGES


def test_a_session_without_a_snapshot_begins_with_the_newest_page():
    begin, conversation, said = restoring()
    begin.on_restore(m.Restore(snapshot=None, rows=[row(1, "one?"), row(2, "one.", 1)], more=False))

    assert conversation.exchanges == [Exchange(1, "one?", "one.")]
    assert said[-1].source == "history"


def test_so_much_after_a_snapshot_that_it_does_not_fit_is_fetched_in_pages():
    begin, conversation, said = restoring()
    begin.on_restore(m.Restore(snapshot=pack(WHOLE), rows=[row(5, "three?")], more=True))

    assert said[-1] == m.FetchBack(session=SESSION, epoch=2, before_seq=None)
    assert conversation.exchanges == []


def test_an_answer_that_comes_twice_changes_nothing():
    begin, conversation, said = restoring()
    once = m.Restore(snapshot=pack(WHOLE), rows=[], more=False)
    begin.on_restore(once)
    begin.on_restore(once)
    begin.on_history(m.HistoryBack(rows=[row(1, "one?"), row(2, "one.", 1)], more=False))

    assert conversation.exchanges == EXCHANGES
    assert len([message for message in said if isinstance(message, m.Restored)]) == 1
