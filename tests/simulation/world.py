"""The simulated world: one coordinator at a time, its workers and clients, the disk, and everything that goes wrong.

An episode is a fresh world with a profile of its own, made from a seed and nothing else: the same seed gives the same
episode. ``run`` plays episodes until so many events have gone through ``Machine.step``.
"""

from collections import Counter, deque
from collections.abc import Callable

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.lifecycle import Residency
from protocol import messages as m
from protocol.settings import ModelSettings, Settings
from protocol.views import SessionView
from tests.simulation.clients import Client
from tests.simulation.coordinator import Coordinator
from tests.simulation.disk import Disk
from tests.simulation.faults import CRASHES_A_BARRIER, Faults
from tests.simulation.ledger import Ledger
from tests.simulation.network import Network, Weather
from tests.simulation.schedule import Schedule
from tests.simulation.violation import Violation, must
from tests.simulation.workers import Worker, words_for

EPISODE_EVENTS = 10_000
# Everything that waits is served within this, once nothing goes wrong any more: the longest wait is a worker's for its
# endpoint, and a session may be last in line behind several of them.
QUIET_S = 600.0
TRACE = 40
MODELS = {
    name: ModelSettings(provider="openai", model="m", base_url=f"http://127.0.0.1:{n}/v1")
    for n, name in enumerate(("m", "other"), start=1)
}
AT_REST = frozenset({Residency.LIVE, Residency.HIBERNATED, Residency.FAILED, Residency.STOPPED})


class World:
    """One episode.

    Args:
        seed: what it is made from.
        is_watched: check the invariants; otherwise only the ledger is kept, as people outside could.
    """

    def __init__(self, seed: str, *, is_watched: bool = True) -> None:
        self.seed = seed
        self.is_watched = is_watched
        self.time = Schedule(seed)
        rng = self.time.rng
        on_interrupt = rng.choice(("ask", "ask", "resume"))
        self.settings = Settings(
            default_model="m",
            models=MODELS,
            max_active_sessions=rng.randint(2, 6),
            restart_limit=rng.choice((5, 1_000_000)),
            restart_limit_total=rng.choice((20, 1_000_000)),
            on_interrupt=on_interrupt,
            idle_hibernate_s=rng.choice((0, 2, 900)),
            max_concurrent_api_calls=rng.randint(1, 3),
            metrics_port=1,
            hook_requires_action=["tell-requires_action"],
            hook_failed=["tell-failed"],
            hook_completed=["tell-completed"],
        )
        self.most_sessions = rng.randint(2, 10)
        self.think_s = rng.choice((0.05, 0.3, 1.0))
        self.disk = Disk()
        self.ledger = Ledger(2 if on_interrupt == "resume" else 1, self.settings.max_concurrent_api_calls)
        self.faults = Faults(self)
        self.network = Network(self, Weather())
        self.coordinator: Coordinator | None = None
        self.workers: list[Worker] = []
        self.workers_by_peer: dict[bytes, Worker] = {}
        self.clients = [Client(self, n) for n in range(rng.randint(1, 4))]
        self.clients_by_peer: dict[bytes, Client] = {}
        self.closed: dict[str, bool] = {}
        self.spawned: dict[str, int] = {}
        self.fat_tools: set[tuple[str, int]] = set()
        self.events = self.crashes = 0
        self.trace: deque[tuple[float, object]] = deque(maxlen=TRACE)
        self._ids = 100
        self._crashes_at_barrier = 0

    # ---- the run

    def play(self) -> None:
        """Let EPISODE_EVENTS happen, with barriers between, and one at the end.

        Raises:
            Violation: something that must hold did not; says where, and how to see it again.
        """
        try:
            self._boot()
            self.faults.storm()
            self.faults.strike()
            self._begin_clients()
            while self.events < EPISODE_EVENTS:
                self.time.run_next()
                if self.crashes - self._crashes_at_barrier >= CRASHES_A_BARRIER:
                    self._quiet()
                    self.faults.storm()
                    self._begin_clients()
            self._quiet()
        except Violation as violation:
            story = self._story()
            raise Violation(violation.claim, story, self.events, self.crashes) from violation

    def _quiet(self) -> None:
        """Stop the clients, let everything drain, and compare the books."""
        for client in self.clients:
            client.leave()
        self.faults.calm()
        self._take_out_pins()
        until_s = self.time.now_s + QUIET_S
        while not self._is_at_rest() and self.time.now_s < until_s:
            self._say_yes()
            next_s = self.time.now_s + 1.0
            while self.time.now_s < next_s:
                self.time.run_next()
        must(self._is_at_rest(), "everybody is quiet and something still waits", *self._what_waits())
        self.ledger.is_settled_on(self.disk)
        self.ledger.counts["quiet barriers"] += 1
        self._crashes_at_barrier = self.crashes

    def _say_yes(self) -> None:
        """Everything that waits for a person gets its answer."""
        self.tell(ev.Ticked(self.time.wall_s))  # what time alone brings is not laid at the judge's door
        self.tell(ev.ClientSpoke(b"judge", m.ClientHello(client="judge", pid=1)))
        for key, row in self.disk.asks.items():
            if row.decision is None and not row.is_over:
                approve = self.time.chance(0.5)
                order = m.Decide(
                    request=1, ask=key, approve=approve, idem=f"judge-{key}", answer=words_for(key) if approve else None
                )
                self.tell(ev.ClientSpoke(b"judge", order))

    def _take_out_pins(self) -> None:
        """Pinned sessions keep their slots for ever, so for those in line somebody has to take the pins out."""
        for row in self.disk.sessions.values():
            row.pinned = False
        for session in self.coordinator.machine.world.sessions.values() if self.coordinator else ():
            session.is_pinned = False

    def _is_at_rest(self) -> bool:
        return (
            self.coordinator is not None
            and not next(self.disk.unanswered(), None)
            and self.coordinator.is_idle
            and self.coordinator.machine.world.governor.in_use == 0  # whatever happened, every permit came back
            and all(s.residency in AT_REST for s in self.coordinator.machine.world.sessions.values())
        )

    def _what_waits(self) -> list[object]:
        sessions = [] if self.coordinator is None else list(self.coordinator.machine.world.sessions.values())
        governor = None if self.coordinator is None else self.coordinator.machine.world.governor
        permits = governor and (governor._held, governor._line)
        return [
            list(self.disk.unanswered()),
            permits,
            [(s.id, s.residency.value, s.turn, list(s.waiting)) for s in sessions],
        ]

    def _story(self) -> str:
        told = "\n".join(f"  {at_s:.4f} {event!r:.400}" for at_s, event in self.trace)
        again = f"python -m tests.simulation --seed {self.seed}"
        return f"at event {self.events} after {self.crashes} crashes; again: {again}\n{told}"

    # ---- notes

    def count(self, event: ev.Event) -> None:
        """Note an event that goes into the core."""
        self.events += 1
        self.trace.append((self.time.now_s, event))
        kind = type(event)
        if kind is ev.ClientSpoke or kind is ev.WorkerSpoke:
            kind = type(event.message)
        elif kind is ev.Committed or kind is ev.CommitFailed:
            self.ledger.counts[f"{kind.__name__} {type(event.change).__name__}"] += 1
            if kind is ev.Committed and type(event.change) is e.InsertReply:
                self.ledger.counts[f"turns {event.change.stop_reason}"] += 1
            return
        self.ledger.counts[kind.__name__] += 1

    def crash(self, what: str) -> None:
        """Note a crash."""
        self.crashes += 1
        self.ledger.counts[what] += 1
        self.trace.append((self.time.now_s, what))

    # ---- processes

    def _boot(self) -> None:
        if self.coordinator is None:
            self.coordinator = Coordinator(self)
            self.coordinator.begin()

    def coordinator_ends(self, why: str | None) -> None:
        """The process is gone; another one is started."""
        if self.coordinator is not None:
            if why is not None:
                self.ledger.counts[why] += 1
            self.coordinator.crash()
            self.coordinator = None
            self.ledger.is_on(self.disk)
            self.time.soon(self.time.rng.choice((0.02, 0.3, 3.0)), self._boot)

    def tell(self, event: ev.Event) -> None:
        """Something happens to the coordinator, if there is one."""
        if self.coordinator is not None:
            self.coordinator.post(event)

    def fork(self, order: e.SpawnWorker) -> Worker:
        """A worker process begins."""
        worker = Worker(self, order.session, order.epoch, order.token, self.next_id())
        self.workers = [w for w in self.workers if w.is_alive]
        self.workers.append(worker)
        self.workers_by_peer[worker.peer] = worker
        return worker

    def living(self) -> list[Worker]:
        """Return the worker processes that live, stopped ones too."""
        return [worker for worker in self.workers if worker.is_alive]

    def buried(self, worker: Worker, signal: str | None, code: int | None) -> None:
        """A worker process has ended; its coordinator, if it has one, will see it."""
        coordinator = self.coordinator
        if coordinator is not None and worker.is_announced:
            self.time.soon(0.05, coordinator.bury, worker, signal, code)

    def knows_its_history(self, session: str, known: list[list[int | str]]) -> None:
        """5: whoever wakes knows every prompt that was over when it was let in, and how, once and in order."""
        row = self.disk.sessions.get(session)
        if row is not None:
            seqs = [seq for seq, _ in known]
            must(seqs == sorted(set(seqs)), "5: a worker knows an exchange twice", session, seqs)
            for seq, text in known:
                must(row.replies[seq].text == text, "5: a worker knows another reply", session, seq, text)

    # ---- messages

    def arrive(self, peer: bytes, message: m.ToClient | m.ToWorker) -> None:
        """The coordinator's message reaches its peer, if that is still there."""
        worker = self.workers_by_peer.get(peer)
        if worker is not None:
            worker.run(worker.hear, message)
            return
        client = self.clients_by_peer.get(peer)
        if client is not None and client.is_awake:
            client.hear(message)

    def forge(self) -> None:
        """Somebody who is not the worker speaks in its name."""
        if not self.disk.sessions:
            return
        session = self.time.rng.choice(list(self.disk.sessions))
        epoch = max(1, self.disk.sessions[session].epoch - self.time.rng.randrange(2))
        forged: tuple[Callable[[], m.WorkerSays], ...] = (
            lambda: m.Hello(session=session, epoch=epoch, token=b"guessed", pid=1),
            lambda: m.Started(session=session, epoch=epoch, seq=1, turn_id="forged"),
            lambda: m.Ping(session=session, epoch=epoch, state="idle", turn_id=None, loop_lag_ms=0),
        )
        self.network.from_worker(b"stranger", self.time.rng.choice(forged)())

    # ---- clients

    def _begin_clients(self) -> None:
        for client in self.clients:
            self.wake_client(client)

    def wake_client(self, client: Client) -> None:
        """Somebody sits down, unless everybody shall be quiet."""
        if not self.faults.is_calm and not client.is_awake:
            client.begin()

    @property
    def open_sessions(self) -> list[str]:
        """Sessions that are not closed, as far as the disk knows."""
        return [key for key, row in self.disk.sessions.items() if not row.closed]

    def told_deleted(self, session: str) -> None:
        """A client was told that the session is no more."""
        must(session not in self.disk.sessions, "a session that was deleted is there", session)
        self.ledger.counts["sessions deleted"] += 1

    def told_forked(self, made: SessionView) -> None:
        """A client was told of a fork: it begins with turns of its source, each whole and in order, and is durable."""
        row, source = self.disk.sessions.get(made.id), self.disk.sessions.get(made.parent.session)
        self.ledger.counts["forks made"] += 1
        if row is None or source is None:
            must(made.id in self.ledger.doomed or source is None, "a fork is told and not there", made)
            return
        turns = [(source.rows[seq - 1].text, source.replies[seq].text) for seq in sorted(source.replies)]
        copied = [(row.rows[i].text, row.rows[i + 1].text) for i in range(0, len(row.rows) - 1, 2)]
        copied = copied[: sum((r.idem or "").startswith("copied-") for r in row.rows)]
        rest = iter(turns)
        must(all(turn in rest for turn in copied), "a fork says what its source never said", made, copied, turns)

    def told_imported(self, made: SessionView) -> None:
        """A client was told of an import: it is durable, and whole."""
        row = self.disk.sessions.get(made.id)
        self.ledger.counts["imports made"] += 1
        must(row is not None or made.id in self.ledger.doomed, "an import is told and not there", made)
        if row is not None:
            must([r.text for r in row.rows[:2]] == ["asked there", "said"], "an import is not whole", made, row.rows)

    def told_closed(self, session: str) -> None:
        """A client was told that the session is closed: from here on it must be."""
        self.closed[session] = True

    def pid_of(self, session: str) -> int:
        """Return the pid of the process that a person sees for a session; another's, if there is none."""
        known = None if self.coordinator is None else self.coordinator.machine.world.sessions.get(session)
        return known.pid if known is not None and known.pid is not None else 1

    def told_gone(self, order: m.Kill | m.RestartWorker) -> None:
        """A client was told that a process is gone: from here on it must be."""
        watched = {} if self.coordinator is None else self.coordinator.watched
        left = [w for w in watched.values() if w.is_alive and (w.session, w.pid) == (order.session, order.pid)]
        must(not left, "a worker that was said to be dead lives", order)
        self.ledger.counts[f"told that a worker is gone by {type(order).__name__}"] += 1

    def next_id(self) -> int:
        """Return a number that was not used before."""
        self._ids += 1
        return self._ids


def run(seed: str, events: int, *, is_watched: bool = True) -> tuple[int, int, Counter[str]]:
    """Play episodes ``SEED/0``, ``SEED/1``, … until so many events have happened.

    Args:
        seed: any text; one with a slash names a single episode, which is played alone.
        events: how many at least; episodes are played to their end.
        is_watched: as for a world.

    Returns:
        How many events and crashes there were, and how many of each kind.

    Raises:
        Violation: something that must hold did not.
    """
    counts: Counter[str] = Counter()
    done = crashes = episode = 0
    while done < events:
        world = World(seed if "/" in seed else f"{seed}/{episode}", is_watched=is_watched)
        try:
            world.play()
        except Violation as violation:
            violation.events += done
            violation.crashes += crashes
            raise
        done += world.events
        crashes += world.crashes
        episode += 1
        counts += world.ledger.counts
        if "/" in seed:
            break
    return done, crashes, counts
