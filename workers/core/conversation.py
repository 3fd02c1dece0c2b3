"""A conversation as a model is shown it: exchanges in order, within the window. Pure.

The store keeps everything; this keeps what fits. A turn that failed or was cut short stays in the store and on the
screen, but a model is shown only prompts that got an answer, so its messages always alternate.
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


@dataclass(frozen=True, slots=True)
class Line:
    """One message as the model sees it."""

    role: Literal["user", "assistant"]
    text: str


class Conversation:
    """Prompts and their answers, oldest first.

    Args:
        limit_bytes: how much is kept for the model, whole exchanges only.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._exchanges: deque[tuple[str, str]] = deque()
        self._bytes = 0
        # The last prompt that is over: what comes after it is not here yet.
        self.through_seq = 0

    def restore(self, rows: list[HistoryRow]) -> None:
        """Begin with what the store knows; rows may come in any order."""
        prompts = {row.seq: row.text for row in rows if row.role == "user"}
        replies = {row.reply_to: row for row in rows if row.role == "assistant" and row.reply_to is not None}
        for seq in sorted(prompts):
            if seq in replies:
                self.add(seq, prompts[seq], replies[seq].text, is_whole=replies[seq].stop_reason == "completed")

    def resume(self, exchanges: list[tuple[str, str]], through_seq: int) -> None:
        """Begin where an earlier worker was."""
        self._exchanges = deque(exchanges)
        self._bytes = sum(len(text.encode()) for exchange in exchanges for text in exchange)
        self.through_seq = through_seq

    @property
    def exchanges(self) -> list[tuple[str, str]]:
        """Everything that is kept, oldest first."""
        return list(self._exchanges)

    def add(self, seq: int, prompt: str, reply: str, *, is_whole: bool = True) -> None:
        """Append the exchange that began with the prompt ``seq``; one without any answer is left out."""
        self.through_seq = max(self.through_seq, seq)
        if not reply:
            return
        answer = reply if is_whole else reply + CUT_SHORT
        self._exchanges.append((prompt, answer))
        self._bytes += len(prompt.encode()) + len(answer.encode())
        while self._bytes > self._limit_bytes and len(self._exchanges) > 1:
            gone = self._exchanges.popleft()
            self._bytes -= sum(len(text.encode()) for text in gone)

    def lines(self, context_tokens: int | None) -> list[Line]:
        """Return the newest whole exchanges that fit a window of so many tokens (None: the limit that is kept).

        Half of the window is left for the prompt and the reply. There are never more than ``MOST_EXCHANGES``.
        """
        room = self._limit_bytes if context_tokens is None else context_tokens * BYTES_PER_TOKEN // 2
        chosen: list[tuple[str, str]] = []
        for exchange in reversed(self._exchanges):
            room -= sum(len(text.encode()) for text in exchange)
            if room < 0 or len(chosen) == MOST_EXCHANGES:
                break
            chosen.append(exchange)
        return [line for prompt, reply in reversed(chosen) for line in (Line("user", prompt), Line("assistant", reply))]
