"""The process that workers are forked from: everything imported, one turn warmed, the heap frozen.

The order is the trick: collect off, import, warm up, rehearse, collect, freeze, fork. Then an idle session owns few of
the pages that it shares with all others. Forking with threads is not safe, so one thread is asserted before each fork.
"""

import gc

gc.disable()

import asyncio  # noqa: E402 - the collector is off before the first import
import os  # noqa: E402
import resource  # noqa: E402
import selectors  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NoReturn  # noqa: E402

import setproctitle  # noqa: E402

from protocol import failpoints  # noqa: E402
from protocol.codec import Decoder, encode  # noqa: E402
from protocol.extras import MCP  # noqa: E402
from protocol.launch import (  # noqa: E402
    DATAGRAM_BYTES,
    Fork,
    Forked,
    ForkFailed,
    FromZygote,
    Reaped,
    ToZygote,
    ZygoteReady,
    no_place_for,
)
from protocol.processes import adopt_orphans, children_of, kill_tree_below, start_ticks, thread_count  # noqa: E402
from protocol.processes import kill as kill_process  # noqa: E402
from workers.child import become, wait_for_order  # noqa: E402
from workers.heap import freeze  # noqa: E402
from workers.models.port import ModelFailed  # noqa: E402
from workers.models.pydantic_ai_adapter import shared_tls  # noqa: E402
from workers.models.warm_up import warm_up  # noqa: E402
from workers.rehearsal import rehearse  # noqa: E402
from workers.tools.box import Box, Silence, Where  # noqa: E402
from workers.tools.mcp_servers import import_mcp  # noqa: E402
from workers.tools.offered import OFFERED  # noqa: E402

# So many workers are forked before anybody needs them: a fork of this much memory and a loop take 5 ms of the 12 until
# a session answers. Each is made when nothing was asked for a while, the only one sooner; a crowd that comes at once is
# forked as it comes.
SPARES = 2
STOCK_FIRST_S, STOCK_MORE_S = 0.003, 0.01
# The first descriptor behind the standard ones.
FIRST = 3
# Orphans below orphans come up one by one; so many times it is looked, a millisecond apart, before a death is reported.
ORPHAN_LOOKS, ORPHAN_LOOK_S = 50, 0.001


def main(channel: socket.socket, extras: tuple[str, ...] = ()) -> None:
    """Warm up, then fork a worker for each request until the coordinator closes the channel.

    Args:
        channel: the datagram socket to the coordinator.
        extras: providers of configured models that need more than the core's install; ``mcp`` for servers of tools.
    """
    os.setsid()  # a Ctrl+C for the coordinator is not ours
    adopt_orphans()
    setproctitle.setproctitle("chat-coord: zygote")
    shared_tls()
    box = Box(OFFERED, Where(Path("/"), "", 1.0), Silence())
    asyncio.run(warm_up(box))
    for extra in extras:
        try:
            if extra == MCP:
                import_mcp()
            else:
                asyncio.run(warm_up(box, (extra,)))
        except ImportError as error:  # turns say so, too
            print(f"{extra}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the zygote's log
        except ModelFailed as failure:  # other models work; turns of this one say the same
            print(f"{failure.message} {failure.hint}", file=sys.stderr, flush=True)  # noqa: T201 - the zygote's log
    rehearse()
    setproctitle.setproctitle("chat-coord: zygote")  # the rehearsal had a name of its own
    failpoints.arm(os.environ)
    frozen_objects = freeze()
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    ready = ZygoteReady(rss_bytes=rss_bytes, threads=thread_count(), frozen_objects=frozen_objects)
    channel.send(encode(ready))
    Zygote(channel).serve()


class Zygote:
    """Forks on request and reports the end of what it forked.

    Args:
        channel: the datagram socket to the coordinator.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._decoder: Decoder[ToZygote] = Decoder(ToZygote)
        self._selector = selectors.DefaultSelector()
        # By pidfd: the pid, and whose worker it is. Nothing more is kept: every later child has it in its memory, too.
        self._children: dict[int, tuple[int, str, int]] = {}
        self._spares: dict[int, tuple[int, socket.socket]] = {}
        self._spares_wanted = SPARES

    def serve(self) -> None:
        """Wait for requests and for the ends of children."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        while True:
            wait_s = STOCK_MORE_S if self._spares else STOCK_FIRST_S
            ready = self._selector.select(wait_s if len(self._spares) < self._spares_wanted else None)
            if not ready:
                self._stock()
            for key, _ in ready:
                if key.fileobj is not self._channel:
                    self._reap(key.fd)
                    continue
                datagram = self._channel.recv(DATAGRAM_BYTES)
                if not datagram:
                    return
                self._fork(self._decoder.decode(datagram))

    def _fork(self, request: Fork) -> None:
        nowhere = no_place_for(request)
        if nowhere is not None:
            self._send(_failed(request, nowhere, fatal=True))
            return
        pidfd = self._give_to_spare(request)
        if pidfd is None:
            threads = thread_count()
            if threads != 1:
                reason = f"the zygote has {threads} threads, and forking is safe with one"
                self._send(_failed(request, reason, fatal=False))
                return
            try:
                pid = os.fork()
            except OSError as error:
                self._send(_failed(request, f"fork: {error.strerror}", fatal=False))
                return
            if pid == 0:
                self._become_worker(request)
            pidfd = os.pidfd_open(pid)
            self._children[pidfd] = (pid, request.session, request.epoch)
            self._selector.register(pidfd, selectors.EVENT_READ)
        forked = Forked(session=request.session, epoch=request.epoch, pid=self._children[pidfd][0])
        socket.send_fds(self._channel, [encode(forked)], [pidfd])

    def _give_to_spare(self, request: Fork) -> int | None:
        """Return the pidfd of the spare that has the order now; None when there is none that takes it."""
        while self._spares:
            pidfd, (pid, orders) = next(iter(self._spares.items()))
            try:
                orders.send(encode(request))
            except OSError:  # it died just now
                self._reap_spare(pidfd)
                continue
            finally:
                orders.close()
            del self._spares[pidfd]
            self._children[pidfd] = (pid, request.session, request.epoch)
            return pidfd
        return None

    def _stock(self) -> None:
        """Fork a spare; without one, orders are carried out all the same."""
        if thread_count() != 1:
            self._spares_wanted = 0
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            self._spares_wanted = 0
            return
        if pid == 0:
            self._become_spare(theirs)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        self._spares[pidfd] = (pid, ours)
        self._selector.register(pidfd, selectors.EVENT_READ)

    def _reap_spare(self, pidfd: int) -> None:
        """One died before it was of use. Whatever kills spares shall not be fed with them."""
        pid, orders = self._spares.pop(pidfd)
        self._spares_wanted -= 1
        orders.close()
        self._selector.unregister(pidfd)
        os.waitpid(pid, 0)
        os.close(pidfd)

    def _reap(self, pidfd: int) -> None:
        if pidfd in self._spares:
            self._reap_spare(pidfd)
            return
        pid, session, epoch = self._children.pop(pidfd)
        self._selector.unregister(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        self._end_orphans()
        code = os.waitstatus_to_exitcode(status)
        self._send(Reaped(session=session, epoch=epoch, status=code))

    def _end_orphans(self) -> None:
        """End what dead workers left. A worker keeps its orphans while it lives; then the kernel gives them to us.

        So whatever is our child and no worker was below one that is dead: no name, session or variable can hide it.
        """
        workers = {pid for pid, *_ in (*self._children.values(), *self._spares.values())}
        for _ in range(ORPHAN_LOOKS):
            orphans = [pid for pid in children_of(os.getpid()) if pid not in workers]
            if not orphans:
                return
            for pid in orphans:
                kill_tree_below(pid)
                kill_process(pid, start_ticks(pid) or 0)
                os.waitpid(pid, os.WNOHANG)
            time.sleep(ORPHAN_LOOK_S)

    def _send(self, message: FromZygote) -> None:
        try:
            self._channel.send(encode(message))
        except OSError:
            sys.exit(0)  # the coordinator is gone; workers go on without us

    def _become_worker(self, request: Fork) -> NoReturn:
        """Run in the child; leave behind what belongs to the zygote, then be a worker."""
        self._leave_behind()
        become(request, asyncio.Runner())

    def _become_spare(self, orders: socket.socket) -> NoReturn:
        """Run in the child; leave behind what belongs to the zygote, then wait for an order."""
        kept = orders.detach()
        self._leave_behind(kept)
        wait_for_order(socket.socket(fileno=kept))

    def _leave_behind(self, kept: int = FIRST - 1) -> None:
        os.setsid()
        self._selector.close()
        self._channel.close()
        # The rest: pidfds, spares' sockets, and what multiprocessing holds.
        os.closerange(FIRST, kept)
        os.closerange(max(FIRST, kept + 1), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        gc.freeze()  # what the zygote made since, too
        gc.enable()


def _failed(request: Fork, reason: str, *, fatal: bool) -> ForkFailed:
    return ForkFailed(session=request.session, epoch=request.epoch, reason=reason, fatal=fatal)
