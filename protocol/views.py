"""What clients are shown: the documents behind ``--json``. Every key is always there, None when unknown."""

from typing import Literal

import msgspec

SessionType = Literal["debug", "planning", "development", "review"]
SESSION_TYPES: tuple[str, ...] = ("debug", "planning", "development", "review")
# What a person is asked for: a yes, or words.
AskKind = Literal["approval", "question"]
StopReason = Literal["completed", "cancelled", "failed", "interrupted", "poisoned"]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The root of everything that is shown."""


class Usage(View, frozen=True):
    """Tokens that a turn cost, as the model's server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


class ErrorView(View, frozen=True):
    """Why a turn failed: a stable code, a sentence, a hint."""

    code: str
    message: str
    hint: str = ""


class ExitCard(View, frozen=True):
    """How a worker's process ended.

    ``signal`` is a name such as ``SIGSEGV``; ``at`` is in seconds since 1970; ``restarts`` counts those within the
    restart window; ``seq_in_flight`` is the prompt that was being answered, if any.
    """

    reason: str
    signal: str | None = None
    exit_code: int | None = None
    oom_suspected: bool = False
    at: float = 0.0
    seq_in_flight: int | None = None
    stderr_tail: str = ""
    restarts: int = 0


class Memory(View, frozen=True):
    """A process's memory in bytes; None until it was sampled."""

    uss_bytes: int | None = None
    rss_bytes: int | None = None


class ChildMemory(View, frozen=True):
    """A process below a worker, and its memory in bytes; ``pss_bytes`` shares out what several processes use."""

    pid: int
    name: str
    pss_bytes: int


class TreeMemory(View, frozen=True):
    """What else was read of a worker: itself (``pss_bytes``, ``swap_bytes``) and the tree that it is the root of."""

    pss_bytes: int = 0
    swap_bytes: int = 0
    tree_uss_bytes: int = 0
    tree_pss_bytes: int = 0
    children: tuple[ChildMemory, ...] = ()

    @property
    def tools_bytes(self) -> int:
        """Memory of everything below the worker. PSS: pages that tools share among each other count once."""
        return self.tree_pss_bytes - self.pss_bytes


class MemoryPoint(View, frozen=True):
    """One reading of a worker's memory, for plots. ``at`` is in seconds since 1970."""

    at: float
    rss_bytes: int
    uss_bytes: int
    tree_uss_bytes: int


class AskView(View, frozen=True):
    """What waits for a person: a call of a tool, with its arguments whole. ``since`` is in seconds since 1970.

    ``session`` is the session's id, ``name`` what people call it. ``kind`` is ``approval`` when a yes is asked for, and
    ``question`` when words are; then ``text`` is the question.
    """

    id: str
    session: str
    name: str
    kind: str
    tool: str
    argv: list[str]
    text: str
    since: float


class ParentView(View, frozen=True):
    """What a session was forked from: a session by its id, and the last of its messages that was taken along."""

    session: str
    seq: int


class SessionView(View, frozen=True):
    """One session as lists show it. Times are seconds since 1970.

    ``unanswered`` counts the prompts that have no reply yet, the one that runs included; ``origin`` names what it was
    imported from; ``proposed_type`` is what its first prompts look like, when that is another type than it has.
    """

    id: str
    name: str
    number: int | None
    active: bool
    type: str
    model: str
    node: str | None
    cwd: str
    residency: str
    work: str
    work_detail: dict[str, str | int | float | bool | None] | None
    display: str
    unread: bool
    pinned: bool
    attached: bool
    archived: bool
    messages: int
    tokens: int
    pid: int | None
    epoch: int
    waiting_since: float | None
    ask: AskView | None
    exit_card: ExitCard | None
    memory: Memory
    created_at: float
    last_active_at: float
    unanswered: int = 0
    parent: ParentView | None = None
    origin: str | None = None
    group: str | None = None
    template: str | None = None
    proposed_type: str | None = None
    temperature: float | None = None


class HistoryRow(View, frozen=True):
    """One message of a conversation."""

    seq: int
    role: str
    text: str
    turn_id: str | None
    stop_reason: str | None
    at: float
    reply_to: int | None = None
    error: ErrorView | None = None


class Exported(View, frozen=True):
    """A session with its whole conversation, in the order of its turns. ``missing`` says what could not be read.

    ``origin`` names what it was imported from, when that was another program.
    """

    id: str
    name: str
    type: str
    model: str
    cwd: str
    closed: bool
    created_at: float
    last_active_at: float
    messages: list[HistoryRow]
    missing: str | None = None
    system: str | None = None
    archived: bool = False
    parent: ParentView | None = None
    origin: str | None = None
    group: str | None = None
    template: str | None = None
    temperature: float | None = None


class FoundRow(View, frozen=True):
    """A message in which a search found its words. ``session`` is the id."""

    session: str
    name: str
    seq: int
    role: str
    snippet: str
    at: float


class Spent(View, frozen=True, kw_only=True):
    """What a number of turns cost. ``cost`` counts what has a price, ``unpriced_tokens`` what has none.

    ``cost`` is None when nothing has a price.
    """

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    unpriced_tokens: int = 0


class ModelSpent(Spent, frozen=True, kw_only=True):
    """What a session's turns with one model cost."""

    model: str


class SessionSpent(Spent, frozen=True, kw_only=True):
    """What a session cost. ``session`` is the id."""

    session: str
    name: str
    models: list[ModelSpent]


class UsageReport(View, frozen=True):
    """What sessions cost since a time (seconds since 1970; None: ever), the dearest first.

    ``more``: there are others, which only the total counts.
    """

    since: float | None
    sessions: list[SessionSpent]
    total: Spent
    more: bool = False


class SessionCounts(View, frozen=True):
    """How many sessions there are, by where they are."""

    live: int
    queued: int
    hibernated: int
    total: int
    max_active: int


class ModelView(View, frozen=True):
    """The default model and whether the embedded server runs for it."""

    name: str
    provider: str
    server_pid: int | None


class StoreView(View, frozen=True):
    """The database: where, how large, and whether it takes changes; ``fault`` says why not.

    ``notice`` is what people must know of it since this start.
    """

    path: str
    bytes: int
    writable: bool
    fault: str | None = None
    notice: str | None = None


class GateView(View, frozen=True):
    """A provider that takes fewer requests than it might. ``why`` is rate_limit or budget.

    ``until`` is when it takes some again, in seconds since 1970; None while it is tried again with ``allowed`` at once.
    """

    provider: str
    why: str
    until: float | None = None
    allowed: int | None = None


class PermitsView(View, frozen=True):
    """Permits for API calls: one for each HTTP request to a model, over all sessions."""

    in_use: int | None = None
    limit: int | None = None
    waiting: int | None = None
    gates: list[GateView] = []


class NextToSleep(View, frozen=True):
    """A session that would be hibernated if room were needed, and why just this one."""

    session: str
    name: str
    why: str


class StatusMemory(View, frozen=True):
    """Memory of everything that belongs to the coordinator, in bytes, and of the machine.

    ``total_pss_bytes`` counts coordinator, zygote, model servers, and workers with all below them; what they share is
    counted once. ``pressure_percent`` is how much of the last 10 s some task waited for memory; None where the kernel
    does not say. ``short`` says why memory is short; None when it is not.
    """

    coordinator_rss_bytes: int | None
    workers_uss_bytes: int | None
    zygote_rss_bytes: int | None = None
    model_server_rss_bytes: int | None = None
    total_pss_bytes: int | None = None
    limit_bytes: int | None = None
    tool_limit_bytes: int | None = None
    machine_bytes: int | None = None
    available_bytes: int | None = None
    pressure_percent: float | None = None
    short: str | None = None
    next_to_hibernate: list[NextToSleep] = []


class PermitState(View, frozen=True):
    """Where a session's request to a model is: out (``held``), or in line at ``position``.

    ``waited_ms`` is how long it has been in line, or had been when it went out; None when it does neither.
    """

    held: bool = False
    position: int | None = None
    waited_ms: int | None = None


class WorkerMemory(View, frozen=True):
    """A worker's memory in bytes, with its limits, and what was read of it before, oldest first."""

    rss_bytes: int | None = None
    pss_bytes: int | None = None
    uss_bytes: int | None = None
    swap_bytes: int | None = None
    tree_uss_bytes: int | None = None
    soft_limit_bytes: int | None = None
    hard_limit_bytes: int | None = None
    history: tuple[MemoryPoint, ...] = ()


class WorkerView(View, frozen=True):
    """A worker from outside and inside. ``inbox`` counts the prompts that wait for it.

    ``heartbeat_age_ms`` is how long nothing was heard of it, ``loop_lag_ms`` how late its own timer was at its last
    heartbeat. ``cpu_percent``: 100 is one processor. ``stacks`` only when it was asked for.
    """

    pid: int | None = None
    epoch: int = 0
    started_at: float | None = None
    uptime_s: float | None = None
    heartbeat_age_ms: int | None = None
    loop_lag_ms: int | None = None
    restarts: int = 0
    exit_card: ExitCard | None = None
    memory: WorkerMemory = WorkerMemory()
    cpu_percent: float | None = None
    threads: int | None = None
    open_files: int | None = None
    children: tuple[ChildMemory, ...] = ()
    inbox: int = 0
    permit: PermitState = PermitState()
    stacks: str | None = None


class ConversationView(View, frozen=True):
    """How large a conversation is. ``buffered_bytes``: of the running reply, what is kept for clients that come."""

    messages: int = 0
    tokens: int = 0
    snapshot_bytes: int | None = None
    buffered_bytes: int = 0


class Inspection(View, frozen=True):
    """Everything that is known of one session."""

    session: SessionView
    worker: WorkerView
    conversation: ConversationView


class TopSession(SessionView, frozen=True):
    """A session as ``top`` shows it. ``pieces``: how many of its replies this coordinator has seen.

    ``pieces_per_s`` is the average of the reply that runs. ``history``: the memory that its worker had for itself.
    """

    cpu_percent: float | None = None
    tree_uss_bytes: int | None = None
    history: tuple[int, ...] = ()
    pieces: int = 0
    pieces_per_s: float | None = None
    permit: PermitState = PermitState()


class TopTotals(View, frozen=True):
    """What all sessions have together, against the limits; ``cpu_percent`` is the workers', 100 is one processor."""

    sessions: SessionCounts
    permits: PermitsView
    memory: StatusMemory
    cpu_percent: float | None = None


class ZygoteView(View, frozen=True):
    """What workers are forked from: what it has frozen, a worker's collector never touches."""

    pid: int
    frozen_objects: int
    threads: int


class Observer(View, frozen=True):
    """Where operators' tools find something, or are told it; ``fault`` says why not."""

    address: str
    fault: str | None = None


class Status(View, frozen=True):
    """The coordinator at a glance. ``metrics`` and ``traces``: None when they are not configured.

    ``zygote`` is None while there is none that is ready.
    """

    pid: int
    boot: int
    version: str
    home: str
    uptime_s: float
    sessions: SessionCounts
    permits: PermitsView
    memory: StatusMemory
    store: StoreView
    model: ModelView
    rejected_frames: int
    launcher: str = "local"
    metrics: Observer | None = None
    traces: Observer | None = None
    zygote: ZygoteView | None = None
