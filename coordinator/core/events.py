"""What the core is told, in the past tense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from coordinator.core.effects import Change
from protocol.messages import ClientSays, WorkerSays
from protocol.outbox import Record
from protocol.views import ExitCard, Memory, ParentView, TreeMemory, Usage

# ---- told by the store


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt that has no reply yet. ``turn_id`` names the turn that a worker had started for it.

    ``crashes`` counts the workers that died with it in hand before they sent a request; ``resumed`` is the epoch
    whose death interrupted its turn, which then began again; 0 when that has not happened.
    """

    seq: int
    text: str
    turn_id: str | None
    crashes: int = 0
    resumed: int = 0
    has_images: bool = False


@dataclass(frozen=True, slots=True)
class StoredAsk:
    """An ask of a turn that is not over. ``approved`` is None while nobody answered."""

    id: str
    call: str
    kind: str
    tool: str
    argv: list[str]
    text: str
    digest: str
    since: float
    approved: bool | None
    by: str


@dataclass(frozen=True, slots=True)
class StoredLeg:
    """Where a turn stopped to ask. ``has_begun``: a worker went on with it, and what it did then is not known."""

    seq: int
    turn_id: str
    leg: int
    said: str
    pieces: int
    asks: tuple[StoredAsk, ...]
    has_begun: bool
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as the store knows it. ``pid`` and ``start_ticks`` are its roster entry, if it had a worker."""

    id: str
    name: str
    number: int
    type: str
    model: str
    system: str | None
    cwd: str
    env: dict[str, str]
    epoch: int
    token_sha256: bytes
    closed: bool
    failed: bool
    unread: bool
    messages: int
    tokens: int
    created_at: float
    last_active_at: float
    exit_card: ExitCard | None
    unanswered: tuple[StoredPrompt, ...]
    pid: int | None
    start_ticks: int | None
    leg: StoredLeg | None = None
    pinned: bool = False
    archived: bool = False
    draft: str = ""
    parent: ParentView | None = None
    origin: str | None = None
    group: str | None = None
    template: str | None = None
    is_named: bool = True
    proposed_type: str | None = None
    temperature: float | None = None
    has_words_for_name: bool = False


@dataclass(frozen=True, slots=True)
class Booted:
    """The coordinator starts. ``alive`` names the sessions whose worker of the roster still runs.

    ``outboxes`` are those of dead workers, by session and epoch; ``tokens_spent`` is what all sessions ever cost.
    """

    boot: int
    node: str
    wall_s: float
    sessions: tuple[StoredSession, ...]
    active: dict[str, str]
    alive: frozenset[str]
    outboxes: Mapping[tuple[str, int], tuple[Record, ...]] = field(default_factory=dict)
    tokens_spent: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the store adds to a change at commit.

    ``conflict``: the key belongs to another text. ``seq`` is 0 for a retry that found nothing to run again; ``text`` is
    the prompt that a retry runs again. ``refusal``: why a fork or an import cannot be; ``messages`` how many a fork
    has, through ``parent_seq`` of its source. ``has_images``: the prompt that a retry runs again has some.
    """

    seq: int = 0
    is_new: bool = True
    conflict: bool = False
    answered_by: int | None = None
    text: str = ""
    epoch: int = 0
    token: bytes = field(default=b"", repr=False)
    token_sha256: bytes = b""
    refusal: str = ""
    messages: int = 0
    parent_seq: int = 0
    has_images: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """A change is durable."""

    change: Change
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """A change was not taken; nothing of it is in the store. ``is_final``: however often it is tried."""

    change: Change
    reason: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class StoreTurned:
    """The store stopped taking changes for a reason, or takes them again (None). It finds out by itself."""

    reason: str | None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class StoreEnded:
    """The store's thread died of a fault of ours."""

    reason: str


# ---- told by sockets


@dataclass(frozen=True, slots=True)
class ClientSpoke:
    """A client's message came in."""

    peer: bytes
    message: ClientSays


@dataclass(frozen=True, slots=True)
class WorkerSpoke:
    """A worker's message came in."""

    peer: bytes
    message: WorkerSays


# ---- told by processes


@dataclass(frozen=True, slots=True)
class WorkerSpawned:
    """A worker process exists. ``start_ticks`` guards against reused pids."""

    session: str
    epoch: int
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No worker process came to be. ``fatal``: trying again would not help."""

    session: str
    epoch: int
    reason: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker process is dead. ``kind`` is unknown for a process that this coordinator did not start.

    ``outbox`` is what it noted and nobody had committed yet, perhaps; None when it cannot be read now.
    """

    session: str
    epoch: int
    kind: Literal["exited", "signaled", "unknown"]
    signal: str | None
    exit_code: int | None
    stderr_tail: str
    outbox: tuple[Record, ...] | None = ()


@dataclass(frozen=True, slots=True)
class MemorySampled:
    """A worker's memory was read, and that of everything below it."""

    session: str
    epoch: int
    memory: Memory
    tree: TreeMemory = field(default_factory=TreeMemory)


@dataclass(frozen=True, slots=True)
class SystemSampled:
    """The machine's memory was read, and that of our processes which are no workers (``helpers_pss_bytes``: of all).

    ``machine_bytes`` is what may be used at all, ``available_bytes`` what can still be had without swapping;
    ``pressure_percent`` is the kernel's PSI, "some avg10", None where it has none.
    """

    machine_bytes: int
    available_bytes: int
    pressure_percent: float | None = None
    coordinator_rss_bytes: int = 0
    zygote_rss_bytes: int | None = None
    model_server_rss_bytes: int | None = None
    helpers_pss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ZygoteLost:
    """The process that workers were forked from is gone; what they shared with it may be one worker's alone now."""


# ---- told by the clock and by the system


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer's delay is over."""

    key: tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Ticked:
    """About a second passed. ``wall_s`` is in seconds since 1970."""

    wall_s: float


@dataclass(frozen=True, slots=True)
class DescriptorsCounted:
    """How many file descriptors this process has open, and how many it may have."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Scraped:
    """An operator's tool asks how much there is; ``n`` is the question."""

    n: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """SIGTERM or SIGINT came, or a client asked."""

    now: bool


Event = (
    Booted
    | Committed
    | CommitFailed
    | StoreTurned
    | StoreEnded
    | ClientSpoke
    | WorkerSpoke
    | WorkerSpawned
    | SpawnFailed
    | WorkerExited
    | MemorySampled
    | SystemSampled
    | ZygoteLost
    | TimerFired
    | Ticked
    | DescriptorsCounted
    | Scraped
    | StopAsked
)
