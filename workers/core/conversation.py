"""A conversation as a model is shown it: exchanges in order, within the window. Pure.

The store keeps everything; this keeps what fits, and says how much does not. A turn that failed or was cut short stays
in the store and on the screen, but a model is shown only prompts that got an answer, so its messages always alternate.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from protocol.views import HistoryRow

# A rough measure that needs no tokenizer: English text has about four bytes a token.
BYTES_PER_TOKEN = 4
# The model library takes about 0.2 ms for each message, and for so long the worker's main loop is not heard. Without a
# bound a conversation of very many short messages could not go on: its worker would be ended in every turn.
MOST_EXCHANGES = 2_000
# Told to the model as an answer that was cut short, so that the next turn knows.
CUT_SHORT = " […]"
# Told to the model before the first message that it sees, when that is not the first of the conversation.
LEFT_OUT = "[earlier messages left out: {count}]"


@dataclass(frozen=True, slots=True)
class Line:
    """One message as the model sees it."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its answer; ``seq`` is the prompt's."""

    seq: int
    prompt: str
    answer: str

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return len(self.prompt.encode()) + len(self.answer.encode())


@dataclass(frozen=True, slots=True)
class Shown:
    """What a model is shown before the prompt. The first ``left_out`` messages of the conversation are not in it."""

    lines: list[Line]
    left_out: int
    size: int

    @property
    def mark(self) -> str:
        """Return what tells the model that there was more; empty when there was not."""
        return LEFT_OUT.format(count=self.left_out) if self.left_out else ""


class Conversation:
    """Prompts and their answers, oldest first.

    Args:
        limit_bytes: how much is kept for the model, whole exchanges only.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._exchanges: deque[Exchange] = deque()
        self._bytes = 0
        # Something that was answered is in the store and not here.
        self._is_cut = False
        # The last prompt that is over: what comes after it is not here yet.
        self.through_seq = 0

    def restore(self, rows: list[HistoryRow], *, is_cut: bool = False) -> None:
        """Begin with what the store knows; rows may come in any order.

        Args:
            rows: prompts and answers.
            is_cut: there are older ones, too many to be shown to any model.
        """
        self._is_cut = self._is_cut or is_cut
        prompts = {row.seq: row.text for row in rows if row.role == "user"}
        replies = {row.reply_to: row for row in rows if row.role == "assistant" and row.reply_to is not None}
        for seq in sorted(prompts):
            if seq in replies:
                self.add(seq, prompts[seq], replies[seq].text, is_whole=replies[seq].stop_reason == "completed")

    def resume(self, exchanges: list[Exchange], through_seq: int, *, is_cut: bool) -> None:
        """Begin where an earlier worker was."""
        self._exchanges = deque(exchanges)
        self._bytes = sum(exchange.size for exchange in exchanges)
        self._is_cut = is_cut
        self.through_seq = through_seq

    @property
    def exchanges(self) -> list[Exchange]:
        """Everything that is kept, oldest first."""
        return list(self._exchanges)

    @property
    def is_cut(self) -> bool:
        """Say whether something that was answered is not kept."""
        return self._is_cut

    def add(self, seq: int, prompt: str, reply: str, *, is_whole: bool = True) -> None:
        """Append the exchange that began with the prompt ``seq``; one without any answer is left out."""
        self.through_seq = max(self.through_seq, seq)
        if not reply:
            return
        exchange = Exchange(seq, prompt, reply if is_whole else reply + CUT_SHORT)
        self._exchanges.append(exchange)
        self._bytes += exchange.size
        while self._bytes > self._limit_bytes and len(self._exchanges) > 1:
            self._bytes -= self._exchanges.popleft().size
            self._is_cut = True

    def shown(self, seq: int, context_tokens: int | None, room_bytes: int | None = None) -> Shown:
        """Return the newest whole exchanges that fit a window of so many tokens (None: the limit that is kept).

        Half of the window is left for the prompt and the reply. There are never more than ``MOST_EXCHANGES``.

        Args:
            seq: the prompt that they come before.
            context_tokens: the window.
            room_bytes: less than that, because the model has refused more.
        """
        room = self._limit_bytes if context_tokens is None else context_tokens * BYTES_PER_TOKEN // 2
        room = room if room_bytes is None else min(room, room_bytes)
        chosen: deque[Exchange] = deque()
        size = 0
        for exchange in reversed(self._exchanges):
            if size + exchange.size > room or len(chosen) == MOST_EXCHANGES:
                break
            size += exchange.size
            chosen.appendleft(exchange)
        lines = [line for e in chosen for line in (Line("user", e.prompt), Line("assistant", e.answer))]
        is_less = self._is_cut or len(chosen) < len(self._exchanges)
        shown = Shown(lines, (chosen[0].seq if chosen else seq) - 1 if is_less else 0, size)
        if shown.mark and lines:
            lines[0] = Line("user", f"{shown.mark}\n\n{lines[0].text}")
        return shown


def fits_after(counts: tuple[int, int] | None, sent_bytes: int, prompt_bytes: int) -> int:
    """Return how many bytes, the prompt's included, may fit into a model that has refused so many.

    Args:
        counts: how many tokens were sent and how many may be; None: nobody knows, so half of what came before is tried.
        sent_bytes: how much was sent before the prompt.
        prompt_bytes: what must be sent in any case.
    """
    if counts is None or not 0 < counts[1] < counts[0]:
        return sent_bytes // 2 + prompt_bytes
    asked, limit = counts
    # A tenth for the reply, and because tokens are not spread evenly.
    return (sent_bytes + prompt_bytes) * limit * 9 // (asked * 10)
