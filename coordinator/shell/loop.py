"""The main loop. Start reading here.

Sockets, processes, timers and the store all put events into one inbox, and this loop is the only reader.
Decisions are made in ``coordinator.core.machine``; deeds are done in ``coordinator.shell.perform``.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from coordinator.core.effects import DropOutbox, LeaveLoop, Note, SendClient, SendWorker
from coordinator.core.events import (
    Booted,
    ClientSpoke,
    Event,
    StopAsked,
    StoredSession,
    Ticked,
    WorkerSpoke,
)
from coordinator.core.machine import Machine
from coordinator.core.showing import refusal
from coordinator.shell import monitor, output_files, supervised, tool_processes
from coordinator.shell.endpoints import Endpoints
from coordinator.shell.hooks import Hooks
from coordinator.shell.launchers.local import LocalLauncher
from coordinator.shell.launchers.port import Launcher
from coordinator.shell.launchers.spawn import SpawnLauncher
from coordinator.shell.local_models import LocalModels
from coordinator.shell.observers import Observers
from coordinator.shell.perform import Hands
from coordinator.shell.router import Router
from coordinator.shell.store import Contents, Store
from coordinator.shell.supervisor import Supervisor
from coordinator.shell.trees import Dead
from coordinator.shell.turnstile import Turnstile
from protocol import logs
from protocol.codec import Decoder, encode, request_of
from protocol.errors import AskRefused, BadMessage, Busy, ChatCoordError, StoreFailed
from protocol.extras import EXTRAS, MCP
from protocol.failpoints import hit
from protocol.messages import ClientSays, Create, Decide, Hello, Mark, WorkerSays
from protocol.outbox import Record, list_outboxes, outbox_path, read_outbox
from protocol.paths import Discovery, Home, make_private, runtime_folder, write_discovery
from protocol.processes import start_ticks
from protocol.settings import Settings

TICK_S = 1.0

log = logging.getLogger(__name__)


class Coordinator:
    """One coordinator, from its start to its end.

    Args:
        home: owned already.
        settings: checked already.
        private: the environment that children do not get.
        is_supervised: whether somebody watches this process and is told how things are.
    """

    def __init__(
        self, home: Home, settings: Settings, private: Mapping[str, str], *, is_supervised: bool = False
    ) -> None:
        self._told = private if is_supervised else {}
        self._home = home
        self._settings = settings
        self._private = private
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._leaving: LeaveLoop | None = None
        self._turnstile = Turnstile()
        self._clients_decoder: Decoder[ClientSays] = Decoder(ClientSays)
        self._workers_decoder: Decoder[WorkerSays] = Decoder(WorkerSays)

    async def run(self) -> bool:
        """Serve until asked to stop and every worker has left; say whether workers stay, for the next coordinator.

        Raises:
            ChatCoordError: it could not begin; nothing was changed.
        """
        self._loop = asyncio.get_running_loop()
        gc.disable()  # it would go over all sessions again and again while they are read
        self._folder = folder = runtime_folder(self._home)
        self._store = Store(self._home.database, self._post_from_thread, self._call_from_thread)
        contents = self._store.open()
        logs.bind(boot=contents.boot)
        hit("boot.stored")
        self._local_models = LocalModels(self._home)
        endpoints = Endpoints(self._settings, self._local_models, self._private)
        self._open_sockets(folder)
        self._supervisor = Supervisor(
            self._post, lambda session: self._home.logs / f"{session}.stderr", self._home.outboxes
        )
        self._launcher = self._choose_launcher()
        self._machine = Machine(self._settings, os.getpid())
        observers = Observers(
            self._settings, contents.boot, self._post, self._count_rejected, lambda: self._store.size_bytes
        )
        self._hands = Hands(
            home=self._home,
            settings=self._settings,
            boot=contents.boot,
            pid=os.getpid(),
            clients=self._clients,
            workers=self._workers,
            store=self._store,
            launcher=self._launcher,
            supervisor=self._supervisor,
            endpoints=endpoints,
            local_models=self._local_models,
            hooks=Hooks(self._home, self._private, self._settings.pass_env),
            post=self._post,
            leave=self._leave,
            rejected=self._count_rejected,
            observers=observers,
        )
        self._begin(contents)
        tasks = [asyncio.create_task(do()) for do in (self._tick, self._sample, self._trim)]
        try:
            await self._serve()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            supervised.tell(self._told, supervised.STOPPING if not self._keeps_workers else "RELOADING=1")
            await self._end()
        return self._keeps_workers

    async def _serve(self) -> None:
        """Get, step, perform."""
        while self._leaving is None:
            event = await self._inbox.get()
            if isinstance(event, ClientSpoke):
                self._turnstile.let_out(event.peer)
            for effect in self._machine.step(event, time.monotonic()):
                self._hands.perform(effect)
            if not gc.isenabled():
                # The sessions are there: they stay, so no collection looks at them any more.
                gc.freeze()
                gc.enable()
        if self._leaving.error is not None:
            raise RuntimeError(self._leaving.error)

    # ---- birth and end

    def _open_sockets(self, folder: Path) -> None:
        self._clients = Router(folder / "clients.sock", self._on_client_frame)
        try:
            self._workers = Router(folder / "workers.sock", self._on_worker_frame)
        except ChatCoordError:
            self._clients.close()  # who is refused leaves nothing behind
            raise

    def _choose_launcher(self) -> Launcher:
        if self._settings.launcher == "spawn":
            return SpawnLauncher(self._supervisor, self._post)
        wanted = {model.provider for model in self._settings.models.values()} | ({MCP} if self._settings.mcp else set())
        extras = tuple(sorted(wanted & EXTRAS.keys()))
        return LocalLauncher(self._supervisor, self._post, self._home.logs / "zygote.log", extras)

    def _begin(self, contents: Contents) -> None:
        alive = frozenset(s.id for s in contents.sessions if self._adopt(s))
        hit("boot.adopted")
        self._supervisor.end_what_is_left(
            Dead(s.id, s.epoch, 0, s.start_ticks or 0) for s in contents.sessions if s.pid and s.id not in alive
        )
        self._post(
            Booted(
                boot=contents.boot,
                node=socket.gethostname(),
                wall_s=time.time(),
                sessions=contents.sessions,
                active=contents.active,
                alive=alive,
                outboxes=self._left_outboxes({(s.id, s.epoch) for s in contents.sessions if s.id in alive}),
                tokens_spent=contents.tokens_spent,
            )
        )
        self._launcher.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._post, StopAsked(now=False))
        ticks = start_ticks(os.getpid()) or 0
        self._discovery = Discovery(contents.boot, os.getpid(), ticks, self._clients.endpoint, self._workers.endpoint)
        write_discovery(self._home, self._discovery)
        hit("boot.published")
        supervised.tell(self._told, supervised.READY)
        log.info("coordinator ready", extra={"sessions": len(contents.sessions)})

    def _left_outboxes(self, alive: set[tuple[str, int]]) -> dict[tuple[str, int], tuple[Record, ...]]:
        """Read what dead workers noted.

        Raises:
            StoreFailed: an outbox is there and cannot be read; without it a paid answer would be bought again.
        """
        left = {}
        for session, epoch in list_outboxes(self._home.outboxes):
            if (session, epoch) not in alive:
                try:
                    left[session, epoch] = read_outbox(self._home.outboxes, session, epoch)
                except OSError as error:
                    path = outbox_path(self._home.outboxes, session, epoch)
                    hint = "Make it readable; or move it away, if you can do without what its session said last."
                    raise StoreFailed(f"The outbox {path} cannot be read: {error.strerror}.", hint=hint) from error
        return left

    def _adopt(self, stored: StoredSession) -> bool:
        if stored.pid is None or stored.start_ticks is None:
            return False
        return self._supervisor.adopt(stored.id, stored.epoch, stored.pid, stored.start_ticks)

    def _leave(self, order: LeaveLoop) -> None:
        self._leaving = order

    @property
    def _keeps_workers(self) -> bool:
        return self._leaving is not None and self._leaving.keeps_workers

    async def _end(self) -> None:
        """Make everything durable, tell peers what that brings, and let go."""
        await asyncio.to_thread(self._store.close)
        await self._hands.backups.close()
        await self._hands.inspections.close()
        await asyncio.to_thread(self._hands.hooks.close)
        await asyncio.to_thread(self._hands.observers.close)
        await asyncio.sleep(0)
        while not self._inbox.empty():
            for effect in self._machine.step(self._inbox.get_nowait(), time.monotonic()):
                if isinstance(effect, SendClient | SendWorker | DropOutbox | Note):
                    self._hands.perform(effect)
        self._home.discovery.unlink(missing_ok=True)
        self._supervisor.close()
        self._clients.close()
        self._workers.close()
        if not self._keeps_workers:
            await self._local_models.stop()
        await self._launcher.close()
        log.info("coordinator ended")

    # ---- the inbox

    def _post(self, event: Event) -> None:
        self._inbox.put_nowait(event)

    def _post_from_thread(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is at its end
            self._loop.call_soon_threadsafe(self._post, event)

    def _call_from_thread(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def _on_client_frame(self, peer: bytes, frame: bytes) -> None:
        if not self._turnstile.lets_in(peer):
            if self._turnstile.should_tell(peer, self._loop.time()):
                busy = Busy("This client has more requests waiting than are taken of one.")
                self._clients.send(peer, encode(refusal(request_of(frame), busy)))
            return
        try:
            message = self._clients_decoder.decode(frame)
        except ChatCoordError as error:
            self._turnstile.let_out(peer)
            self._refuse(self._clients, peer, frame, error)
        else:
            if isinstance(message, Create):
                self._count_descriptors()
            is_for_people = isinstance(message, Decide) or (isinstance(message, Mark) and message.mark == "type")
            if is_for_people and self._is_from_a_tool(peer, message):
                return
            self._post(ClientSpoke(peer, message))

    def _is_from_a_tool(self, peer: bytes, order: ClientSays) -> bool:
        """Refuse a process that a tool started: a model must not approve its own calls, nor change its rules."""
        sender = self._clients.sender_pid()
        workers = {worker.pid for worker in self._supervisor.running()}
        if sender is None or not tool_processes.is_of_a_tool(sender, workers):
            return False
        log.warning("a tool tried to do what is for people", extra={"pid": sender, "kind": type(order).__name__})
        text = "A process that a session's tool started may not answer what sessions ask, nor change a session's type."
        self._clients.send(peer, encode(refusal(getattr(order, "request", None), AskRefused(text))))
        return True

    def _on_worker_frame(self, peer: bytes, frame: bytes) -> None:
        try:
            message = self._workers_decoder.decode(frame)
        except ChatCoordError as error:
            self._refuse(self._workers, peer, frame, error)
            return
        sender = self._workers.sender_pid() if isinstance(message, Hello) else None
        if isinstance(message, Hello) and sender not in {None, message.pid}:
            forged = BadMessage(f"A HELLO for pid {message.pid} came from pid {sender}.")
            self._refuse(self._workers, peer, frame, forged)
            return
        self._post(WorkerSpoke(peer, message))

    def _refuse(self, router: Router, peer: bytes, frame: bytes, error: ChatCoordError) -> None:
        if router.reject(peer):
            router.send(peer, encode(refusal(request_of(frame), error)))

    # ---- the clock

    async def _tick(self) -> None:
        while True:
            self._count_descriptors()
            self._post(Ticked(time.time()))
            for router in (self._clients, self._workers):
                router.expire()
                if not router.is_reachable:
                    self._restore(router)
            if not self._home.discovery.exists():
                write_discovery(self._home, self._discovery)
            await asyncio.sleep(TICK_S)

    def _restore(self, router: Router) -> None:
        """Somebody removed the runtime folder: make it again, where it was, or say each second why that fails."""
        try:
            make_private(self._folder.parent)
            make_private(self._folder)
            router.rebind()
        except ChatCoordError as error:
            log.error("socket is gone", extra={"endpoint": router.endpoint, "reason": error.message})  # noqa: TRY400
        else:
            log.warning("socket was removed; it is bound again", extra={"endpoint": router.endpoint})

    def _count_rejected(self) -> int:
        return self._clients.rejected + self._workers.rejected

    def _count_descriptors(self) -> None:
        counted = monitor.descriptors()
        if counted is not None:
            self._post(counted)

    async def _sample(self) -> None:
        await monitor.sample_forever(self._settings, self._supervisor.running, self._helpers, self._post)

    async def _trim(self) -> None:
        while True:
            await asyncio.to_thread(output_files.trim_all, self._home.logs)
            await asyncio.sleep(output_files.EVERY_S)

    def _helpers(self) -> monitor.Helpers:
        return monitor.Helpers(self._launcher.helper_pids(), self._local_models.pids())
