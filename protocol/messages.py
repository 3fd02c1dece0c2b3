"""Every message between two processes, typed and versioned.

A message is a msgpack map with its version ``v`` and its ``kind``. Who speaks to whom is four unions at the end.
Requests of clients carry a number, ``request``, that the answer repeats.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.limits import IMAGES
from protocol.views import (
    AskView,
    ErrorView,
    Exported,
    FoundRow,
    HistoryRow,
    Inspection,
    NextToSleep,
    ParentView,
    SessionView,
    Status,
    StopReason,
    TopSession,
    TopTotals,
    Usage,
    UsageReport,
)

# Raised when a change would make an older peer misread a message; added fields with defaults do not raise it.
PROTOCOL_VERSION = 1


# Numbers that go into the store: SQLite's integers have 63 bits.
Seq = Annotated[int, Meta(ge=0, le=1 << 53)]
# Bounded before it is built: a frame of 1 MiB could hold a quarter of a million empty entries.
Environment = Annotated[dict[str, str], Meta(max_length=512)]


# In the place of a turn's id: this permit is for the question what a session shall be called.
NAMING = "name"


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.upper):
    """The root of all messages."""

    v: int = PROTOCOL_VERSION


class Request(Message, frozen=True):
    """What a client wants; the answer repeats the number."""

    request: int


# ---- big bodies, in both directions; arrays, so that a frame of a transfer is told by its first byte


class Part(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="PART"):
    """A slice of a message that is too big for one frame; ``crc`` is the CRC-32 of ``data``."""

    v: int = PROTOCOL_VERSION
    transfer: int
    n: int
    last: bool
    crc: int
    data: bytes


class PartAck(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="PARTACK"):
    """A part has arrived whole; the sender may send one more."""

    v: int = PROTOCOL_VERSION
    transfer: int
    n: int


# ---- client to coordinator


class ClientHello(Message, frozen=True):
    """A client is there. ``client`` names whose active session it shares (``cli`` for one-shot commands)."""

    client: str
    pid: int


class ClientBye(Message, frozen=True):
    """A client leaves."""


class ClientPing(Message, frozen=True):
    """A client is still there."""


class Create(Request, frozen=True):
    """A new session. The client chooses the id, so that a resend makes no second one.

    ``queue``: when no slot is free it waits in line; otherwise it is refused. ``type`` is "" when none was chosen.
    ``template`` names whose rules of tools it has; what else is in a template comes with the order.
    """

    id: str
    name: str | None
    type: str
    model: str | None
    system: str | None
    cwd: str
    env: Environment
    queue: bool = True
    group: str | None = None
    template: str | None = None
    temperature: float | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that belongs to a prompt, as its file has it."""

    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: bytes


class Submit(Request, frozen=True):
    """A prompt. ``idem`` makes a resend harmless; ``follow`` asks for the reply's pieces.

    ``images`` are shown to the model with it; its text says that they are there.
    """

    session: str
    idem: str
    text: str
    follow: bool
    images: Annotated[list[Image], Meta(max_length=IMAGES)] = []


class Retry(Request, frozen=True):
    """The last prompt once more, if its turn did not complete. ``idem`` and ``follow`` as for a prompt."""

    session: str
    idem: str
    follow: bool


class Fetch(Request, frozen=True):
    """History after a seq, a page at a time. ``view`` says that a person will see it."""

    session: str
    after_seq: Seq
    view: bool


class ListSessions(Request, frozen=True):
    """The list, a page at a time; of one group alone, if any."""

    offset: Seq
    waiting: bool
    everything: bool
    group: str | None = None


class GetSession(Request, frozen=True):
    """One session by name, number or id prefix; None asks for the client's active one, if any."""

    session: str | None


class Switch(Request, frozen=True):
    """Make a session the client's active one."""

    session: str


class Rename(Request, frozen=True):
    """Give a session another name."""

    session: str
    name: str


class Close(Request, frozen=True):
    """End a session's worker for good; history is kept."""

    session: str


class Cancel(Request, frozen=True):
    """End a turn now; its text is kept. ``seq`` is its prompt, so that a resend ends no later one; 0: the current."""

    session: str
    seq: Seq = 0


class ListAsks(Request, frozen=True):
    """What waits for a person, oldest first, a page at a time."""

    offset: Seq = 0


class Decide(Request, frozen=True):
    """Yes or no to an ask, by its id or a beginning of it. ``idem`` makes a resend harmless.

    A question gets an ``answer`` with its yes.
    """

    ask: str
    approve: bool
    idem: str
    why: str = ""
    answer: str | None = None


class Attach(Request, frozen=True):
    """A person looks at this session now (None: at none); its pieces come here, and it wakes and stays awake.

    One who only ``observes`` is sent the same, and neither wakes the session nor keeps it awake.
    """

    session: str | None
    observes: bool = False


class Hibernate(Request, frozen=True):
    """Put a session to sleep: its worker's memory is free, and everything is in the store."""

    session: str


class Wake(Request, frozen=True):
    """Give a session that sleeps a worker."""

    session: str


class Mark(Request, frozen=True):
    """Note something on a session: that it is pinned or archived (True or False), a draft (a text), its type or model.

    Another model counts from the next turn on, as another ``temperature`` does: a number, or None for the model's own.
    """

    session: str
    mark: Literal["pinned", "archived", "draft", "type", "model", "temperature"]
    value: bool | str | float | None


class Delete(Request, frozen=True):
    """Remove a session that has no worker, and everything that is known of it."""

    session: str


class Fork(Request, frozen=True):
    """A new session with the finished turns of another, through the turn of message ``at_seq``; None: all of them.

    The client chooses the id, so that a resend makes no second one; without a name it is NAME-fork.
    """

    session: str
    id: str
    name: str | None = None
    at_seq: Seq | None = None


class Outline(Request, frozen=True):
    """A session as an export has it, without its messages."""

    session: str


class FindOrigin(Request, frozen=True):
    """Was this imported already? And may a new session have that id?"""

    origin: str
    id: str


class ImportRows(Request, frozen=True):
    """A part of the conversation of a session that is to be; sent again it does no harm.

    The client chooses the ``batch``, a new id for each attempt.
    """

    batch: str
    rows: list[HistoryRow]


class ImportSession(Request, frozen=True):
    """Make a session of the ``messages`` rows that were handed over in a batch; all of it, or nothing.

    A name that is taken, or is none, gets another; a model that is not configured here is the default one, and a group,
    template or temperature that cannot be here is left out.
    """

    id: str
    batch: str
    name: str
    type: str
    model: str | None
    system: str | None
    cwd: str
    env: Environment
    created_at: float
    last_active_at: float
    closed: bool
    archived: bool
    parent: ParentView | None
    origin: str
    messages: Seq
    group: str | None = None
    template: str | None = None
    temperature: float | None = None


class Search(Request, frozen=True):
    """Look for words in every conversation, without waking any."""

    text: str
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class GetUsage(Request, frozen=True):
    """What one session, or each, has cost since a time in seconds since 1970."""

    session: str | None
    since: float | None = None


class Listen(Request, frozen=True):
    """Push every change of state to this client."""


class GetStatus(Request, frozen=True):
    """The coordinator at a glance."""


class Inspect(Request, frozen=True):
    """Everything about one session; ``stacks``: and what its worker's code does just now."""

    session: str
    stacks: bool = False


class GetTop(Request, frozen=True):
    """The sessions that have a worker, wait for one or gave up, a page at a time, with what they use."""

    offset: Seq = 0


class Kill(Request, frozen=True):
    """SIGKILL this worker of a session, and all below it. Another one, which has come since, is left alone."""

    session: str
    pid: int


class RestartWorker(Request, frozen=True):
    """Put another worker in the place of this one; ``force``: also while a turn runs, which is then interrupted."""

    session: str
    pid: int
    force: bool = False


class Backup(Request, frozen=True):
    """Copy the store into a new file at an absolute path, while it goes on."""

    path: str


class ShutDown(Request, frozen=True):
    """Stop the coordinator, after a drain unless ``now``."""

    now: bool


# ---- coordinator to client


class HandOver(Request, frozen=True):
    """End the coordinator and nothing else: workers go on, for the next one to adopt."""


class ClientWelcome(Message, frozen=True):
    """The answer to ClientHello."""

    boot: int
    pid: int
    version: str


class ClientPong(Message, frozen=True):
    """The answer to ClientPing; a new boot means that the client must say hello again."""

    boot: int


class Done(Message, frozen=True):
    """The request was carried out and has no document of its own."""

    request: int


class SessionAnswer(Message, frozen=True):
    """One session, or None where there is no active one."""

    request: int
    session: SessionView | None


class SessionsAnswer(Message, frozen=True):
    """A page of the list."""

    request: int
    sessions: list[SessionView]
    more: bool


class Attached(Message, frozen=True):
    """The session is looked at. ``text`` is what its running turn has said so far, in ``pieces`` pieces.

    ``draft`` is the prompt that a person began and did not send; ``dropped`` counts the bytes of what was said that
    were not kept (``buffer_size_bytes``) or do not fit into the answer.
    """

    request: int
    session: SessionView | None
    turn_id: str | None = None
    pieces: int = 0
    text: str = ""
    draft: str = ""
    dropped: int = 0


class Ack(Message, frozen=True):
    """The prompt is committed. ``answered_by`` is the reply's seq when a resend finds it answered."""

    request: int
    session: str
    seq: int
    answered_by: int | None = None


class History(Message, frozen=True):
    """A page of a conversation, in the order of turns."""

    request: int
    session: str
    rows: list[HistoryRow]
    more: bool


class Outlined(Message, frozen=True):
    """The answer to Outline; its list of messages is empty."""

    request: int
    session: Exported


class OriginAnswer(Message, frozen=True):
    """The session that was imported from there, if any, and whether the id is free."""

    request: int
    session: SessionView | None
    id_is_free: bool


class Found(Message, frozen=True):
    """What a search found, the newest first; ``more``: there is more than was asked for.

    ``partial``: not every message can be found yet, because the index over an older store is still being made.
    """

    request: int
    rows: list[FoundRow]
    more: bool
    partial: bool = False


class UsageAnswer(Message, frozen=True):
    """What sessions have cost."""

    request: int
    usage: UsageReport


class StatusAnswer(Message, frozen=True):
    """The coordinator at a glance."""

    request: int
    status: Status


class InspectAnswer(Message, frozen=True):
    """Everything about one session."""

    request: int
    inspection: Inspection


class TopAnswer(Message, frozen=True):
    """A page of sessions with what they use, the totals, and who would be hibernated first."""

    request: int
    sessions: list[TopSession]
    more: bool
    totals: TopTotals
    next_to_hibernate: list[NextToSleep]


class Refused(Message, frozen=True):
    """The answer is no; ``request`` is None when the message could not be read."""

    request: int | None
    code: str
    message: str
    hint: str = ""


class Changed(Message, frozen=True):
    """A session changed its state. ``before`` and ``after`` are display words, ``cause`` the event."""

    seq: int
    at: float
    session: str
    name: str
    before: str | None
    after: str
    cause: str


class AsksAnswer(Message, frozen=True):
    """A page of what waits for a person."""

    request: int
    asks: list[AskView]
    more: bool


class Decided(Message, frozen=True):
    """The decision is committed."""

    request: int
    ask: str
    session: str
    tool: str
    approved: bool


class Cancelled(Message, frozen=True):
    """The turn is over, and how: ``cancelled``, or as it had ended before the order came."""

    request: int
    session: str
    seq: int
    stop_reason: StopReason


class Asking(Message, frozen=True):
    """The turn that is looked at waits for a person's yes."""

    session: str
    seq: int
    ask: AskView


class AskResolved(Message, frozen=True):
    """An ask waits no more: it was answered, by whom, or ended with its turn."""

    session: str
    seq: int
    name: str
    ask: str
    tool: str
    outcome: Literal["approved", "answered", "denied", "cancelled"]
    by: str


class ToolActivity(Message, frozen=True):
    """What a tool of the turn does, best effort. ``state``: running, done, failed or denied."""

    session: str
    seq: int
    turn_id: str
    call: str
    tool: str
    state: str
    text: str


class StoreState(Message, frozen=True):
    """The store stopped taking changes, for a reason, or takes them again."""

    seq: int
    at: float
    writable: bool
    reason: str | None = None
    hint: str = ""


class BackedUp(Message, frozen=True):
    """The copy is whole, checked and on the disk."""

    request: int
    path: str
    bytes: int
    sessions: int


class Piece(Message, frozen=True):
    """A provisional part of a reply; ``n`` counts from 0 within the turn, a gap means: fetch."""

    session: str
    seq: int
    turn_id: str
    n: int
    text: str


class Final(Message, frozen=True):
    """The turn is over and its reply committed. Milliseconds count from the prompt's commit.

    The model did not see the first ``left_out`` messages of the conversation, which has outgrown its window.
    """

    session: str
    seq: int
    reply_seq: int
    turn_id: str
    stop_reason: StopReason
    usage: Usage
    pieces: int
    queued_ms: int | None
    first_piece_ms: int | None
    duration_ms: int
    error: ErrorView | None = None
    left_out: Seq = 0


# ---- worker to coordinator


class WorkerMessage(Message, frozen=True):
    """What a worker says, always with its session and epoch."""

    session: str
    epoch: int


class Hello(WorkerMessage, frozen=True):
    """A worker lives. ``seq``, ``turn_id`` and ``leg`` name the turn that runs in it, after a reconnect.

    ``version`` is the program's; the protocol's is that of every message.
    """

    token: bytes
    pid: int
    seq: int | None = None
    turn_id: str | None = None
    leg: int = 0
    version: str = ""


class Ping(WorkerMessage, frozen=True):
    """The main loop of a worker turns. ``loop_lag_ms`` is how late its own timer was.

    ``permit`` is the call that it holds a permit for (0: none), as the coordinator of ``boot`` knows or shall know;
    all calls up to ``permits_over`` are over, so a return that was lost is known by the next ping.
    """

    state: str
    turn_id: str | None
    loop_lag_ms: int
    boot: int = 0
    permit: Seq = 0
    permits_over: Seq = 0


class Started(WorkerMessage, frozen=True):
    """The turn begins, or goes on after an ask: from here on an API request may have been sent, or a tool run."""

    seq: int
    turn_id: str
    leg: int = 0


class Delta(WorkerMessage, frozen=True):
    """A part of the reply, best effort."""

    seq: int
    turn_id: str
    n: int
    text: str


class Reply(WorkerMessage, frozen=True):
    """The turn is over. Sent again until RACK comes. ``left_out`` as in FINAL."""

    seq: int
    turn_id: str
    text: str
    stop_reason: StopReason
    usage: Usage
    pieces: int
    error: ErrorView | None = None
    left_out: Seq = 0


class ToolAsk(msgspec.Struct, frozen=True, kw_only=True):
    """One call that needs a yes, or a question. ``digest`` is the SHA-256 of what exactly would run."""

    id: str
    call: str
    kind: str
    tool: str
    argv: list[str]
    text: str
    digest: str


class Asked(WorkerMessage, frozen=True):
    """This leg of the turn is over: a person is asked. Sent again until ASKNOTED.

    ``state`` is what the next leg begins with, in any worker; ``text`` is what was said so far, in ``pieces`` pieces.
    """

    seq: int
    turn_id: str
    leg: int
    asks: Annotated[list[ToolAsk], Meta(min_length=1, max_length=64)]
    state: bytes
    text: str
    usage: Usage
    pieces: int


class ToolIntent(WorkerMessage, frozen=True):
    """A tool is about to run. Only in the outbox: without its ToolDone nobody knows what it did."""

    seq: int
    turn_id: str
    call: str
    tool: str
    text: str


class ToolDone(WorkerMessage, frozen=True):
    """The tool has run. Only in the outbox."""

    seq: int
    turn_id: str
    call: str


class ToolState(WorkerMessage, frozen=True):
    """What a tool does, best effort: running, done, failed or denied."""

    seq: int
    turn_id: str
    call: str
    tool: str
    state: str
    text: str


class WriteWanted(WorkerMessage, frozen=True):
    """A tool is about to write this file: has another session written it lately?"""

    path: str


class EndpointWanted(WorkerMessage, frozen=True):
    """Where does this session's model answer, and with which key?"""


class PermitWanted(WorkerMessage, frozen=True):
    """May this request go out? Sent again each second until PERMIT or PERMITREFUSED comes.

    A worker makes one request at a time and counts them: all before ``call`` are over. ``barred_s``: how long the
    endpoint still wants to be left alone, as its last refusal said.
    """

    boot: int
    call: Seq
    turn_id: str
    barred_s: float = 0.0


class PermitReturned(WorkerMessage, frozen=True):
    """The request is over, or is not wanted any more.

    ``status`` is None when no answer came, ``retry_after_s`` what the answer asked for, ``usage`` what it cost.
    """

    boot: int
    call: Seq
    status: int | None = None
    retry_after_s: float | None = None
    usage: Usage = Usage()


class RestoreWanted(WorkerMessage, frozen=True):
    """The newest snapshot, please; those that cannot be used are skipped."""

    skip: Seq = 0


class Restored(WorkerMessage, frozen=True):
    """The worker has its conversation and can begin."""

    source: Literal["snapshot", "history"]
    exchanges: int


class SnapshotTaken(WorkerMessage, frozen=True):
    """The answer to SNAPSHOTWANTED ``n``: what a worker needs to go on from here, through that prompt."""

    n: int
    through_seq: Seq
    data: bytes


class Busy(WorkerMessage, frozen=True):
    """The other answer to SNAPSHOTWANTED ``n``: not now, and why."""

    n: int
    why: str


class Stacks(WorkerMessage, frozen=True):
    """The answer to STACKSWANTED ``n``: where every task of the main loop is."""

    n: int
    text: str


class NameGiven(WorkerMessage, frozen=True):
    """What the model would call the conversation, in its own words, and what that cost."""

    text: str
    usage: Usage


class FetchBack(WorkerMessage, frozen=True):
    """History before a seq, newest page first; None asks for the newest."""

    before_seq: Seq | None


# ---- coordinator to worker


class Welcome(Message, frozen=True):
    """The worker of this epoch is accepted."""

    boot: int
    name: str
    type: str
    system: str | None


class Fenced(Message, frozen=True):
    """This worker is of the past: write nothing, leave."""

    reason: str


class Pong(Message, frozen=True):
    """The answer to Ping; a new boot means that the worker must say hello again."""

    boot: int


class Deliver(Message, frozen=True):
    """Answer this prompt. Sent again until STARTED or REPLY comes."""

    seq: int
    text: str
    images: list[Image] = []


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said to a call, and the digest of what was shown; ``why`` is the answer to a question."""

    call: str
    approved: bool
    why: str
    digest: str


class Continue(Message, frozen=True):
    """Go on with a turn whose asks are answered. Sent again until STARTED of that leg, REPLY or ASKED comes."""

    seq: int
    turn_id: str
    leg: int
    text: str
    state: bytes
    said: str
    pieces: int
    usage: Usage
    decisions: list[Decision]


class AskNoted(Message, frozen=True):
    """The asks and the state of that leg are committed; forget them."""

    turn_id: str
    leg: int


class CancelTurn(Message, frozen=True):
    """End the turn of this prompt now, with what it has said. Sent again until REPLY comes."""

    seq: int


class WriteKnown(Message, frozen=True):
    """The answer to WriteWanted: who else wrote that file lately, by name."""

    path: str
    holders: list[str]


class Rack(Message, frozen=True):
    """The reply is committed; forget it."""

    turn_id: str


class ToolRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool may do: its rule, and patterns of paths that come before it, the strictest first."""

    rule: Literal["allow", "ask", "deny"]
    allow: list[str] = []
    ask: list[str] = []
    deny: list[str] = []


class McpServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server of tools. ``missing`` says why it cannot be used, when that is known before it is tried.

    ``secrets`` are the variables that its command gets beyond the session's; ``api_key`` is for an address.
    """

    name: str
    command: list[str] = []
    url: str = ""
    secrets: dict[str, str] = {}
    api_key: str | None = None
    rule: ToolRule
    start_s: float = 15.0
    idle_s: float = 300.0
    missing: str | None = None


class Endpoint(Message, frozen=True):
    """Where the model answers. ``api_key`` never touches an environment, an argument list or a disk.

    ``is_small``: it is the embedded model, which needs few words and a hand against loops. ``tools`` are those that it
    is offered, with their rules; none for a model that cannot use them. ``temperature`` is None where none was set.
    ``mcp`` are the servers of more tools. ``takes_images``: it can be shown pictures.
    """

    provider: str
    base_url: str
    model: str
    api_key: str | None
    context_tokens: int | None
    max_output_tokens: int | None
    is_small: bool = False
    tools: dict[str, ToolRule] = {}
    tool_timeout_s: float = 120.0
    temperature: float | None = None
    mcp: list[McpServer] = []
    takes_images: bool = False


class EndpointRefused(Message, frozen=True):
    """Why the model cannot be reached."""

    error: ErrorView


class Permit(Message, frozen=True):
    """The request may go out; one of another boot does not count."""

    boot: int
    call: int


class PermitRefused(Message, frozen=True):
    """The request must not go out: a limit that only a person raises is reached."""

    call: int
    error: ErrorView


class HistoryBack(Message, frozen=True):
    """A page of history for a worker that wakes, oldest first within the page."""

    rows: list[HistoryRow]
    more: bool


class SnapshotWanted(Message, frozen=True):
    """The session shall hibernate: say with the same ``n`` all that is to be kept, or that you are busy."""

    n: int


class StacksWanted(Message, frozen=True):
    """Say with the same ``n`` where every task of the main loop is."""

    n: int


class Restore(Message, frozen=True):
    """A snapshot and what came after it, oldest first; without a snapshot, the newest page of the conversation."""

    snapshot: bytes | None
    rows: list[HistoryRow]
    more: bool


class Renamed(Message, frozen=True):
    """The session has another name."""

    name: str


class Retyped(Message, frozen=True):
    """The session has another type, and with it perhaps another system prompt: from the next request on."""

    type: str
    system: str | None


class NameWanted(Message, frozen=True):
    """Ask the model what the conversation shall be called, if there is nothing else to do and a permit is free."""


class Leave(Message, frozen=True):
    """End the process cleanly."""


class ToolEnded(Message, frozen=True):
    """The coordinator ended every process below the worker; the model is to be told the reason."""

    reason: str


ClientSays = (
    ClientHello
    | ClientBye
    | ClientPing
    | Create
    | Submit
    | Retry
    | Fetch
    | ListSessions
    | GetSession
    | Switch
    | Rename
    | Close
    | Cancel
    | ListAsks
    | Decide
    | Attach
    | Hibernate
    | Wake
    | Mark
    | Delete
    | Fork
    | Outline
    | FindOrigin
    | ImportRows
    | ImportSession
    | Search
    | GetUsage
    | Listen
    | GetStatus
    | Inspect
    | GetTop
    | Kill
    | RestartWorker
    | Backup
    | ShutDown
    | HandOver
)
ToClient = (
    ClientWelcome
    | ClientPong
    | Done
    | SessionAnswer
    | SessionsAnswer
    | Attached
    | Ack
    | History
    | Outlined
    | OriginAnswer
    | Found
    | UsageAnswer
    | StatusAnswer
    | InspectAnswer
    | TopAnswer
    | Refused
    | Changed
    | AsksAnswer
    | Decided
    | Cancelled
    | Asking
    | AskResolved
    | ToolActivity
    | StoreState
    | BackedUp
    | Piece
    | Final
)
WorkerSays = (
    Hello
    | Ping
    | RestoreWanted
    | FetchBack
    | Restored
    | Started
    | EndpointWanted
    | PermitWanted
    | PermitReturned
    | Delta
    | ToolState
    | WriteWanted
    | Asked
    | Reply
    | SnapshotTaken
    | Busy
    | Stacks
    | NameGiven
)
ToWorker = (
    Welcome
    | Fenced
    | Pong
    | Restore
    | HistoryBack
    | Deliver
    | Continue
    | Endpoint
    | EndpointRefused
    | Permit
    | PermitRefused
    | WriteKnown
    | AskNoted
    | CancelTurn
    | Rack
    | SnapshotWanted
    | StacksWanted
    | ToolEnded
    | Renamed
    | Retyped
    | NameWanted
    | Leave
    | Refused
)
