"""What all foreign formats become: prompts and replies in turn, with what tools did as text in the reply."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from protocol.limits import REPLY_BYTES, cut
from protocol.views import HistoryRow

# Of a tool's arguments, and of what it answered, in characters.
TOOL_CHARS = 4_000
TITLE_CHARS = 40
NO_PROMPT = "[the conversation began without a prompt]"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. ``malformed`` counts lines or messages that could not be read.

    Times are seconds since 1970; ``key`` is what the other program calls it.
    """

    key: str
    title: str
    cwd: str | None
    created_at: float
    last_active_at: float
    rows: list[HistoryRow] = field(repr=False)
    malformed: int = 0


class Turns:
    """Gathers what was said; what one side says in several pieces becomes one message."""

    def __init__(self) -> None:
        self._turns: list[tuple[list[str], list[str]]] = []
        self._times: list[list[float]] = []
        self.first_at = self.last_at = 0.0

    def ask(self, text: str, at: float) -> None:
        """A person said this."""
        if not text.strip():
            return
        if not self._turns or self._turns[-1][1]:
            self._turns.append(([], []))
            self._times.append([self._note(at), at])
        self._turns[-1][0].append(text)

    def reply(self, text: str, at: float) -> None:
        """The model said this, or one of its tools did something."""
        if not text.strip():
            return
        if not self._turns:
            self.ask(NO_PROMPT, at)
        self._turns[-1][1].append(text)
        self._times[-1][1] = self._note(at) or self._times[-1][0]

    def tool(self, name: str, arguments: object, at: float) -> None:
        """The model used a tool."""
        said = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        self.reply(f"[tool {_short(name, TITLE_CHARS)}: {_short(said, TOOL_CHARS)}]", at)

    def result(self, text: str, at: float) -> None:
        """A tool answered."""
        self.reply(f"[tool result: {_short(text, TOOL_CHARS)}]", at)

    def rows(self) -> list[HistoryRow]:
        """Return the messages; a prompt that was never answered has a turn that was interrupted."""
        rows = []
        for k, (turn, times) in enumerate(zip(self._turns, self._times, strict=True)):
            prompt, reply = ("\n\n".join(parts) for parts in turn)
            seq = 2 * k + 1
            rows.append(message(seq, "user", prompt, times[0]))
            stop_reason = "completed" if reply else "interrupted"
            rows.append(message(seq + 1, "assistant", reply, times[1], reply_to=seq, stop_reason=stop_reason))
        return rows

    def title(self) -> str:
        """Return the beginning of the first prompt."""
        return self._turns[0][0][0] if self._turns else ""

    def _note(self, at: float) -> float:
        if at:
            self.first_at = min(self.first_at or at, at)
            self.last_at = max(self.last_at, at)
        return at


def message(
    seq: int, role: str, text: str, at: float, *, reply_to: int | None = None, stop_reason: str | None = None
) -> HistoryRow:
    """Return a message as the store keeps it."""
    return HistoryRow(
        seq=seq,
        role=role,
        text=cut(text, REPLY_BYTES, CUT_MARK),
        turn_id=None,
        stop_reason=stop_reason,
        at=at,
        reply_to=reply_to,
    )


CUT_MARK = "\n\n[… cut when it was imported]"


def records(lines: Iterable[bytes | None]) -> Iterable[dict[str, Any] | None]:
    """Yield what each line says; None for one that is no JSON object, or was too long to be read."""
    for line in lines:
        if line is not None and not line.strip():
            continue
        yield None if line is None else record(line)


def record(raw: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None when it is none."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def part(value: object, *keys: str) -> dict[str, Any]:
    """Return an object within an object, an empty one when there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def word(value: object) -> str:
    """Return a text, an empty one when it is none."""
    return value if isinstance(value, str) else ""


def listed(value: object) -> list[Any]:
    """Return a list, an empty one when it is none."""
    return value if isinstance(value, list) else []


def slug(title: str) -> str:
    """Return a name for a session: words of a title in small letters, joined by dashes; empty when there are none."""
    letters = "".join(c if c.isalnum() else "-" for c in title[:400].lower())
    words = [w for w in letters.split("-") if w]
    name = ""
    for w in words:
        longer = f"{name}-{w}" if name else w[:TITLE_CHARS]
        if len(longer) > TITLE_CHARS:
            break
        name = longer
    return name


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
