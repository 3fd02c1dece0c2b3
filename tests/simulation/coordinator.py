"""One coordinator process: the real ``Machine``, and what its shell does with orders: commit, spawn, signal, send.

Nothing here survives ``crash``: the inbox, timers, the queue of the store and what it has committed but not told.
"""

from collections import deque
from typing import TYPE_CHECKING

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.machine import Machine
from coordinator.core.prices import report
from protocol import messages as m
from protocol.views import ErrorView
from tests.simulation.invariants import Invariants, Unwatched
from tests.simulation.violation import Violation, must
from tests.simulation.workers import PIXEL, Worker

if TYPE_CHECKING:
    from tests.simulation.world import World

Question = (
    e.SendHistory | e.SendHistoryBack | e.SendRestore | e.SendPrompt | e.SendContinue | e.SendAskFate | e.SendTurnEnd
)
TICK_S = 1.0
GROUP = 64
PROBE_S = 1.0
PAGE = 20
ENDPOINT = m.Endpoint(
    provider="openai", base_url="http://127.0.0.1:1/v1", model="m", api_key=None, context_tokens=None,
    max_output_tokens=None,
)  # fmt: skip


class Coordinator:
    """One boot.

    Args:
        world: everything around it.
    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.machine = Machine(world.settings)
        self.invariants = (Invariants if world.is_watched else Unwatched)(world, self)
        self.is_alive = True
        self.is_frozen = False
        self.watched: dict[tuple[str, int], Worker] = {}
        self._inbox: deque[ev.Event] = deque()
        self._jobs: deque[e.Change | Question] = deque()
        self._is_committing = self._is_read_only = False
        self._perform = {
            e.SendClient: self._send_client,
            e.SendWorker: self._send_worker,
            e.Commit: self._commit,
            e.SendHistory: self._ask_store,
            e.SendHistoryBack: self._ask_store,
            e.SendRestore: self._ask_store,
            e.SendContinue: self._ask_store,
            e.SendPrompt: self._ask_store,
            e.SendAskFate: self._ask_store,
            e.SendTurnEnd: self._ask_store,
            e.DropFiles: self._note,
            e.SendStatus: self._send_status,
            e.SendFound: self._send_found,
            e.SendUsage: self._send_usage,
            e.SendInspection: self._send_inspection,
            e.SendTop: self._send_top,
            e.PassStacks: self._pass_stacks,
            e.RunHook: self._run_hook,
            e.TellFigures: self._tell_figures,
            e.ObserveTurn: self._observe_turn,
            e.ObserveExit: self._observe_exit,
            e.SendEndpoint: self._send_endpoint,
            e.SpawnWorker: self._spawn,
            e.EndWorker: self._signal,
            e.EndTools: self._end_tools,
            e.EndModelServers: self._note,
            e.DropOutbox: self._drop_outbox,
            e.StartTimer: self._start_timer,
            e.Note: self._note,
            e.LeaveLoop: self._leave,
        }

    def begin(self) -> None:
        """Adopt what lives, read what the dead left, and boot."""
        disk = self.world.disk
        disk.boots += 1
        disk.staged.clear()
        stored = disk.load()
        for worker in self.world.workers:
            row = disk.sessions.get(worker.session)
            if row is not None and worker.is_alive and (row.epoch, row.pid) == (worker.epoch, worker.pid):
                worker.is_announced = True
                self.watched[worker.session, worker.epoch] = worker
        if self.world.time.chance(0.2):  # an upgrade: what lives is of the version before
            for worker in self.watched.values():
                worker.version = "the one before"
        self.invariants.booting()
        alive = frozenset(session for session, _ in self.watched)
        left = {key: tuple(records) for key, records in disk.outboxes.items() if key not in self.watched}
        self.step(ev.Booted(disk.boots, "node", self.world.time.wall_s, stored, dict(disk.active), alive, left))
        self.invariants.booted(stored)
        self._tick()
        self.world.network.flush()

    def crash(self) -> None:
        """SIGKILL."""
        self.is_alive = False

    @property
    def queued(self) -> list[e.Change]:
        """Changes that are ordered and not durable."""
        return [job for job in self._jobs if not isinstance(job, Question)]

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is on its way to the store."""
        return not self._jobs and not self.machine.world.unsaved

    # ---- get, step, perform

    def post(self, event: ev.Event) -> None:
        """An event reaches the inbox."""
        if self.is_frozen:
            self._inbox.append(event)
        elif self.is_alive:
            self.step(event)

    def thaw(self) -> None:
        """SIGCONT after SIGSTOP: what came meanwhile is there, and the tick that was due."""
        self.is_frozen = False
        if self.is_alive:
            self._inbox.insert(self.world.time.rng.randrange(len(self._inbox) + 1), ev.Ticked(self.world.time.wall_s))
        while self._inbox and self.is_alive:
            self.step(self._inbox.popleft())

    def step(self, event: ev.Event) -> None:
        """Let the core decide, and do what it orders."""
        world = self.world
        world.count(event)
        before = self.invariants.before(event)
        try:
            effects = self.machine.step(event, world.time.now_s)
        except Exception as error:
            raise Violation(f"an exception left Machine.step: {error!r}") from error
        for effect in effects:
            self._perform[type(effect)](effect)
        self.invariants.after(event, effects, before)

    def _tick(self) -> None:
        if self.is_alive:
            if not self.is_frozen:
                self.step(ev.DescriptorsCounted(95 if self.world.faults.descriptors_are_short else 10, 100))
                self.step(ev.Ticked(self.world.time.wall_s))
                self._look_at_memory()
                if self.world.time.chance(0.1):
                    self.step(ev.Scraped(self.world.disk.boots))
            self.world.time.after(TICK_S, self._tick)

    def _look_at_memory(self) -> None:
        """What the monitor does: some workers are read, and the machine."""
        for worker in list(self.watched.values()):
            if worker.is_alive and self.world.time.chance(0.5):
                self.step(self.world.faults.memory_of(worker))
        self.step(self.world.faults.memory_of_all())

    # ---- messages

    def _send_client(self, effect: e.SendClient) -> None:
        self.invariants.said_to_client(effect.peer, effect.message)
        self.world.network.to_peer(effect.peer, effect.message)

    def _send_worker(self, effect: e.SendWorker) -> None:
        self.invariants.said_to_worker(effect.peer, effect.message)
        self.world.network.to_peer(effect.peer, effect.message)

    def _send_status(self, effect: e.SendStatus) -> None:
        self.world.network.to_peer(effect.peer, m.Done(request=effect.request))

    def _send_found(self, effect: e.SendFound) -> None:
        self.world.network.to_peer(effect.peer, m.Found(request=effect.request, rows=[], more=False))

    def _send_usage(self, effect: e.SendUsage) -> None:
        usage = report([], self.world.settings.all_models(), effect.since)
        self.world.network.to_peer(effect.peer, m.UsageAnswer(request=effect.request, usage=usage))

    def _send_inspection(self, effect: e.SendInspection) -> None:
        answer = m.InspectAnswer(request=effect.request, inspection=effect.inspection)
        self.world.network.to_peer(effect.peer, answer)

    def _send_top(self, effect: e.SendTop) -> None:
        must(len(effect.answer.sessions) == len(effect.epochs), "top: a row without its process", effect)
        self.world.network.to_peer(effect.peer, effect.answer)

    def _pass_stacks(self, effect: e.PassStacks) -> None:
        self.world.ledger.counts["stacks told"] += 1

    def _run_hook(self, effect: e.RunHook) -> None:
        must(effect.words == (f"tell-{effect.event}",), "a hook that was not asked for", effect)
        self.world.ledger.counts[f"hook {effect.event}"] += 1

    def _tell_figures(self, effect: e.TellFigures) -> None:
        figures, world = effect.figures, self.machine.world
        must(sum(figures.residencies.values()) == len(world.sessions), "figures: sessions not counted once", figures)
        must(sum(figures.works.values()) == figures.sessions.live, "figures: works are not those of holders", figures)
        self.world.ledger.counts["scrapes"] += 1

    def _observe_turn(self, effect: e.ObserveTurn) -> None:
        told = [effect.committed_s, effect.started_s, effect.first_piece_s, effect.ended_s]
        times = [at_s for at_s in told if at_s is not None]
        must(times == sorted(times), "a turn that ran backwards", effect)
        for use in effect.permits:
            spans = [at_s for at_s in use if at_s is not None]
            must(spans == sorted(spans), "a request that ran backwards", effect)
        self.world.ledger.counts["turns observed"] += 1

    def _observe_exit(self, effect: e.ObserveExit) -> None:
        must(effect.cause in {"ordered", "by_hand", "memory", "silent", "crash"}, "an unbounded label", effect)
        self.world.ledger.counts[f"exit {effect.cause}"] += 1

    def _send_endpoint(self, effect: e.SendEndpoint) -> None:
        answer: m.Endpoint | m.EndpointRefused = ENDPOINT
        if self.world.time.chance(0.02):
            answer = m.EndpointRefused(error=ErrorView(code="model.unavailable", message="Nobody answers there."))
        self.world.network.to_peer(effect.peer, answer)

    def _note(self, effect: e.Note | e.EndModelServers) -> None:
        pass

    # ---- the store

    def _commit(self, effect: e.Commit) -> None:
        self.invariants.ordered(effect.change)
        self._ask_store(effect.change)

    def _ask_store(self, job: "e.Change | Question") -> None:
        self._jobs.append(job)
        if not self._is_committing:
            self._is_committing = True
            self.world.time.after(self.world.faults.commit_s(), self._transaction)

    def _transaction(self) -> None:
        """All or nothing; then it is told, unless the process dies in between."""
        if not self.is_alive:
            return
        if self.is_frozen:
            self.world.time.after(TICK_S, self._transaction)
            return
        if self.world.faults.kills_coordinator_here("before COMMIT"):
            return
        jobs = [self._jobs.popleft() for _ in range(min(GROUP, len(self._jobs)))]
        self._is_committing = bool(self._jobs)
        if self._is_committing:
            self.world.time.after(self.world.faults.commit_s(), self._transaction)
        is_full = self.world.faults.disk_is_full
        told: list[ev.Event] = []
        if is_full != self._is_read_only:
            self._is_read_only = is_full
            told.append(ev.StoreTurned("disk full" if is_full else None))
            if is_full:
                self.world.time.after(PROBE_S, self._probe)
        for job in jobs:
            if isinstance(job, Question):
                self._answer(job)
            elif is_full:
                told.append(ev.CommitFailed(job, "disk full"))
            elif not self.world.disk.knows(job):
                told.append(ev.CommitFailed(job, "no such session", is_final=True))
            else:
                told.append(ev.Committed(job, self.world.disk.apply(job)))
        if self.world.faults.kills_coordinator_here("between COMMIT and what follows"):
            return
        for event in told:
            self.post(event)

    def _probe(self) -> None:
        """A store that is read-only tries again by itself."""
        if self._is_read_only and self.is_alive:
            if self.world.faults.disk_is_full or self.is_frozen:
                self.world.time.after(PROBE_S, self._probe)
            else:
                self._is_read_only = False
                self.post(ev.StoreTurned(None))

    def _answer(self, job: "Question") -> None:
        if isinstance(job, e.SendAskFate):
            self._tell_fate(job)
            return
        if job.session not in self.world.disk.sessions:
            return
        if isinstance(job, e.SendRestore):
            self._restore(job)
            return
        if isinstance(job, e.SendPrompt):
            row = self.world.disk.sessions[job.session].rows[job.seq - 1]
            must(row.has_images, "a prompt without images is looked up", job)
            prompt = m.Deliver(seq=job.seq, text=row.text, images=[PIXEL])
            self.world.network.to_peer(job.peer, prompt)
            return
        if isinstance(job, e.SendContinue):
            state = self.world.disk.state_of(job.session, job.seq, job.leg)
            if state is not None:
                self.invariants.said_to_worker(job.peer, state)
                self.world.network.to_peer(job.peer, state)
            return
        if isinstance(job, e.SendTurnEnd):
            reply = self.world.disk.sessions[job.session].replies.get(job.seq)
            if reply is not None:
                told = m.Cancelled(request=job.request, session=job.session, seq=job.seq, stop_reason=reply.stop_reason)
                self.world.network.to_peer(job.peer, told)
            return
        rows = self.world.disk.sessions[job.session].rows
        if isinstance(job, e.SendHistory):
            page = self.world.disk.history(job.session, job.after_seq + 1, job.after_seq + PAGE)
            more = job.after_seq + PAGE < len(rows)
            answer: m.History | m.HistoryBack = m.History(
                request=job.request, session=job.session, rows=page, more=more
            )
        else:
            last = len(rows) if job.before_seq is None else job.before_seq - 1
            page = self.world.disk.history(job.session, last - PAGE + 1, last)
            # A worker asks its way back to the first row; two pages show that it does.
            answer = m.HistoryBack(rows=page, more=last > PAGE and job.before_seq is None)
        self.world.network.to_peer(job.peer, answer)

    def _tell_fate(self, job: e.SendAskFate) -> None:
        row = self.world.disk.asks.get(job.ask)
        said = row.decision if row is not None else None
        answer: m.ToClient = m.Refused(request=job.request, code="ask.unknown", message="There is no such ask.")
        if row is not None and said is not None and said.idem == job.idem:
            answer = m.Decided(
                request=job.request, ask=job.ask, session=row.session, tool="run_command", approved=said.approved
            )
        elif row is not None:
            answer = m.Refused(request=job.request, code="ask.resolved", message="It is answered.")
        self.world.network.to_peer(job.peer, answer)

    def _restore(self, job: e.SendRestore) -> None:
        """The newest snapshot but some, with all that came after it."""
        stored = self.world.disk.sessions[job.session]
        found = stored.snapshots[::-1][job.skip :][:1]
        snapshot = found[0].data if found else None
        first = found[0].through_seq + 1 if found else len(stored.rows) - PAGE + 1
        rows = self.world.disk.history(job.session, first, len(stored.rows))
        self.world.network.to_peer(job.peer, m.Restore(snapshot=snapshot, rows=rows, more=not found and first > 1))

    # ---- processes

    def _spawn(self, order: e.SpawnWorker) -> None:
        self.invariants.spawned(order)
        self.world.time.soon(self.world.faults.spawn_s, self._start, order)

    def _start(self, order: e.SpawnWorker) -> None:
        """The launcher does it; of orders that a dead coordinator left, it may still do some."""
        world = self.world
        if not self.is_alive and world.time.chance(0.5):
            return
        if world.faults.spawn_fails():
            event = ev.SpawnFailed(order.session, order.epoch, "fork: no memory", fatal=world.time.chance(0.1))
            self.post(event)
            return
        worker = world.fork(order)
        world.time.after(world.faults.birth_s(), worker.run, worker.begin)
        world.time.soon(0.01, self._announce, worker)

    def _announce(self, worker: Worker) -> None:
        if self.is_alive:
            worker.is_announced = True
            self.watched[worker.session, worker.epoch] = worker
            self.post(ev.WorkerSpawned(worker.session, worker.epoch, worker.pid, 1))
            if not worker.is_alive:
                self.world.buried(worker, "SIGKILL", None)

    def bury(self, worker: Worker, signal: str | None, code: int | None) -> None:
        """A process that is watched has ended: read what it left, and tell."""
        if self.is_alive and self.watched.pop((worker.session, worker.epoch), None) is not None:
            left = tuple(self.world.disk.outboxes.get((worker.session, worker.epoch), ()))
            kind = "exited" if signal is None else "signaled"
            self.post(ev.WorkerExited(worker.session, worker.epoch, kind, signal, code, "", left))

    def _signal(self, order: e.EndWorker) -> None:
        worker = self.watched.get((order.session, order.epoch))
        if worker is not None:
            self.world.time.soon(0.01, worker.take_signal, order.signal)

    def _end_tools(self, order: e.EndTools) -> None:
        self.world.ledger.counts["tools ended"] += 1
        self.world.fat_tools.discard((order.session, order.epoch))

    def _drop_outbox(self, order: e.DropOutbox) -> None:
        self.invariants.dropped(order)
        self.world.disk.outboxes.pop((order.session, order.epoch), None)

    # ---- time

    def _start_timer(self, order: e.StartTimer) -> None:
        self.world.time.after(order.delay_s, self.post, ev.TimerFired(order.key))

    def _leave(self, order: e.LeaveLoop) -> None:
        """Flush the store and end."""
        if order.error is None:
            if not order.keeps_workers:
                self.invariants.left()
            while self._jobs and not self.world.faults.disk_is_full:
                job = self._jobs.popleft()
                if not isinstance(job, Question) and self.world.disk.knows(job):
                    self.world.disk.apply(job)
        self.world.coordinator_ends("coordinator left its workers" if order.keeps_workers else "coordinator left")
