"""A conversation from a file as the store takes it: every prompt with its reply, and no hole in between. Pure.

What is whole already stays exactly as it is.
"""

from typing import get_args

import msgspec

from protocol.limits import REPLY_BYTES, cut
from protocol.views import HistoryRow, StopReason

LOST = "[this message could not be read]"
CUT_MARK = "\n\n[… cut when it was imported]"
STOPS = frozenset(get_args(StopReason))


def arranged(rows: list[HistoryRow]) -> tuple[list[HistoryRow], list[str]]:
    """Return the messages by seq, and in words what had to be changed.

    A prompt without a reply gets the mark of an interrupted turn behind everything else; when messages are missing all
    get new numbers, and what is missing a stand-in.
    """
    notes: list[str] = []
    known = [_fit(row) for row in rows if row.role in {"user", "assistant"}]
    if len(known) < len(rows):
        notes.append(f"{len(rows) - len(known)} messages were neither a prompt nor a reply")
    prompts = {row.seq: row for row in known if row.role == "user"}
    replies = {row.reply_to: row for row in known if row.role == "assistant" and row.reply_to is not None}
    is_whole = (
        sorted(row.seq for row in known) == list(range(1, len(known) + 1))
        and len(prompts) + len(replies) == len(known)
        and all(seq in prompts and seq < reply.seq for seq, reply in replies.items() if seq is not None)
    )
    if not is_whole:
        notes.append("messages were missing, and all have new numbers")
        return _anew(known), notes
    found = sorted(known, key=lambda row: row.seq)
    for seq in sorted(prompts.keys() - replies.keys()):
        notes.append(f"prompt {seq} had no reply")
        found.append(_mark(len(found) + 1, prompts[seq]))
    return found, notes


def _anew(known: list[HistoryRow]) -> list[HistoryRow]:
    turns: dict[int, dict[str, HistoryRow]] = {}
    for row in known:
        turns.setdefault(row.reply_to or row.seq, {}).setdefault(row.role, row)
    found: list[HistoryRow] = []
    for key in sorted(turns):
        seq, turn = len(found) + 1, turns[key]
        reply = turn.get("assistant")
        prompt = turn.get("user") or _prompt(reply.at if reply else 0.0)
        found.append(msgspec.structs.replace(prompt, seq=seq, reply_to=None))
        found.append(
            _mark(seq + 1, found[-1]) if reply is None else msgspec.structs.replace(reply, seq=seq + 1, reply_to=seq)
        )
    return found


def _fit(row: HistoryRow) -> HistoryRow:
    text = cut(row.text, REPLY_BYTES, CUT_MARK)
    if row.role == "user":
        return msgspec.structs.replace(row, text=text, reply_to=None)
    stop_reason = row.stop_reason if row.stop_reason in STOPS else "completed"
    return msgspec.structs.replace(row, text=text, stop_reason=stop_reason)


def _prompt(at: float) -> HistoryRow:
    return HistoryRow(seq=0, role="user", text=LOST, turn_id=None, stop_reason=None, at=at)


def _mark(seq: int, prompt: HistoryRow) -> HistoryRow:
    return HistoryRow(
        seq=seq,
        role="assistant",
        text="",
        turn_id=prompt.turn_id,
        stop_reason="interrupted",
        at=prompt.at,
        reply_to=prompt.seq,
    )
