"""What the core orders, in the imperative: the shell performs each without deciding anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocol.messages import Asked, Image, ToClient, ToolRule, TopAnswer, ToWorker
from protocol.views import (
    ErrorView,
    ExitCard,
    HistoryRow,
    Inspection,
    ParentView,
    PermitsView,
    SessionCounts,
    StatusMemory,
    StopReason,
    Usage,
)

# ---- changes to the store; each is committed whole before the core hears of it


@dataclass(frozen=True, slots=True)
class InsertSession:
    """A new session. One that ``starts`` gets its first epoch with it; another waits in line before that."""

    session: str
    name: str
    number: int
    type: str
    model: str
    system: str | None
    cwd: str
    env: dict[str, str]
    at: float
    peer: bytes
    request: int
    starts: bool = True
    group: str | None = None
    template: str | None = None
    is_named: bool = True
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class InsertFork:
    """A new session with the finished turns of another, through the turn of message ``at_seq`` (None: all of them)."""

    session: str
    source: str
    at_seq: int | None
    name: str
    number: int
    at: float
    peer: bytes
    request: int


@dataclass(frozen=True, slots=True)
class StageRows:
    """A part of a conversation that is being imported, kept aside until its session is made."""

    batch: str
    rows: tuple[HistoryRow, ...] = field(repr=False)
    peer: bytes
    request: int


@dataclass(frozen=True, slots=True)
class InsertImported:
    """A new session with the ``messages`` rows of a batch that was staged."""

    session: str
    batch: str
    name: str
    number: int
    type: str
    model: str
    system: str | None
    cwd: str
    env: dict[str, str]
    created_at: float
    last_active_at: float
    closed: bool
    archived: bool
    parent: ParentView | None
    origin: str
    messages: int
    peer: bytes
    request: int
    group: str | None = None
    template: str | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class BumpEpoch:
    """A new serial number and token for the session's next worker: older workers are fenced from here on."""

    session: str


@dataclass(frozen=True, slots=True)
class InsertPrompt:
    """A prompt with the client's key; whom to answer, and whether that client waits for the reply, travel along."""

    session: str
    idem: str
    text: str
    at: float
    peer: bytes
    request: int
    follow: bool
    images: tuple[Image, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class InsertRetry:
    """The last prompt once more, under a key of its own, if its turn did not complete."""

    session: str
    idem: str
    at: float
    peer: bytes
    request: int
    follow: bool


@dataclass(frozen=True, slots=True)
class InsertReply:
    """The end of a turn: a reply, or the mark that there is none and why."""

    session: str
    reply_to: int
    turn_id: str
    text: str
    stop_reason: StopReason
    usage: Usage
    error: ErrorView | None
    unread: bool
    at: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class SaveStarted:
    """A worker began the prompt's turn: from here on a crash ends it ``interrupted`` instead of running it again.

    ``leg`` counts how often it was begun after an ask.
    """

    session: str
    seq: int
    turn_id: str
    leg: int = 0


@dataclass(frozen=True, slots=True)
class InsertAsks:
    """A turn stopped to ask: what it asks, and the state that it goes on with in any worker."""

    session: str
    seq: int
    report: Asked = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class SaveDecision:
    """An ask is answered. ``idem`` tells a resend; ``peer`` and ``request`` are whom to answer, if anybody.

    ``why`` is the reason of a no, or what a question is answered with (``is_words``).
    """

    session: str
    seq: int
    ask: str
    approved: bool
    why: str
    by: str
    idem: str
    at: float
    peer: bytes | None
    request: int
    is_words: bool = False


@dataclass(frozen=True, slots=True)
class SaveCrashes:
    """So many workers died with the prompt in hand before they sent a request."""

    session: str
    seq: int
    crashes: int


@dataclass(frozen=True, slots=True)
class SaveResumed:
    """The prompt's turn was interrupted by the death of this epoch's worker and begins again, this once."""

    session: str
    seq: int
    epoch: int


@dataclass(frozen=True, slots=True)
class SaveRoster:
    """Which process serves the session, for the next coordinator to adopt."""

    session: str
    epoch: int
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class SaveExit:
    """A worker's end."""

    session: str
    epoch: int
    card: ExitCard


@dataclass(frozen=True, slots=True)
class SaveName:
    """Another name. One that ``is_auto`` comes from the prompts, and nobody waits for it.

    One that is not ``is_final`` may be replaced by the model's once; None: it is the name that it had, and nothing is
    decided by that. ``usage``: what it cost to ask the model, which counts to the last turn.
    """

    session: str
    name: str
    peer: bytes
    request: int
    is_auto: bool = False
    is_final: bool | None = True
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """A worker's snapshot, and with it in one transaction: the session is hibernated, and that worker fenced.

    ``through_seq`` is the last prompt that is in it; of earlier snapshots the newest is kept.
    """

    session: str
    epoch: int
    through_seq: int
    data: bytes = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class SaveMark:
    """What is noted on a session: pinned or archived, a prompt that is not sent yet, its type, model, temperature.

    A type that is only proposed comes from the prompts; nobody waits for it, so ``peer`` is empty.
    """

    session: str
    mark: Literal["pinned", "archived", "draft", "type", "proposed_type", "model", "temperature"]
    value: bool | str | float | None
    peer: bytes
    request: int


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """The session is gone with everything that was known of it."""

    session: str
    peer: bytes
    request: int


@dataclass(frozen=True, slots=True)
class SaveClosed:
    """The session is closed for good."""

    session: str


@dataclass(frozen=True, slots=True)
class SaveFailed:
    """The session gave up, or has a worker again."""

    session: str
    failed: bool


@dataclass(frozen=True, slots=True)
class SaveSeen:
    """Somebody saw the last answer."""

    session: str


@dataclass(frozen=True, slots=True)
class SaveActive:
    """The session that one-shot commands of this client work on."""

    client: str
    session: str | None


Change = (
    InsertSession
    | InsertFork
    | StageRows
    | InsertImported
    | BumpEpoch
    | InsertPrompt
    | InsertRetry
    | InsertReply
    | SaveStarted
    | InsertAsks
    | SaveDecision
    | SaveCrashes
    | SaveResumed
    | SaveRoster
    | SaveExit
    | SaveName
    | SaveSnapshot
    | SaveMark
    | DeleteSession
    | SaveClosed
    | SaveFailed
    | SaveSeen
    | SaveActive
)

# ---- orders


@dataclass(frozen=True, slots=True)
class SendClient:
    """A message to a client."""

    peer: bytes
    message: ToClient


@dataclass(frozen=True, slots=True)
class SendWorker:
    """A message to a worker."""

    peer: bytes
    message: ToWorker


@dataclass(frozen=True, slots=True)
class Commit:
    """Put a change into the store; ``Committed`` or ``CommitFailed`` follows."""

    change: Change


@dataclass(frozen=True, slots=True)
class SendHistory:
    """Read a page of a conversation and send it to a client."""

    peer: bytes
    request: int
    session: str
    after_seq: int


@dataclass(frozen=True, slots=True)
class SendFound:
    """Look for words in every conversation and send what was found to a client, the newest first."""

    peer: bytes
    request: int
    text: str
    limit: int


@dataclass(frozen=True, slots=True)
class SendUsage:
    """Sum up what one session, or each, spent since a time (seconds since 1970), and send it to a client."""

    peer: bytes
    request: int
    session: str | None
    since: float | None


@dataclass(frozen=True, slots=True)
class SendHistoryBack:
    """Read a page of a conversation, newest first, and send it to a worker."""

    peer: bytes
    session: str
    before_seq: int | None


@dataclass(frozen=True, slots=True)
class SendContinue:
    """Read the state of a turn whose asks are answered, and send it with the decisions to a worker."""

    peer: bytes
    session: str
    seq: int
    turn_id: str
    leg: int


@dataclass(frozen=True, slots=True)
class SendPrompt:
    """Send a worker a prompt with its images, which only the store has."""

    peer: bytes
    session: str
    seq: int


@dataclass(frozen=True, slots=True)
class SendAskFate:
    """Look up what became of an ask that waits no more, and tell the client; ``idem`` tells its own resend."""

    peer: bytes
    request: int
    ask: str
    idem: str


@dataclass(frozen=True, slots=True)
class SendTurnEnd:
    """Look up how a turn ended, and tell the client that wanted it cancelled."""

    peer: bytes
    request: int
    session: str
    seq: int


@dataclass(frozen=True, slots=True)
class SendRestore:
    """Read a session's newest snapshot but ``skip``, with what came after it, and send it to a worker.

    Without a snapshot it is the newest page of the conversation.
    """

    peer: bytes
    session: str
    skip: int


@dataclass(frozen=True, slots=True)
class DropFiles:
    """Remove what the workers of a deleted session left in files."""

    session: str


@dataclass(frozen=True, slots=True)
class SendStatus:
    """Put the facts of the shell beside these counts and send them to a client."""

    peer: bytes
    request: int
    sessions: SessionCounts
    permits: PermitsView
    memory: StatusMemory


@dataclass(frozen=True, slots=True)
class SendInspection:
    """Put what the system knows of the worker's process beside this and send it to a client.

    ``epoch`` is that of the process, None when there is none; ``stacks``: and what its code does; the worker's own
    words about that come as ``PassStacks`` ``n`` (0: it was not asked), or not at all.
    """

    peer: bytes
    request: int
    inspection: Inspection
    epoch: int | None
    stacks: bool
    n: int


@dataclass(frozen=True, slots=True)
class PassStacks:
    """A worker's words for whoever inspects it."""

    session: str
    epoch: int
    n: int
    text: str


@dataclass(frozen=True, slots=True)
class SendTop:
    """Put how busy the processes are beside this and send it to a client; of each session the process's epoch."""

    peer: bytes
    answer: TopAnswer
    epochs: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run a person's command, with the session's facts in its environment; nobody waits for it."""

    event: str
    words: tuple[str, ...]
    session: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Figures:
    """How much there is of everything just now, for operators' tools; of no session in particular.

    ``works`` are those of sessions with a worker. ``longest_silence_s``: since the worker was heard that was heard
    longest ago; ``largest_lag_s``: of all main loops of workers. ``pieces`` were seen by this coordinator.
    """

    sessions: SessionCounts
    residencies: Mapping[str, int]
    works: Mapping[str, int]
    prompts_unanswered: int
    asks_waiting: int
    permits: PermitsView
    memory: StatusMemory
    largest_worker_bytes: int
    longest_silence_s: float
    largest_lag_s: float
    clients: int
    pieces: int
    is_store_writable: bool


@dataclass(frozen=True, slots=True)
class TellFigures:
    """Answer ``Scraped`` ``n``."""

    n: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveTurn:
    """A turn is over: count it, and tell how it went. Times are monotonic seconds, None where it did not come so far.

    ``permits``: of each request to a model when it was asked for, let go, and over (None: not known).
    """

    session: str
    seq: int
    turn_id: str
    model: str
    stop_reason: StopReason
    error: str | None
    usage: Usage
    pieces: int
    committed_s: float
    started_s: float | None
    first_piece_s: float | None
    ended_s: float
    permits: tuple[tuple[float, float, float | None], ...]


ExitCause = Literal["ordered", "by_hand", "memory", "silent", "crash"]


@dataclass(frozen=True, slots=True)
class ObserveExit:
    """A worker ended: count it."""

    cause: ExitCause


@dataclass(frozen=True, slots=True)
class MakeBackup:
    """Copy the store into a new file while it goes on, and tell the client."""

    peer: bytes
    request: int
    path: str


@dataclass(frozen=True, slots=True)
class SendEndpoint:
    """Find where a model answers, start the embedded server if it is that one, and tell the worker.

    ``rules`` are those of the session's tools.
    """

    peer: bytes
    model: str
    rules: dict[str, ToolRule] = field(default_factory=dict)
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Start a worker process; ``WorkerSpawned`` or ``SpawnFailed`` follows."""

    session: str
    epoch: int
    token: bytes = field(repr=False)
    name: str
    cwd: str
    env: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndWorker:
    """Signal a worker; ``WorkerExited`` follows when it is dead."""

    session: str
    epoch: int
    signal: Literal["SIGTERM", "SIGKILL"]


@dataclass(frozen=True, slots=True)
class EndTools:
    """Kill everything below a worker; the worker itself stays."""

    session: str
    epoch: int


@dataclass(frozen=True, slots=True)
class EndModelServers:
    """End the servers of local models but for these; ``keeps_others``: nor those of models that are not configured."""

    kept: tuple[str, ...]
    keeps_others: bool


@dataclass(frozen=True, slots=True)
class DropOutbox:
    """Remove a dead worker's outbox: what it noted is committed."""

    session: str
    epoch: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """``TimerFired`` with this key after the delay."""

    key: tuple[str, str, int]
    delay_s: float


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the log at INFO: constant message, facts as fields."""

    message: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LeaveLoop:
    """Flush the store and end the process.

    Every worker is gone; or ``keeps_workers``, for the next coordinator; or, with an error, going on would promise too
    much.
    """

    error: str | None = None
    keeps_workers: bool = False


Effect = (
    SendClient
    | SendWorker
    | Commit
    | SendHistory
    | SendFound
    | SendUsage
    | SendHistoryBack
    | SendContinue
    | SendPrompt
    | SendAskFate
    | SendTurnEnd
    | SendRestore
    | DropFiles
    | SendStatus
    | SendInspection
    | PassStacks
    | SendTop
    | RunHook
    | TellFigures
    | ObserveTurn
    | ObserveExit
    | MakeBackup
    | SendEndpoint
    | SpawnWorker
    | EndWorker
    | EndTools
    | EndModelServers
    | DropOutbox
    | StartTimer
    | Note
    | LeaveLoop
)
