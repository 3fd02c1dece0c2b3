"""What the core knows: sessions, connected clients, and the numbers that they share."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from coordinator.core.effects import Change
from coordinator.core.lifecycle import HOLDS_SLOT, Fact, Residency, TurnFact, Work, display, next_residency, next_work
from coordinator.core.naming import resolve
from coordinator.core.permits import Governor
from coordinator.core.pressure import Pressure
from coordinator.core.providers import governor_of
from coordinator.core.restarts import RestartBudget
from coordinator.core.roll import Roll
from protocol.errors import SessionUnknown, StoreReadOnly
from protocol.settings import Settings
from protocol.views import ExitCard, Memory, MemoryPoint, ParentView, TreeMemory, Usage

# The client whose active session is kept in the store: one-shot commands share it.
COMMAND_LINE = "cli"
# Of the descriptors that are allowed, this part may be used before another worker starts; the rest is for clients and
# files, because libzmq aborts the whole process when there is none left.
DESCRIPTORS_SHARE = 0.8
# What a worker costs until it has said hello: its pidfd, its connection, and the socket that its order goes through.
DESCRIPTORS_A_START = 3


# The doom of a worker that a person kills.
BY_HAND = "killed by hand"
# Of one turn so many requests to the model are remembered.
MOST_PERMITS = 1_000

# Why a turn shall end before its time.
StopCause = Literal["cancelled", "timeout"]


@dataclass(slots=True)
class Prompt:
    """A committed prompt that waits for its turn. ``turn_id`` is set when an earlier worker had started it.

    ``leg`` and ``said`` are how far that had come when it last asked something, the tools are what that worker's outbox
    told. ``crashes`` counts the workers that died with it in hand before they sent a request; ``resumed`` is the epoch
    whose death interrupted its turn, which then began again (0: never); it does so when ``is_resume_saved``.
    ``usage``: what that turn's requests were seen to cost.
    """

    seq: int
    text: str
    committed_s: float
    turn_id: str | None = None
    crashes: int = 0
    resumed: int = 0
    is_resume_saved: bool = True
    usage: Usage = field(default_factory=Usage)
    leg: int = 0
    said: str = ""
    unfinished_tool: str | None = None
    has_used_tools: bool = False
    # It has images, which only the store keeps.
    has_images: bool = False


@dataclass(slots=True)
class Ask:
    """A call of a tool that waits for a person's yes, or got its answer. ``deciding`` is the key of one under way.

    ``since`` is what people are shown; ``asked_s`` is monotonic, so that a wall clock that is set denies nothing.
    """

    id: str
    call: str
    kind: str
    tool: str
    argv: list[str]
    text: str
    digest: str
    since: float
    asked_s: float
    deciding: str | None = None
    approved: bool | None = None
    by: str = ""


@dataclass(slots=True)
class PermitUse:
    """A request to a model: when its permit was asked for and granted, and when it was over (None: it is not)."""

    asked_s: float
    granted_s: float
    over_s: float | None = None


@dataclass(slots=True)
class Turn:
    """A prompt that was delivered, until its end is committed.

    ``text`` gathers what was streamed, for clients that come later and for the mark of an interrupted turn; ``usage``
    what its requests were seen to cost.
    """

    seq: int
    prompt: Prompt | None
    delivered_s: float
    turn_id: str | None = None
    started_s: float | None = None
    first_piece_s: float | None = None
    pieces: int = 0
    text: list[str] = field(default_factory=list)
    text_bytes: int = 0
    is_ending: bool = False
    # A turn runs in legs: it stops to ask, and begins again when that is answered. ``leg`` is the one that runs, or the
    # last; it is parking while its asks and state are on their way to the store, and parked when they are there: then
    # no worker has it in hand.
    leg: int = 0
    asks: list[Ask] = field(default_factory=list)
    is_parking: bool = False
    is_parked: bool = False
    # Why it shall end: somebody cancelled it, or its time is over.
    cancel: StopCause | None = None
    # What is known of a tool that had begun when its worker died.
    unfinished_tool: str | None = None
    has_used_tools: bool = False
    # Calls that run now; when something last moved; how long it has worked.
    calls: set[str] = field(default_factory=set)
    moved_s: float = 0.0
    worked_s: float = 0.0
    seen_s: float = 0.0
    is_stalled: bool = False
    usage: Usage = field(default_factory=Usage)
    # What answers it: whoever switches the session's model meanwhile means the next turn.
    model: str | None = None
    left_out: int = 0
    permits: list[PermitUse] = field(default_factory=list)

    @property
    def is_out_of_hand(self) -> bool:
        """Say whether no worker has it: what it needs to go on is in the store, or on its way there."""
        return self.is_parked or self.is_parking

    @property
    def is_answered(self) -> bool:
        """Say whether it stopped to ask and everything is answered: it waits for a worker."""
        return self.is_parked and not self.is_ending and all(ask.approved is not None for ask in self.asks)


@dataclass(slots=True, kw_only=True)
class Session:
    """A conversation and where it is. It outlives every process."""

    id: str
    name: str
    number: int
    type: str
    model: str
    system: str | None
    cwd: str
    env: dict[str, str]
    created_at: float
    last_active_at: float
    restarts: RestartBudget
    # Monotonic time of the last use under this coordinator; 0 when there was none.
    used_s: float = 0.0
    residency: Residency = Residency.HIBERNATED
    work: Work = Work.IDLE
    epoch: int = 0
    # The epoch of the process that runs, or ran last: hibernation counts the epoch on before that process is dead.
    worker_epoch: int = 0
    token_sha256: bytes = b""
    # The names that are on their way to the store: what a person wants, and what its prompts say.
    renaming: str | None = None
    naming: str | None = None
    is_committed: bool = True
    has_process: bool = False
    peer: bytes | None = None
    pid: int | None = None
    heard_s: float = 0.0
    is_ending: bool = False
    # The store knows the process, so the next coordinator will adopt it: before that nothing is delivered to it.
    is_enrolled: bool = False
    unread: bool = False
    is_pinned: bool = False
    is_archived: bool = False
    draft: str = ""
    parent: ParentView | None = None
    origin: str | None = None
    group: str | None = None
    template: str | None = None
    # A person named it, or it got a name from its prompts: that stays.
    is_named: bool = True
    # That name is of the words of its prompts; its model may still find a better one, and is asked once.
    has_words_for_name: bool = False
    was_asked_for_name: bool = False
    # What its prompts look like, if that is another type; nothing is proposed to a person who chose one.
    proposed_type: str | None = None
    is_type_chosen: bool = True
    # None: the model's own.
    temperature: float | None = None
    waiting_since: float | None = None
    messages: int = 0
    tokens: int = 0
    exit_card: ExitCard | None = None
    memory: Memory = field(default_factory=Memory)
    tree: TreeMemory = field(default_factory=TreeMemory)
    sampled_s: float = 0.0
    # How late its main loop's timer was at the last heartbeat; None until there was one.
    loop_lag_ms: int | None = None
    history: deque[MemoryPoint] | None = None
    # Why this coordinator kills the worker, for its exit card.
    doom: str = ""
    waiting: deque[Prompt] = field(default_factory=deque)
    turn: Turn | None = None
    # Prompts whose end is not durable yet. Nothing is delivered meanwhile: after a crash a worker that has seen a later
    # prompt would take an earlier one for a copy.
    ending: set[int] = field(default_factory=set)
    closers: list[tuple[bytes, int]] = field(default_factory=list)
    # Who waits for the end of which turn, because they cancelled it.
    cancellers: list[tuple[int, bytes, int]] = field(default_factory=list)
    # Who waits to hear that it sleeps, or that it is awake.
    sleepers: list[tuple[bytes, int]] = field(default_factory=list)
    wakers: list[tuple[bytes, int]] = field(default_factory=list)
    # Who waits for the death of a process, or for another in its place; which process is meant, by its pid.
    killers: list[tuple[bytes, int, int]] = field(default_factory=list)
    restarters: list[tuple[bytes, int, int]] = field(default_factory=list)
    # Of the questions where its tasks are, how many; and how many pieces of its replies were seen.
    stacks_wanted: int = 0
    pieces_seen: int = 0
    # The worker has its conversation.
    is_restored: bool = False
    # Of the questions for a snapshot, how many; whether the last one's answer is on its way to the store; and whether
    # nobody waits for it any more, because the worker is leaving without.
    snapshots_wanted: int = 0
    is_snapshot_ordered: bool = False
    is_leaving: bool = False
    # A worker that was busy is not asked to sleep again before (monotonic seconds).
    rests_until_s: float = 0.0
    is_deleting: bool = False
    # The zygote that its worker was forked from is gone: nobody else may have the pages that they shared.
    is_last_to_share: bool = False
    # Its worker is of another version of the program; and it comes back at once when that worker has gone.
    is_outdated: bool = False
    is_renewing: bool = False
    # The store knows that it is closed: before that nobody is told so, because the next coordinator would wake it.
    is_close_committed: bool = False

    @property
    def model_in_use(self) -> str:
        """Return the model of the turn that runs, else the session's."""
        return (self.turn.model if self.turn is not None else None) or self.model

    @property
    def recency(self) -> tuple[float, float]:
        """Sort by last use. The wall clock, which may jump, only orders what was used under earlier coordinators."""
        return self.used_s, self.last_active_at

    @property
    def holds_name(self) -> bool:
        """No other may have its name and number: until its close is durable a restart would bring it back with them."""
        return not self.is_close_committed

    @property
    def is_closed(self) -> bool:
        """Say whether it is closed, or will be when its process has ended."""
        return self.residency in {Residency.STOPPING, Residency.STOPPED}

    @property
    def has_turn_in_hand(self) -> bool:
        """Say whether a turn would be lost with the worker: it runs there, and nobody has ordered its end."""
        turn = self.turn
        return turn is not None and not turn.is_ending and not turn.is_out_of_hand and turn.cancel is None

    @property
    def wants_worker(self) -> bool:
        """Say whether there is something that only a worker can go on with."""
        return bool(self.waiting) if self.turn is None else self.turn.is_answered and self.turn.cancel is None

    @property
    def holds_slot(self) -> bool:
        """Say whether it counts against max_active_sessions."""
        return self.residency in HOLDS_SLOT

    @property
    def unanswered(self) -> int:
        """How many prompts have no reply that is durable, the one that runs included."""
        prompts = {prompt.seq for prompt in self.waiting} | self.ending
        return len(prompts | ({self.turn.seq} if self.turn else set()))

    @property
    def needs_person(self) -> bool:
        """Say whether it waits: for an answer to its question, or for somebody to see its answer."""
        return self.unread or self.work is Work.REQUIRES_ACTION

    @property
    def display(self) -> str:
        """The word that lists show."""
        return display(self.residency, self.work, is_unread=self.unread)


@dataclass(slots=True)
class Peer:
    """A connected client. ``client`` is whose active session it shares."""

    client: str
    heard_s: float
    listens: bool = False
    attached: str | None = None
    observes: bool = False
    follows: set[tuple[str, int]] = field(default_factory=set)
    pid: int = 0

    def sees(self, session: str, seq: int) -> bool:
        """Say whether the reply to this prompt goes to this client: it looks at the session, or waits for the reply."""
        return self.attached == session or (session, seq) in self.follows


@dataclass(slots=True)
class World:
    """Everything. Handlers change it; ``machine.step`` is the only caller of handlers.

    ``store_fault`` says why the store takes no changes now, None when it does; ``unsaved`` are those it did not take.
    """

    settings: Settings
    boot: int = 0
    node: str = ""
    sessions: dict[str, Session] = field(default_factory=dict)
    roll: Roll = field(default_factory=Roll)
    peers: dict[bytes, Peer] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    line: deque[str] = field(default_factory=deque)
    changes: int = 0
    unsaved: dict[tuple[object, ...], Change] = field(default_factory=dict)
    # The session of each ask that waits, oldest first; who wrote which file last, and when.
    asks: dict[str, str] = field(default_factory=dict)
    writers: dict[str, dict[str, float]] = field(default_factory=dict)
    store_fault: str | None = None
    store_hint: str = ""
    moved: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    is_draining: bool = False
    has_left: bool = False
    # Turns that a dead worker's outbox decides, by session and prompt: whose outbox goes when that is committed.
    imports: dict[tuple[str, int], int] = field(default_factory=dict)
    restarts: RestartBudget = field(init=False)
    governor: Governor = field(init=False)
    # When a timer looks at the line for permits again; None: no timer is set.
    permits_due_s: float | None = None
    # What all sessions ever spent; and the pieces of replies that this coordinator has seen.
    tokens_spent: int = 0
    pieces_seen: int = 0
    wall_offset_s: float = 0.0
    # When the last event came, and when the last stall of this process ended.
    stepped_s: float | None = None
    # When time last counted for what it alone brings: whoever only looks must not be who moves a session.
    ticked_s: float = 0.0
    resumed_s: float | None = None
    descriptors_used: int = 0
    descriptors_limit: int | None = None
    pressure: Pressure = field(default_factory=Pressure)
    # When each local model was used last, while its server may run.
    local_used_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restarts = RestartBudget(self.settings.restart_limit_total, self.settings.restart_window_s)
        self.governor = governor_of(self.settings)

    def wall_s(self, now_s: float) -> float:
        """Return seconds since 1970 for a monotonic time."""
        return round(now_s + self.wall_offset_s, 3)

    def read_only(self) -> StoreReadOnly:
        """Return what is answered while the store takes no changes."""
        text = f"The store takes no changes now, so nothing was acknowledged: {self.store_fault}."
        return StoreReadOnly(text, hint=self.store_hint)

    def check_writable(self) -> None:
        """Refuse what must become durable before it is answered.

        Raises:
            StoreReadOnly: the store takes no changes now.
        """
        if self.store_fault is not None:
            raise self.read_only()

    def session(self, session: str) -> Session:
        """Return a session by id.

        Raises:
            SessionUnknown: there is none.
        """
        try:
            return self.sessions[session]
        except KeyError:
            raise SessionUnknown(f"There is no session with the id {session[:32]!r}.") from None

    def listed(self) -> Iterable[Session]:
        """Yield the sessions that are in the store."""
        return (s for s in self.sessions.values() if s.is_committed)

    def find(self, text: str) -> Session:
        """Return the session that a text means, of those that are in the store.

        Raises:
            SessionUnknown: none.
            NameAmbiguous: several; lists them.
        """
        return resolve(text, [s for s in self.roll.candidates(text) if s.is_committed])

    def add(self, session: Session) -> None:
        """Take in a session."""
        self.sessions[session.id] = session
        self.roll.add(session)
        if session.is_committed:
            self.roll.show(session)

    def remove(self, session: Session) -> None:
        """Forget a session that is not in the store, or not any more."""
        del self.sessions[session.id]
        self.moved.pop(session.id, None)
        self.roll.remove(session)

    @property
    def has_free_slot(self) -> bool:
        """Say whether one more worker may start."""
        return self.roll.slots_held < self.settings.max_active_sessions and self.has_descriptors and self.has_memory

    @property
    def has_memory(self) -> bool:
        """Say whether memory allows one more worker. One may always run: a budget that is too small stops nobody."""
        pressure = self.pressure
        return not pressure.is_machine_short and (not pressure.is_budget_spent or self.roll.slots_held == 0)

    @property
    def has_descriptors(self) -> bool:
        """Say whether there are file descriptors for one more worker beside those that are on their way."""
        if self.descriptors_limit is None:
            return True
        starting = self.roll.count(Residency.STARTING) + self.roll.count(Residency.WAKING)
        wanted = self.descriptors_used + DESCRIPTORS_A_START * (starting + 1)
        return wanted <= DESCRIPTORS_SHARE * self.descriptors_limit

    def is_attached(self, session: str) -> bool:
        """Say whether a person works on the session; one who only observes does not count."""
        return any(p.attached == session and not p.observes for p in self.peers.values())

    def is_watched(self, session: str, seq: int) -> bool:
        """Say whether somebody looks at the session or waits for this reply, so that it is seen as it comes."""
        return any(p.sees(session, seq) for p in self.peers.values())

    def foreground(self) -> frozenset[str]:
        """Return the sessions that somebody looks at, or whose running prompt somebody waits for."""
        found = {peer.attached for peer in self.peers.values() if peer.attached is not None}
        for peer in self.peers.values():
            for key, seq in peer.follows:
                turn = self.sessions[key].turn if key in self.sessions else None
                if turn is not None and turn.seq == seq:
                    found.add(key)
        return frozenset(found)

    def touch(self, session: Session, cause: str) -> None:
        """Remember what a session showed before this step, so that listeners hear of a change once."""
        if session.id not in self.moved:
            self.moved[session.id] = (session.display, cause)

    def move(self, session: Session, fact: Fact) -> None:
        """Change residency.

        Raises:
            IllegalTransition: the fact cannot happen there; nothing changed.
        """
        before, after = session.residency, next_residency(session.residency, fact)
        self.touch(session, fact.value)
        session.residency = after
        self.roll.moved(session, before)

    def turn_fact(self, session: Session, fact: TurnFact) -> None:
        """Change work.

        Raises:
            IllegalTransition: the fact cannot happen then; nothing changed.
        """
        after = next_work(session.work, fact)
        self.touch(session, fact.value)
        session.work = after
