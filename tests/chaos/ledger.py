"""What was promised, noted from outside the product, and the comparison with what the product says that it has.

Promises come from three places: the ACK that a client held, the whole REPLY record that lay in an outbox file (read
here with a reader of its own), and the FINAL that a client was pushed. Requests are counted by the model's server.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from protocol.views import HistoryRow

REASONS = {"failed", "interrupted", "cancelled", "poisoned"}
_HEAD = struct.Struct("<II")


@dataclass(frozen=True)
class Promise:
    """An acknowledged prompt."""

    client: int
    session: str
    seq: int
    text: str


@dataclass
class Ledger:
    """Everything that was promised in a run."""

    prompts: list[Promise] = field(default_factory=list)
    finished: dict[tuple[str, int], str] = field(default_factory=dict)  # (session, seq): the text of a whole reply
    finals: dict[tuple[str, int], str] = field(default_factory=dict)  # (session, seq): the stop reason pushed
    damage: list[str] = field(default_factory=list)

    def note_outboxes(self, folder: Path) -> None:
        """Note each whole and completed reply that lies in an outbox now."""
        for path in folder.glob("*.outbox") if folder.is_dir() else ():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # it was taken in meanwhile
            for record in whole_records(data):
                if record["kind"] == "REPLY" and record["stop_reason"] == "completed":
                    self.finished[record["session"], record["seq"]] = record["text"]

    def of(self, session: str) -> list[Promise]:
        return [p for p in self.prompts if p.session == session]


def whole_records(data: bytes) -> Iterable[dict]:
    """Yield what an outbox holds, up to the first record that is not whole."""
    at = 0
    while at + _HEAD.size <= len(data):
        size, crc = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + size]
        if len(payload) != size or zlib.crc32(payload) != crc:
            return
        yield msgpack.unpackb(payload)
        at += _HEAD.size + size


def expected_reply(prompt: str) -> str:
    """Return what the scripted model says to a prompt of this run: ``count N TAG`` or ``raw TEXT``."""
    word, _, rest = prompt.partition(" ")
    if word == "raw":
        return rest
    number, _, tag = rest.partition(" ")
    return "".join(f"{tag}{i};" for i in range(int(number)))


def unanswered(rows: Iterable[HistoryRow]) -> list[int]:
    """Return the seqs of prompts without an answer or a mark."""
    rows = list(rows)
    answered = {row.reply_to for row in rows if row.role == "assistant"}
    return [row.seq for row in rows if row.role == "user" and row.seq not in answered]


def compare(ledger: Ledger, session: str, rows: list[HistoryRow], calls: Counter[str]) -> list[str]:
    """Return a sentence for each promise to one session that its history does not keep."""
    prompts = {row.seq: row for row in rows if row.role == "user"}
    replies = [row for row in rows if row.role == "assistant"]
    texts = Counter(row.text for row in prompts.values())
    found: list[str] = []
    last: dict[int, int] = {}
    for promise in ledger.of(session):
        where = f"session {session}, prompt {promise.seq} {promise.text!r}"
        row = prompts.get(promise.seq)
        if row is None or row.text != promise.text:
            found.append(f"lost: {where} was acknowledged and is not there")
        if promise.seq <= last.get(promise.client, 0):
            found.append(f"order: {where} came after one that was acknowledged later")
        last[promise.client] = promise.seq
    found += [f"twice: session {session} has {n} prompts {text!r}" for text, n in texts.items() if n > 1]
    for seq in unanswered(rows):
        found.append(f"unanswered: session {session}, prompt {seq} {prompts[seq].text!r}")
    found += _compare_replies(ledger, session, prompts, replies, calls)
    return found


def _compare_replies(
    ledger: Ledger, session: str, prompts: dict[int, HistoryRow], replies: list[HistoryRow], calls: Counter[str]
) -> list[str]:
    found: list[str] = []
    by_prompt: dict[int, HistoryRow] = {}
    for row in sorted(replies, key=lambda r: r.seq):
        where = f"session {session}, reply {row.seq} to {row.reply_to}"
        if row.reply_to is None or row.reply_to not in prompts:
            found.append(f"astray: {where} answers no prompt")
            continue
        if row.reply_to in by_prompt:
            found.append(f"twice: {where} is the second one")
        if by_prompt and row.reply_to < max(by_prompt):
            found.append(f"order: {where} came after the reply to a later prompt")
        by_prompt[row.reply_to] = row
        expected = expected_reply(prompts[row.reply_to].text)
        if row.stop_reason == "completed" and row.text != expected:
            found.append(f"damaged: {where} says {row.text!r}, the model said {expected!r}")
        if row.stop_reason != "completed" and row.stop_reason not in REASONS:
            found.append(f"unmarked: {where} ended {row.stop_reason!r}")
    for (owner, seq), text in ledger.finished.items():
        kept = by_prompt.get(seq)
        if owner == session and (kept is None or kept.text != text or kept.stop_reason != "completed"):
            found.append(f"reply lost: session {session}, the finished reply to {seq} is not there")
    for (owner, seq), reason in ledger.finals.items():
        kept = by_prompt.get(seq)
        if owner == session and (kept is None or kept.stop_reason != reason):
            found.append(f"reply lost: session {session}, the reply to {seq} was told as {reason} and is not there")
    for row in prompts.values():
        if calls[row.text] > 1:
            found.append(f"bought twice: session {session}, {calls[row.text]} requests for {row.text!r}")
        reply = by_prompt.get(row.seq)
        if reply is not None and reply.stop_reason == "completed" and calls[row.text] == 0:
            found.append(f"invented: session {session}, a reply to {row.text!r} without a request")
    return found
