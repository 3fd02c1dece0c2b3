"""What the library shows. Times are seconds since 1970; None means unknown or not there."""

from dataclasses import dataclass
from typing import Literal

Until = Literal["idle", "waiting", "done"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What waits for a person; ``text`` shows it whole, ``session`` is the session's id.

    ``kind`` is approval (a call of a tool needs a yes) or question.
    """

    id: str
    kind: str
    session: str
    name: str
    tool: str
    argv: tuple[str, ...]
    text: str
    since: float


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as it was when it was asked for.

    ``residency`` is where its worker is (live, hibernated, queued, …), ``work`` what it does (idle, running,
    requires_action, …), ``display`` both in the one word that lists show. ``unread``: it has an answer that nobody saw.
    ``unanswered`` counts prompts that have no reply yet.
    """

    id: str
    name: str
    type: str
    model: str
    cwd: str
    group: str | None
    residency: str
    work: str
    display: str
    unread: bool
    pinned: bool
    archived: bool
    messages: int
    tokens: int
    unanswered: int
    pid: int | None
    ask: Ask | None
    created_at: float
    last_active_at: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation. ``role`` is user or assistant; ``reply_to`` is the prompt's seq in a reply."""

    seq: int
    role: str
    text: str
    reply_to: int | None
    stop_reason: str | None
    error: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model's server counted them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A turn that is over, as it is stored.

    ``stop_reason`` is completed, cancelled, failed, interrupted or poisoned; a turn that did not complete keeps what it
    had said, and ``error_code`` and ``error`` say why it failed. ``usage`` is None when another coordinator counted it.
    """

    session: str
    seq: int
    text: str
    stop_reason: str
    error_code: str | None
    error: str | None
    usage: Usage | None
    first_piece_ms: int | None
    duration_ms: int

    @property
    def is_completed(self) -> bool:
        """Say whether the model said all that it wanted."""
        return self.stop_reason == "completed"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a reply, provisional: the Reply at the end is the truth."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a tool of the turn does: ``state`` is running, done, failed or denied."""

    call: str
    tool: str
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An ask of the turn waits no more: ``outcome`` is approved, answered, denied or cancelled, ``by`` says by whom."""

    ask: str
    outcome: str
    by: str


@dataclass(frozen=True, slots=True)
class Change:
    """A session changed its state; the words are those of ``display``, ``before`` is None for a new one.

    ``seq`` counts within one start of the coordinator; 0: it changed while none was heard.
    """

    seq: int
    at: float
    session: str
    name: str
    before: str | None
    after: str
    cause: str


Event = Text | ToolUse | Ask | Answered | Reply
