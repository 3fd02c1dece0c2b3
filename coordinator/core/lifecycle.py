"""The life of a session as two tables: residency (is there a worker process?) and work (what does its turn do?).

Only facts about processes and committed orders change residency; only the worker's messages and deliveries change
work. What is ignored has its reason written down; every other pair raises.
"""

from enum import StrEnum

from protocol.errors import IllegalTransition


class Residency(StrEnum):
    """Where a session is."""

    QUEUED = "queued"
    STARTING = "starting"
    LIVE = "live"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    WAKING = "waking"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Work(StrEnum):
    """What a session's current turn does."""

    IDLE = "idle"
    RUNNING = "running"
    THROTTLED = "throttled"
    REQUIRES_ACTION = "requires_action"
    CANCELLING = "cancelling"


class Fact(StrEnum):
    """What can happen to a session's residency. The words are the causes that listeners are told."""

    WORKER_WANTED = "worker wanted"
    NO_SLOT = "no slot"
    SLOT_FREE = "slot free"
    SAID_HELLO = "worker said hello"
    LEAVE_ORDERED = "hibernation ordered"
    VETOED = "worker is busy"
    INPUT_CAME = "input came"
    CLOSE_ORDERED = "close ordered"
    PROCESS_ENDED = "process ended"
    DIED_IDLE = "worker died idle"
    DIED_BUSY = "worker died"
    DELAY_OVER = "restart delay over"
    LIMIT_REACHED = "restart limit reached"


class TurnFact(StrEnum):
    """What can happen to a session's work."""

    DELIVERED = "prompt delivered"
    STARTED = "turn started"
    WAITED = "permit not free"
    GRANTED = "permit granted"
    ASKED = "asked"
    ANSWERED = "answered"
    CANCEL_ORDERED = "cancel ordered"
    ENDED = "turn ended"
    LOST = "turn lost with its worker"


R, F, W, T = Residency, Fact, Work, TurnFact

RESIDENCY: dict[tuple[Residency, Fact], Residency] = {
    # born and woken
    (R.HIBERNATED, F.WORKER_WANTED): R.WAKING,
    (R.FAILED, F.WORKER_WANTED): R.WAKING,
    (R.HIBERNATED, F.NO_SLOT): R.QUEUED,
    (R.FAILED, F.NO_SLOT): R.QUEUED,
    (R.QUEUED, F.SLOT_FREE): R.STARTING,
    (R.STARTING, F.SAID_HELLO): R.LIVE,
    (R.WAKING, F.SAID_HELLO): R.LIVE,
    # put to sleep
    (R.LIVE, F.LEAVE_ORDERED): R.HIBERNATING,
    (R.STARTING, F.LEAVE_ORDERED): R.HIBERNATING,
    (R.WAKING, F.LEAVE_ORDERED): R.HIBERNATING,
    (R.BACKOFF, F.LEAVE_ORDERED): R.HIBERNATED,
    (R.QUEUED, F.LEAVE_ORDERED): R.HIBERNATED,
    (R.HIBERNATING, F.VETOED): R.LIVE,
    (R.HIBERNATING, F.INPUT_CAME): R.LIVE,
    (R.HIBERNATING, F.PROCESS_ENDED): R.HIBERNATED,
    # crashed
    (R.LIVE, F.DIED_IDLE): R.HIBERNATED,
    (R.LIVE, F.DIED_BUSY): R.BACKOFF,
    (R.STARTING, F.DIED_BUSY): R.BACKOFF,
    (R.WAKING, F.DIED_BUSY): R.BACKOFF,
    (R.BACKOFF, F.DELAY_OVER): R.STARTING,
    (R.BACKOFF, F.LIMIT_REACHED): R.FAILED,
    # closed: a user's stop wins over every pending restart or wake
    (R.LIVE, F.CLOSE_ORDERED): R.STOPPING,
    (R.STARTING, F.CLOSE_ORDERED): R.STOPPING,
    (R.WAKING, F.CLOSE_ORDERED): R.STOPPING,
    (R.HIBERNATING, F.CLOSE_ORDERED): R.STOPPING,
    (R.STOPPING, F.PROCESS_ENDED): R.STOPPED,
    (R.QUEUED, F.CLOSE_ORDERED): R.STOPPED,
    (R.BACKOFF, F.CLOSE_ORDERED): R.STOPPED,
    (R.HIBERNATED, F.CLOSE_ORDERED): R.STOPPED,
    (R.FAILED, F.CLOSE_ORDERED): R.STOPPED,
}
IGNORED: dict[tuple[Residency, Fact], str] = {
    (R.STOPPED, F.CLOSE_ORDERED): "it is closed already",
    (R.STOPPING, F.CLOSE_ORDERED): "it is being closed already",
    (R.LIVE, F.SAID_HELLO): "the same worker says hello again after a reconnect",
    (R.STOPPED, F.DELAY_OVER): "closed while it waited for its restart",
    (R.HIBERNATED, F.DELAY_OVER): "put to sleep while it waited for its restart",
}
WORK: dict[tuple[Work, TurnFact], Work] = {
    (W.IDLE, T.DELIVERED): W.RUNNING,
    (W.RUNNING, T.STARTED): W.RUNNING,
    # in line for the model
    (W.RUNNING, T.WAITED): W.THROTTLED,
    (W.THROTTLED, T.GRANTED): W.RUNNING,
    # a person is needed
    (W.RUNNING, T.ASKED): W.REQUIRES_ACTION,
    (W.REQUIRES_ACTION, T.ANSWERED): W.RUNNING,
    # cancelled
    (W.RUNNING, T.CANCEL_ORDERED): W.CANCELLING,
    (W.THROTTLED, T.CANCEL_ORDERED): W.CANCELLING,
    (W.REQUIRES_ACTION, T.CANCEL_ORDERED): W.CANCELLING,
    # over
    (W.RUNNING, T.ENDED): W.IDLE,
    (W.THROTTLED, T.ENDED): W.IDLE,
    (W.REQUIRES_ACTION, T.ENDED): W.IDLE,
    (W.CANCELLING, T.ENDED): W.IDLE,
    (W.RUNNING, T.LOST): W.IDLE,
    (W.THROTTLED, T.LOST): W.IDLE,
    (W.CANCELLING, T.LOST): W.IDLE,
}
WORK_IGNORED: dict[tuple[Work, TurnFact], str] = {
    (W.RUNNING, T.GRANTED): "a permit was free at once",
    (W.CANCELLING, T.STARTED): "the cancel overtook the start",
    (W.CANCELLING, T.WAITED): "the cancel overtook the request",
    (W.CANCELLING, T.GRANTED): "the cancel overtook the grant",
    (W.CANCELLING, T.ASKED): "what is cancelled needs no answer",
    (W.CANCELLING, T.CANCEL_ORDERED): "it is being cancelled already",
}
# A slot is held until the process is dead.
HOLDS_SLOT = frozenset({R.STARTING, R.WAKING, R.LIVE, R.HIBERNATING, R.STOPPING, R.BACKOFF})


def next_residency(residency: Residency, fact: Fact) -> Residency:
    """Return where the session is after the fact.

    Raises:
        IllegalTransition: the fact cannot happen there.
    """
    if (residency, fact) in IGNORED:
        return residency
    try:
        return RESIDENCY[residency, fact]
    except KeyError:
        raise IllegalTransition(f"A session that is {residency} cannot see '{fact}'.") from None


def next_work(work: Work, fact: TurnFact) -> Work:
    """Return what the turn does after the fact.

    Raises:
        IllegalTransition: the fact cannot happen then.
    """
    if (work, fact) in WORK_IGNORED:
        return work
    try:
        return WORK[work, fact]
    except KeyError:
        raise IllegalTransition(f"A session whose work is {work} cannot see '{fact}'.") from None


# The word that lists show, and the order in which they show it; what needs a person comes first.
LIST_ORDER = (
    "requires_action",
    "failed",
    "backoff",
    "running",
    "throttled",
    "unread",
    "idle",
    "starting",
    "waking",
    "hibernating",
    "hibernated",
    "queued",
    "stopping",
    "stopped",
)


def display(residency: Residency, work: Work, *, is_unread: bool) -> str:
    """Return the one word for a session: the first that applies."""
    if residency in {R.FAILED, R.BACKOFF, R.STOPPING}:
        return residency.value
    if work is not W.IDLE:
        return "running" if work is W.CANCELLING else work.value
    if is_unread:
        return "unread"
    return "idle" if residency is R.LIVE else residency.value
