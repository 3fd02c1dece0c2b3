"""Every decision of the coordinator: ``Machine.step(event, now_s) -> effects``. Pure; tested without a process.

Handlers live by topic: ``requests`` (clients), ``prompts``, ``turns`` and ``endings`` (a prompt's way to its reply
or its mark), ``workers`` (processes), ``storage`` (a store that cannot write). Here is only who handles what.
"""

from collections.abc import Iterator

from coordinator.core import (
    asks,
    cancelling,
    closing,
    copying,
    endings,
    governing,
    hibernation,
    hooks,
    local_use,
    marks,
    memory,
    observing,
    prompts,
    renewing,
    reports,
    requests,
    steering,
    storage,
    turns,
    workers,
)
from coordinator.core.effects import (
    BumpEpoch,
    DeleteSession,
    Effect,
    InsertAsks,
    InsertFork,
    InsertImported,
    InsertPrompt,
    InsertReply,
    InsertRetry,
    InsertSession,
    LeaveLoop,
    SaveClosed,
    SaveDecision,
    SaveMark,
    SaveName,
    SaveResumed,
    SaveRoster,
    SaveSnapshot,
    SendClient,
    SendWorker,
    StageRows,
    StartTimer,
)
from coordinator.core.events import (
    Booted,
    ClientSpoke,
    CommitFailed,
    Committed,
    DescriptorsCounted,
    Event,
    MemorySampled,
    Outcome,
    Scraped,
    SpawnFailed,
    StopAsked,
    StoredSession,
    StoreEnded,
    StoreTurned,
    SystemSampled,
    Ticked,
    TimerFired,
    WorkerExited,
    WorkerSpawned,
    WorkerSpoke,
    ZygoteLost,
)
from coordinator.core.lifecycle import Residency
from coordinator.core.providers import provider_of
from coordinator.core.residency import end, is_wanted_awake, rest_idle, tend, wake
from coordinator.core.restarts import RestartBudget
from coordinator.core.showing import refusal, tell
from coordinator.core.world import Prompt, Session, World
from protocol import messages as m
from protocol.errors import ChatCoordError, IllegalTransition
from protocol.settings import Settings


class Machine:
    """The coordinator's mind.

    Args:
        settings: what is configured.
        pid: the coordinator's own, which clients are told.
    """

    def __init__(self, settings: Settings, pid: int = 0) -> None:
        self.world = World(settings)
        self._pid = pid

    def step(self, event: Event, now_s: float) -> list[Effect]:
        """Take in one fact and return the orders that follow from it, in the order in which they must be carried out.

        Args:
            event: what happened.
            now_s: monotonic time in seconds.
        """
        workers.notice_stall(self.world, now_s)
        effects = list(self._handle(event, now_s))
        effects.extend(tend(self.world))
        effects.extend(self._tell_listeners(now_s))
        return effects

    def _handle(self, event: Event, now_s: float) -> Iterator[Effect]:
        match event:
            case ClientSpoke():
                yield from self._on_client(event, now_s)
            case WorkerSpoke():
                yield from self._on_worker(event, now_s)
            case Committed():
                yield from self._on_committed(event, now_s)
            case CommitFailed():
                yield from storage.on_commit_failed(self.world, event, now_s)
            case StoreTurned():
                yield from storage.on_turned(self.world, event, now_s)
            case StoreEnded():
                yield LeaveLoop(error=f"the store ended: {event.reason}")
            case WorkerSpawned():
                yield from workers.on_spawned(self.world, event, now_s)
            case SpawnFailed():
                yield from workers.on_spawn_failed(self.world, event, now_s)
            case WorkerExited():
                yield from workers.on_exit(self.world, event, now_s)
            case MemorySampled() | SystemSampled() | ZygoteLost():
                yield from memory.on_told(self.world, event, now_s)
            case TimerFired():
                yield from self._on_timer(event, now_s)
            case Ticked():
                yield from self._on_tick(event, now_s)
            case DescriptorsCounted() | Scraped():
                yield from self._on_look(event, now_s)
            case StopAsked():
                yield from workers.start_drain(self.world, is_urgent=event.now)
            case Booted():
                yield from self._on_boot(event, now_s)

    # ---- sockets

    def _on_client(self, event: ClientSpoke, now_s: float) -> Iterator[Effect]:
        try:
            yield from requests.on_client(self.world, event.peer, event.message, self._pid, now_s)
        except ChatCoordError as error:
            number = getattr(event.message, "request", None)
            yield SendClient(event.peer, refusal(number, error))

    def _on_worker(self, event: WorkerSpoke, now_s: float) -> Iterator[Effect]:
        message = event.message
        if isinstance(message, m.Hello):
            yield from workers.on_hello(self.world, event, message, now_s)
            return
        session = self.world.sessions.get(message.session)
        if session is None or session.epoch != message.epoch or session.peer != event.peer:
            is_pinging_after_restart = isinstance(message, m.Ping) and session is not None and session.peer is None
            if is_pinging_after_restart and session is not None and session.epoch == message.epoch:
                yield SendWorker(event.peer, m.Pong(boot=self.world.boot))
            elif session is None or session.epoch != message.epoch:
                yield SendWorker(event.peer, m.Fenced(reason="There is a newer worker, or no such session."))
            return
        session.heard_s = now_s
        try:
            yield from reports.on_report(self.world, session, event.peer, message, now_s)
        except IllegalTransition as error:
            yield SendWorker(event.peer, refusal(None, error))

    # ---- the store

    def _on_committed(self, event: Committed, now_s: float) -> Iterator[Effect]:
        if isinstance(event.change, StageRows):
            yield SendClient(event.change.peer, m.Done(request=event.change.request))
            return
        self.world.unsaved.pop(storage.subject(event.change), None)  # a newer value is durable
        session = self.world.sessions.get(getattr(event.change, "session", None) or "")
        if session is None:
            return
        match event.change:
            case InsertSession():
                yield from requests.on_session_inserted(self.world, session, event.change, event.outcome, now_s)
            case InsertFork() | InsertImported():
                yield from copying.on_inserted(self.world, session, event.change, event.outcome)
            case BumpEpoch():
                yield from workers.on_epoch(self.world, session, event.outcome, now_s)
            case InsertPrompt() | InsertRetry():
                yield from prompts.on_prompt_committed(self.world, session, event.change, event.outcome, now_s)
            case InsertReply():
                yield from self._on_turn_over(session, event.change, event.outcome, now_s)
            case InsertAsks():
                yield from asks.on_asks_committed(self.world, session, event.change, now_s)
            case SaveDecision():
                yield from asks.on_decided(self.world, session, event.change, now_s)
            case SaveResumed():
                yield from endings.on_resume_saved(self.world, session, event.change.seq, now_s)
            case SaveRoster():
                yield from workers.on_enrolled(self.world, session, event.change, now_s)
            case SaveName():
                yield from requests.on_renamed(self.world, session, event.change)
            case SaveSnapshot():
                yield from hibernation.on_snapshot_committed(session, event.outcome)
            case SaveMark():
                yield from marks.on_marked(self.world, session, event.change)
            case DeleteSession():
                yield from marks.on_deleted(self.world, session, event.change, now_s)
            case SaveClosed():
                yield from closing.on_close_committed(self.world, session)
            case _:
                pass  # nobody waits for it

    def _on_turn_over(self, session: Session, reply: InsertReply, outcome: Outcome, now_s: float) -> Iterator[Effect]:
        if session.turn is not None and session.turn.seq == reply.reply_to:
            yield from asks.over(self.world, session, session.turn)
        yield from turns.on_reply_committed(self.world, session, reply, outcome, now_s)
        yield from cancelling.told(session, reply.reply_to)

    # ---- the clock

    def _on_timer(self, event: TimerFired, now_s: float) -> Iterator[Effect]:
        kind, name, epoch = event.key
        if kind == "drain":
            yield from workers.on_drain_over(self.world)
            return
        if kind == "permits":
            yield from governing.on_due(self.world, now_s)
            return
        session = self.world.sessions.get(name)
        if session is None:
            return
        match kind:
            case "start":
                yield from workers.on_start_deadline(self.world, session, epoch, now_s)
            case "kill":
                yield from workers.on_grace_over(session, epoch)
            case "backoff":
                yield from workers.on_backoff_over(self.world, session, epoch)
            case "cancel":
                yield from cancelling.on_deadline(self.world, session, epoch, now_s)
            case "snapshot":
                yield from hibernation.on_veto_over(session, epoch)

    def _on_tick(self, event: Ticked, now_s: float) -> Iterator[Effect]:
        self.world.wall_offset_s = event.wall_s - now_s
        self.world.ticked_s = now_s
        yield from workers.check_heartbeats(self.world, now_s)
        yield from turns.redeliver(self.world, now_s)
        yield from cancelling.watch(self.world, now_s)
        yield from asks.expire(self.world, now_s)
        yield from governing.serve(self.world, now_s)
        requests.forget_silent(self.world, now_s)
        yield from rest_idle(self.world, now_s)
        yield from storage.offer_again(self.world)
        yield from memory.on_tick(self.world, now_s)
        yield from local_use.on_tick(self.world, now_s)
        yield from renewing.on_tick(self.world)

    def _on_look(self, event: DescriptorsCounted | Scraped, now_s: float) -> Iterator[Effect]:
        if isinstance(event, Scraped):
            yield from observing.on_scraped(self.world, event, now_s)
        else:
            self.world.descriptors_used, self.world.descriptors_limit = event.used, event.limit

    # ---- birth

    def _on_boot(self, event: Booted, now_s: float) -> Iterator[Effect]:
        world = self.world
        world.boot = event.boot
        world.node = event.node
        world.wall_offset_s = event.wall_s - now_s
        world.active = dict(event.active)
        world.tokens_spent = event.tokens_spent
        local_use.begin(world, now_s)
        for stored in event.sessions:
            session = self._restored(stored, now_s, is_alive=stored.id in event.alive)
            world.add(session)
            if stored.leg is not None:
                asks.restore(world, session, stored.leg, now_s)
            if stored.id in event.alive:  # it may have a request under way that an earlier coordinator allowed
                world.governor.adopt(stored.id, provider_of(world.settings, stored.model))
        for (key, epoch), records in sorted(event.outboxes.items()):
            if key in world.sessions:
                yield from endings.take_outbox(world, world.sessions[key], epoch, records, now_s)
        for session in list(world.sessions.values()):
            if session.residency is Residency.STOPPING:  # closed, but its worker outlived the last coordinator
                yield from end(session)
                continue
            if session.has_process:
                yield StartTimer(("start", session.id, session.epoch), world.settings.start_timeout_s)
                continue
            if session.residency is Residency.STOPPED:
                yield from endings.cancel_waiting(world, session, now_s)
            yield from endings.end_orphaned_turns(world, session, now_s)
            if session.residency is Residency.FAILED:
                yield from endings.fail_all(world, session, now_s)
            if is_wanted_awake(world, session) and session.residency is Residency.HIBERNATED:
                yield from wake(world, session)

    def _restored(self, stored: StoredSession, now_s: float, *, is_alive: bool) -> Session:
        session = Session(
            id=stored.id,
            name=stored.name,
            number=stored.number,
            type=stored.type,
            model=stored.model,
            system=stored.system,
            cwd=stored.cwd,
            env=stored.env,
            created_at=stored.created_at,
            last_active_at=stored.last_active_at,
            restarts=RestartBudget(self.world.settings.restart_limit, self.world.settings.restart_window_s),
            epoch=stored.epoch,
            worker_epoch=stored.epoch,
            token_sha256=stored.token_sha256,
            unread=stored.unread,
            waiting_since=stored.last_active_at if stored.unread else None,
            messages=stored.messages,
            tokens=stored.tokens,
            exit_card=stored.exit_card,
            is_close_committed=stored.closed,
            is_pinned=stored.pinned,
            is_archived=stored.archived,
            draft=stored.draft,
            parent=stored.parent,
            origin=stored.origin,
            group=stored.group,
            template=stored.template,
            is_named=stored.is_named,
            proposed_type=stored.proposed_type,
            temperature=stored.temperature,
            has_words_for_name=stored.has_words_for_name,
        )
        session.waiting.extend(
            Prompt(p.seq, p.text, now_s, p.turn_id, p.crashes, p.resumed, has_images=p.has_images)
            for p in stored.unanswered
        )
        if is_alive:
            session.residency = Residency.STOPPING if stored.closed else Residency.WAKING
            session.has_process = session.is_enrolled = session.is_last_to_share = True
            session.pid = stored.pid
            session.heard_s = session.used_s = now_s
        elif stored.closed:
            session.residency = Residency.STOPPED
        elif stored.failed:
            session.residency = Residency.FAILED
        return session

    # ---- listeners

    def _tell_listeners(self, now_s: float) -> Iterator[Effect]:
        world = self.world
        moved, world.moved = world.moved, {}
        for key, (before, cause) in moved.items():
            session = world.sessions.get(key)
            if session is None or not session.is_committed:
                continue
            world.roll.show(session)
            yield from hibernation.answer_waiting(world, session)
            yield from steering.answer_waiting(world, session)
            if session.display == before:
                continue
            yield from hooks.on_change(world, session)
            world.changes += 1
            change = m.Changed(
                seq=world.changes,
                at=world.wall_s(now_s),
                session=session.id,
                name=session.name,
                before=before,
                after=session.display,
                cause=cause,
            )
            yield from tell(world, change)
