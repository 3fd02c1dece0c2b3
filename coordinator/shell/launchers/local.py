"""Workers as forks of a zygote on this machine. A zygote that dies is replaced; running workers do not notice."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from coordinator.core.events import Event, ZygoteLost
from coordinator.shell.launchers.port import refuse
from coordinator.shell.launchers.zygote_target import run_zygote
from coordinator.shell.supervisor import Supervisor, signal_name, tail
from protocol.codec import Decoder, encode
from protocol.errors import ChatCoordError
from protocol.launch import Fork, Forked, ForkFailed, FromZygote, Reaped, ZygoteReady
from protocol.views import ZygoteView

# Importing the model library takes 1 to 2 s, more when the disk is cold and nothing is compiled yet.
READY_S = 60.0
# A fork is confirmed in about a millisecond; a zygote that needs this long is stopped or hangs.
CONFIRM_S = 20.0
END_S = 2.0
# A zygote that died so often within the window is started again at the next order, not at once.
DEATHS, DEATHS_WINDOW_S = 3, 60.0
# Orders on their way to the zygote; more would wait in the socket, which has no room for hundreds.
ON_THE_WAY = 16
DATAGRAM_BYTES = 64 << 10

log = logging.getLogger(__name__)


class LocalLauncher:
    """Starts workers through a zygote.

    Args:
        supervisor: takes charge of each process.
        post: takes events.
        zygote_log: the file for the zygote's standard error.
        extras: providers of configured models that need more than the core's install.
    """

    def __init__(
        self, supervisor: Supervisor, post: Callable[[Event], None], zygote_log: Path, extras: tuple[str, ...] = ()
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._post = post
        self._zygote_log = zygote_log
        self._extras = extras
        self._decoder: Decoder[FromZygote] = Decoder(FromZygote)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pidfd = -1
        self._channel: socket.socket | None = None
        self._is_ready = False
        self._view: ZygoteView | None = None
        self._why: str | None = None
        self._log_bytes = 0
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting: deque[Fork] = deque()
        self._ordered: dict[tuple[str, int], tuple[Fork, asyncio.TimerHandle]] = {}

    def open(self) -> None:
        """Start a zygote; it is ready in a second or two, and orders wait for it."""
        try:
            self._open()
        except OSError as error:
            self._fail_all(f"the zygote cannot be started: {error.strerror}")

    def start(self, fork: Fork) -> None:
        """Order a worker."""
        self._waiting.append(fork)
        if self._process is None:
            self.open()
        self._order()

    def helper_pids(self) -> tuple[int, ...]:
        """Return the zygote."""
        return () if self._process is None or self._process.pid is None else (self._process.pid,)

    def zygote(self) -> ZygoteView | None:
        """Return the zygote, once it is ready."""
        return self._view if self._is_ready else None

    async def close(self) -> None:
        """End the zygote; workers go on."""
        process = self._let_go()
        self._waiting.clear()
        for _, deadline in self._ordered.values():
            deadline.cancel()
        self._ordered.clear()
        if process is not None:
            process.terminate()
            await asyncio.to_thread(process.join, END_S)
            if process.is_alive():
                process.kill()
                await asyncio.to_thread(process.join)
            process.close()

    # ---- orders and answers

    def _order(self) -> None:
        """Send what the zygote can take now; each order must be confirmed in time."""
        while self._waiting and self._is_ready and self._channel is not None and len(self._ordered) < ON_THE_WAY:
            fork = self._waiting.popleft()
            try:
                self._channel.send(encode(fork))
            except BlockingIOError:
                self._waiting.appendleft(fork)  # the socket is full of orders, and their confirmation comes back here
                return
            except OSError as error:
                refuse(self._post, fork, f"the zygote does not take the order: {error.strerror}")
                continue
            self._ordered[fork.session, fork.epoch] = (fork, self._loop.call_later(CONFIRM_S, self._too_late))

    def _confirmed(self, session: str, epoch: int) -> None:
        _, deadline = self._ordered.pop((session, epoch), (None, None))
        if deadline is not None:
            deadline.cancel()
        self._order()

    def _receive(self) -> None:
        while self._channel is not None:
            try:
                datagram, pidfds, _, _ = socket.recv_fds(
                    self._channel, DATAGRAM_BYTES, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
                )
            except BlockingIOError:
                return
            except OSError:
                datagram, pidfds = b"", []
            if not datagram:
                self._hung_up()
                return
            try:
                self._on_message(self._decoder.decode(datagram), pidfds)
            except ChatCoordError:
                log.exception("unreadable message of the zygote")

    def _on_message(self, message: FromZygote, pidfds: list[int]) -> None:
        match message:
            case ZygoteReady():
                facts = {"rss_bytes": message.rss_bytes, "threads": message.threads}
                log.info("zygote ready", extra=facts | {"frozen_objects": message.frozen_objects})
                self._is_ready = True
                self._view = ZygoteView(
                    pid=(self._process.pid if self._process else None) or 0,
                    frozen_objects=message.frozen_objects,
                    threads=message.threads,
                )
                if self._deadline is not None:
                    self._deadline.cancel()
                self._order()
            case Forked():
                if pidfds:
                    self._supervisor.watch(message.session, message.epoch, message.pid, pidfds[0])
                elif (message.session, message.epoch) in self._ordered:  # its HELLO will find a newer epoch
                    fork, _ = self._ordered[message.session, message.epoch]
                    refuse(self._post, fork, "no file descriptor was free to watch its process")
                self._confirmed(message.session, message.epoch)
            case ForkFailed():
                if (message.session, message.epoch) in self._ordered:
                    fork, _ = self._ordered[message.session, message.epoch]
                    refuse(self._post, fork, message.reason, fatal=message.fatal)
                self._confirmed(message.session, message.epoch)
            case Reaped():
                self._supervisor.reaped(message.session, message.epoch, message.status)

    # ---- the zygote's life

    def _open(self) -> None:
        """Start the process.

        Raises:
            OSError: there is none.
        """
        self._log_bytes = self._zygote_log.stat().st_size if self._zygote_log.exists() else 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setblocking(False)
            context = multiprocessing.get_context("spawn")
            arguments = (theirs, str(self._zygote_log), self._extras)
            process = context.Process(target=run_zygote, args=arguments, name="zygote", daemon=True)
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._channel, self._is_ready, self._why = process, ours, False, None
        self._pidfd = os.pidfd_open(process.pid or 0)  # our own child, not yet reaped: it cannot be another process
        self._loop.add_reader(self._pidfd, self._died)
        self._loop.add_reader(ours, self._receive)
        self._deadline = self._loop.call_later(READY_S, self._kill, f"it was not ready within {READY_S:.0f} s")

    def _too_late(self) -> None:
        self._kill(f"it did not confirm an order within {CONFIRM_S:.0f} s")

    def _hung_up(self) -> None:
        """It is about to die; how, is known when it is dead."""
        self._is_ready = False
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(END_S, self._kill, "it closed its channel")

    def _kill(self, why: str) -> None:
        """End a zygote that is of no use; its death does the rest."""
        self._why = self._why or why
        self._is_ready = False
        log.error("zygote killed", extra={"reason": why})
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
        if self._process is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _died(self) -> None:
        """What the zygote had not confirmed failed; another is started, unless that would go on and on."""
        self._receive()  # what it said before it died
        process = self._let_go()
        if process is None:
            return
        process.join()
        self._supervisor.reporter_lost()
        self._post(ZygoteLost())
        reason = f"the zygote died ({self._why or _how(process.exitcode or 0)}); see {self._zygote_log}"
        last_words = tail(self._zygote_log, self._log_bytes).rpartition("\n")[2].strip()
        process.close()
        log.warning("zygote lost", extra={"reason": reason, "last_words": last_words})
        self._fail_all(f"{reason}: {last_words}" if last_words else reason)
        self._deaths.append(self._loop.time())
        if len(self._deaths) < DEATHS or self._deaths[-1] - self._deaths[0] > DEATHS_WINDOW_S:
            self.open()

    def _fail_all(self, reason: str) -> None:
        unsure = [fork for fork, _ in self._ordered.values()]
        for _, deadline in self._ordered.values():
            deadline.cancel()
        unsure += self._waiting
        self._ordered.clear()
        self._waiting.clear()
        for fork in unsure:
            refuse(self._post, fork, reason)

    def _let_go(self) -> multiprocessing.process.BaseProcess | None:
        """Close what connects to the zygote, and return its process to be joined."""
        process, self._process = self._process, None
        self._is_ready = False
        if self._deadline is not None:
            self._deadline.cancel()
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        return process


def _how(status: int) -> str:
    return f"killed by {signal_name(-status)}" if status < 0 else f"exit code {status}"
