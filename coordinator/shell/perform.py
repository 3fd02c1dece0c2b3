"""Carries out what the core orders: one method for each effect, no decisions."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from coordinator.core import effects as e
from coordinator.core.events import Event, TimerFired
from coordinator.shell import monitor, records
from coordinator.shell.answers import Answers
from coordinator.shell.asking import Asking
from coordinator.shell.backups import Backups
from coordinator.shell.endpoints import Endpoints
from coordinator.shell.hooks import Hooks
from coordinator.shell.inspections import Inspections
from coordinator.shell.launchers.port import Launcher
from coordinator.shell.local_models import LocalModels
from coordinator.shell.observers import Observers
from coordinator.shell.router import Router
from coordinator.shell.store import Store
from coordinator.shell.supervisor import Supervisor
from protocol import messages as m
from protocol.codec import encode
from protocol.errors import StoreFailed
from protocol.failpoints import hit, is_armed
from protocol.launch import Fork
from protocol.outbox import outbox_path
from protocol.paths import Home
from protocol.settings import Settings
from protocol.version import __version__
from protocol.views import HistoryRow, ModelView, Status, StoreView

# The kernel's limit of a worker counts what is mapped, used or not, as stacks of threads and arenas are. With so much
# more than memory_hard_bytes it only stops what grows faster than the monitor looks.
RESERVE_BYTES = 256 << 20

log = logging.getLogger(__name__)


@dataclass
class Hands:
    """Everything that orders are carried out with."""

    home: Home
    settings: Settings
    boot: int
    pid: int
    clients: Router
    workers: Router
    store: Store
    launcher: Launcher
    supervisor: Supervisor
    endpoints: Endpoints
    local_models: LocalModels
    hooks: Hooks
    post: Callable[[Event], None]
    leave: Callable[[e.LeaveLoop], None]
    rejected: Callable[[], int]
    observers: Observers

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.backups = Backups(self.store, self._to_client)
        self._asking = Asking(self.store, self._to_client, self._to_worker)
        self._answers = Answers(self.store, self.settings, self._to_client)
        self.inspections = Inspections(self.supervisor, self.store, self._to_client)
        self._begun_s = time.monotonic()

    def perform(self, effect: e.Effect) -> None:
        """Carry out one order."""
        if not is_armed():
            self._perform(effect)
            return
        subject = getattr(effect, "message", None) or getattr(effect, "change", None) or effect
        hit(f"coordinator.before.{type(subject).__name__}")
        self._perform(effect)
        hit(f"coordinator.after.{type(subject).__name__}")

    def _perform(self, effect: e.Effect) -> None:
        match effect:
            case e.SendClient():
                self._to_client(effect.peer, effect.message)
            case e.SendWorker():
                self._to_worker(effect.peer, effect.message)
            case e.Commit():
                self.store.commit(effect.change)
            case e.SendHistory() | e.SendFound() | e.SendUsage():
                self._look_up(effect)
            case e.SendHistoryBack():
                self._send_history_back(effect)
            case e.SendPrompt() | e.SendContinue() | e.SendAskFate() | e.SendTurnEnd():
                self._asking.answer(effect)
            case e.SendRestore():
                self._send_restore(effect)
            case e.SendStatus():
                self._to_client(effect.peer, m.StatusAnswer(request=effect.request, status=self._status(effect)))
            case e.SendInspection():
                self.inspections.inspect(effect)
            case e.SendTop():
                self.inspections.top(effect)
            case e.PassStacks():
                self.inspections.hear(effect)
            case e.MakeBackup():
                self.backups.make(effect)
            case e.SendEndpoint():
                to_worker = functools.partial(self._to_worker, effect.peer)
                self.endpoints.find(effect.model, effect.rules, effect.temperature, to_worker)
            case e.StartTimer():
                self._loop.call_later(effect.delay_s, self.post, TimerFired(effect.key))
            case e.Note():
                log.info(effect.message, extra=dict(effect.facts))
            case e.LeaveLoop():
                self.leave(effect)
            case _:
                self._perform_on_processes(effect)

    def _perform_on_processes(self, effect: e.Effect) -> None:
        match effect:
            case e.SpawnWorker():
                self._spawn(effect)
            case e.EndWorker():
                self.supervisor.signal(effect.session, effect.epoch, effect.signal)
            case e.EndTools():
                self.supervisor.end_tools(effect.session, effect.epoch)
            case e.EndModelServers():
                self._end_model_servers(effect)
            case e.RunHook():
                self.hooks.run(effect)
            case e.TellFigures() | e.ObserveTurn() | e.ObserveExit():
                self.observers.tell(effect)
            case e.DropOutbox() | e.DropFiles():
                self._drop(effect)

    def _to_client(self, peer: bytes, message: m.ToClient) -> None:
        key = _state_of(message)
        self.clients.send(peer, encode(message), is_droppable=isinstance(message, m.Piece | m.ToolActivity), key=key)

    def _to_worker(self, peer: bytes, message: m.ToWorker) -> None:
        self.workers.send(peer, encode(message))

    def _spawn(self, order: e.SpawnWorker) -> None:
        self.observers.count_start()
        self.launcher.start(
            Fork(
                session=order.session,
                epoch=order.epoch,
                token=order.token,
                name=order.name,
                cwd=order.cwd,
                env=order.env,
                endpoint=self.workers.endpoint,
                log=str(self.home.logs / f"{order.session}.stderr"),
                events_log=str(self.home.logs / f"{order.session}.jsonl"),
                home=str(self.home.root),
                orphan_exit_s=self.settings.orphan_exit_s,
                data_bytes=self.settings.memory_hard_bytes + RESERVE_BYTES,
                log_level=self.settings.log_level,
            )
        )

    def _end_model_servers(self, order: e.EndModelServers) -> None:
        local = {name: model for name, model in self.settings.all_models().items() if model.provider == "local"}
        kept = [local[name] for name in order.kept if name in local]
        self.local_models.end_unused(kept, local.values() if order.keeps_others else None)

    def _look_up(self, order: e.SendHistory | e.SendFound | e.SendUsage) -> None:
        match order:
            case e.SendHistory():
                self._send_history(order)
            case e.SendFound():
                self._answers.found(order)
            case e.SendUsage():
                self._answers.usage(order)

    def _send_history(self, order: e.SendHistory) -> None:
        def answer(page: tuple[list[HistoryRow], bool]) -> None:
            rows, more = page
            self._to_client(order.peer, m.History(request=order.request, session=order.session, rows=rows, more=more))

        def failed(reason: str) -> None:
            error = StoreFailed(f"The history cannot be read: {reason}.")
            refusal = m.Refused(request=order.request, code=error.code, message=error.message, hint=error.hint)
            self._to_client(order.peer, refusal)

        self.store.ask(records.history_after(order.session, order.after_seq), answer, failed)

    def _send_history_back(self, order: e.SendHistoryBack) -> None:
        def answer(page: tuple[list[HistoryRow], bool]) -> None:
            self._to_worker(order.peer, m.HistoryBack(rows=page[0], more=page[1]))

        def failed(reason: str) -> None:
            log.error("history cannot be read", extra={"session": order.session, "reason": reason})

        self.store.ask(records.history_before(order.session, order.before_seq), answer, failed)

    def _send_restore(self, order: e.SendRestore) -> None:
        def answer(stored: records.Stored) -> None:
            self._to_worker(order.peer, m.Restore(snapshot=stored.snapshot, rows=stored.rows, more=stored.more))

        def failed(reason: str) -> None:
            log.error("snapshot cannot be read", extra={"session": order.session, "reason": reason})

        question = functools.partial(records.restore, session=order.session, skip=order.skip)
        self.store.ask(question, answer, failed)

    def _drop(self, order: e.DropOutbox | e.DropFiles) -> None:
        if isinstance(order, e.DropOutbox):
            outbox_path(self.home.outboxes, order.session, order.epoch).unlink(missing_ok=True)
            return
        for folder in (self.home.logs, self.home.outboxes):
            for path in folder.glob(f"{order.session}*"):
                path.unlink(missing_ok=True)

    def _status(self, order: e.SendStatus) -> Status:
        name = self.settings.default_model
        model = self.settings.all_models()[name]
        is_local = model.provider == "local"
        return Status(
            pid=self.pid,
            boot=self.boot,
            version=__version__,
            home=str(self.home.root),
            uptime_s=round(time.monotonic() - self._begun_s, 3),
            sessions=order.sessions,
            permits=order.permits,
            memory=msgspec.structs.replace(order.memory, coordinator_rss_bytes=monitor.own_rss_bytes()),
            store=StoreView(
                path=str(self.home.database),
                bytes=self.store.size_bytes,
                writable=self.store.fault is None,
                fault=self.store.fault.reason if self.store.fault else None,
                notice=self.store.notice,
            ),
            model=ModelView(
                name=name, provider=model.provider, server_pid=self.local_models.pid(model) if is_local else None
            ),
            rejected_frames=self.rejected(),
            launcher=self.settings.launcher,
            zygote=self.launcher.zygote(),
            metrics=self.observers.metrics,
            traces=self.observers.traces,
        )


def _state_of(message: m.ToClient) -> str | None:
    """Return what a message is the state of, so that only its last value waits for a slow client; None otherwise."""
    if isinstance(message, m.Changed):
        return message.session
    return "store" if isinstance(message, m.StoreState) else None
