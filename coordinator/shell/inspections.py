"""Answers who inspects: what the core said, and beside it what the system says of the processes just now.

Everything has a bound: a process that vanishes, is stopped, or is another's by now leaves its part of the answer empty.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from coordinator.core import effects as e
from coordinator.core.showing import refusal
from coordinator.shell import records
from coordinator.shell.monitor import rss_bytes
from coordinator.shell.probe import STATES, Facts, Probe, catches, cpu_ns, open_file_named, stat_of
from coordinator.shell.store import Store
from coordinator.shell.supervisor import Running, Supervisor
from protocol import messages as m
from protocol.errors import Busy
from protocol.launch import STACKS_FILE, STACKS_SIGNAL
from protocol.limits import STACKS_BYTES
from protocol.views import Inspection, Memory, TopSession

# How long a processor is watched at least, and at most, to tell how busy a process is.
SHORTEST_NS, LONGEST_NS = 100_000_000, 10_000_000_000
# What does not come by then is not waited for: a reading, and either kind of stacks.
READ_S, STACKS_S = 1.5, 1.0
# The stacks are whole when nothing came for so many looks.
LOOK_S, QUIET_LOOKS = 0.02, 3
MOST_AT_ONCE = 256
THREADS = 2

Key = tuple[str, int]


class Inspections:
    """Puts the facts of the system beside what the core knows.

    Args:
        supervisor: knows the processes.
        store: knows how large snapshots are.
        send: sends a message to a client.
    """

    def __init__(self, supervisor: Supervisor, store: Store, send: Callable[[bytes, m.ToClient], None]) -> None:
        self._supervisor = supervisor
        self._store = store
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, "inspector")
        self._probe = Probe()
        self._tasks: set[asyncio.Task[None]] = set()
        # When each worker was looked at last (ns), the processor time that it had used then, and how busy it was.
        self._busy: dict[Key, tuple[int, int, float | None]] = {}
        self._words: dict[tuple[str, int, int], asyncio.Future[str]] = {}
        self._dumps: dict[Key, asyncio.Task[str]] = {}
        self._snapshots: dict[str, tuple[int, int | None]] = {}

    def inspect(self, order: e.SendInspection) -> None:
        """Answer who inspects one session: at once, if all that takes time is known already."""
        found = None if order.stacks else self._known(order)
        if found is not None:
            self._send(order.peer, m.InspectAnswer(request=order.request, inspection=found))
            return
        if order.n:
            key = (order.inspection.session.id, order.epoch or 0, order.n)
            self._words[key] = self._loop.create_future()
        self._begin(order.peer, order.request, self._inspect(order))

    def top(self, order: e.SendTop) -> None:
        """Answer who looks at all of them."""
        self._begin(order.peer, order.answer.request, self._top(order))

    def hear(self, said: e.PassStacks) -> None:
        """A worker says where its tasks are."""
        asked = self._words.get((said.session, said.epoch, said.n))
        if asked is not None and not asked.done():
            asked.set_result(said.text)

    async def close(self) -> None:
        """Answer nobody any more."""
        tasks = [*self._tasks, *self._dumps.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, peer: bytes, request: int, answer: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= MOST_AT_ONCE:
            answer.close()
            self._send(peer, refusal(request, Busy("Too many inspections at once.")))
            return
        task = self._loop.create_task(answer)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- one session

    def _known(self, order: e.SendInspection) -> Inspection | None:
        """Return the answer from what is known and what is cheap to read; None when more has to be read."""
        found = order.inspection
        known = self._snapshots.get(found.session.id)
        if known is None or known[0] != found.session.epoch:
            return None
        found = replace(found, conversation=replace(found.conversation, snapshot_bytes=known[1]))
        worker = None if order.epoch is None else self._supervisor.find(found.session.id, order.epoch)
        if worker is None:
            return found
        facts = self._probe.look(worker, may_walk=False) if self._measure(worker) else None
        return None if facts is None else _with_facts(found, facts, self._busy[worker.session, worker.epoch][2])

    async def _inspect(self, order: e.SendInspection) -> None:
        found = order.inspection
        try:
            found = await self._with_snapshot(found)
            worker = None if order.epoch is None else self._supervisor.find(found.session.id, order.epoch)
            if worker is not None:
                found = await self._with_process(found, worker)
                if order.stacks:
                    stacks = await self._stacks(worker, order.n)
                    found = replace(found, worker=replace(found.worker, stacks=stacks))
        finally:
            self._words.pop((found.session.id, order.epoch or 0, order.n), None)
        self._send(order.peer, m.InspectAnswer(request=order.request, inspection=found))

    async def _with_process(self, found: Inspection, worker: Running) -> Inspection:
        cpu = await self._percents([worker])
        facts: Facts | None = None
        try:
            reading = self._loop.run_in_executor(self._threads, self._probe.look, worker)
            facts = await asyncio.wait_for(reading, READ_S)
        except TimeoutError:
            pass  # the kernel keeps it: what is known without it has to do
        return found if facts is None else _with_facts(found, facts, cpu.get((worker.session, worker.epoch)))

    async def _with_snapshot(self, found: Inspection) -> Inspection:
        """Snapshots come with epochs: what is known of an epoch stays true."""
        session, epoch = found.session.id, found.session.epoch
        known = self._snapshots.get(session)
        if known is None or known[0] != epoch:
            if len(self._snapshots) > MOST_AT_ONCE:
                self._snapshots.clear()
            size = await self._ask_size(session)
            self._snapshots[session] = known = (epoch, size)
        return replace(found, conversation=replace(found.conversation, snapshot_bytes=known[1]))

    async def _ask_size(self, session: str) -> int | None:
        asked: asyncio.Future[int | None] = self._loop.create_future()

        def answer(size: int | None) -> None:
            if not asked.done():
                asked.set_result(size)

        self._store.ask(records.snapshot_bytes(session), answer, lambda _: answer(None))
        try:
            return await asyncio.wait_for(asked, READ_S)
        except TimeoutError:
            return None

    # ---- how busy

    async def _percents(self, workers: Iterable[Running]) -> dict[Key, float | None]:
        """Return how busy workers are since they were looked at last, or else in the next tenth of a second."""
        found: dict[Key, float | None] = {}
        new = []
        for worker in workers:
            key = (worker.session, worker.epoch)
            if self._measure(worker):
                found[key] = self._busy[key][2]
            else:
                new.append(worker)
        if new:
            await asyncio.sleep(SHORTEST_NS / 1e9)
            for worker in new:
                key = (worker.session, worker.epoch)
                self._measure(worker)
                found[key] = self._busy[key][2] if key in self._busy else None
        return found

    def _measure(self, worker: Running) -> bool:
        """Look at a worker; say whether it is known how busy it is."""
        key, now_ns, used_ns = (worker.session, worker.epoch), time.monotonic_ns(), cpu_ns(worker.pid)
        if used_ns is None:
            self._busy.pop(key, None)
            return False
        at_ns, before_ns, percent = self._busy.get(key, (0, 0, None))
        passed_ns = now_ns - at_ns
        if passed_ns > LONGEST_NS:
            self._forget()
            self._busy[key] = (now_ns, used_ns, None)
            return False
        if passed_ns < SHORTEST_NS:
            return percent is not None
        self._busy[key] = (now_ns, used_ns, round(100 * (used_ns - before_ns) / passed_ns, 1))
        return True

    def _forget(self) -> None:
        """Forget workers that are gone, now and then."""
        running = {(worker.session, worker.epoch) for worker in self._supervisor.running()}
        if len(self._busy) > len(running):
            self._busy = {key: busy for key, busy in self._busy.items() if key in running}
            self._probe.forget_others(running)

    # ---- all of them

    async def _top(self, order: e.SendTop) -> None:
        answer = order.answer
        workers = [
            None if epoch is None else self._supervisor.find(session.id, epoch)
            for session, epoch in zip(answer.sessions, order.epochs, strict=True)
        ]
        percents = await self._percents(worker for worker in workers if worker is not None)
        sessions = [
            session if worker is None else _with_use(session, worker, percents.get((worker.session, worker.epoch)))
            for session, worker in zip(answer.sessions, workers, strict=True)
        ]
        self._send(order.peer, replace(answer, sessions=sessions))

    # ---- stacks

    async def _stacks(self, worker: Running, n: int) -> str:
        key = (worker.session, worker.epoch)
        if key not in self._dumps:
            self._dumps[key] = self._loop.create_task(self._dump(worker))
            self._dumps[key].add_done_callback(lambda _: self._dumps.pop(key, None))
        dump = self._dumps[key]
        words = self._words.get((*key, n))
        tasks = "The worker has not said hello."
        if words is not None:
            try:
                tasks = await asyncio.wait_for(words, STACKS_S)
            except TimeoutError:
                tasks = f"The main loop does not answer within {STACKS_S:g} s: its thread is busy with what is above."
        threads = await asyncio.shield(dump)
        return f"Threads\n{threads.rstrip()}\n\nTasks of the main loop\n{tasks.rstrip()}"

    async def _dump(self, worker: Running) -> str:
        """Let a worker write the stacks of its threads, and read them; in words why there are none."""
        file = open_file_named(worker.pid, STACKS_FILE) if catches(worker.pid, STACKS_SIGNAL) else None
        if file is None:
            return "This process does not tell its stacks: it is an older one, or just being born."
        try:
            os.ftruncate(file, 0)
            self._supervisor.signal(worker.session, worker.epoch, signal.Signals(STACKS_SIGNAL).name)
            text = await self._read_all(file)
            os.ftruncate(file, 0)
        except OSError as error:
            return f"The stacks cannot be read: {error.strerror}."
        finally:
            os.close(file)
        if text:
            return text
        stat = stat_of(worker.pid)
        state = "gone" if stat is None else STATES.get(stat.state, stat.state)
        return f"The process wrote no stacks within {STACKS_S:g} s; it is {state}."

    async def _read_all(self, file: int) -> str:
        deadline_s = self._loop.time() + STACKS_S
        size, quiet = 0, 0
        while self._loop.time() < deadline_s and (size == 0 or quiet < QUIET_LOOKS):
            await asyncio.sleep(LOOK_S)
            before, size = size, os.fstat(file).st_size
            quiet = quiet + 1 if size == before else 0
        return os.pread(file, STACKS_BYTES, 0).decode(errors="replace")


def _with_facts(found: Inspection, facts: Facts, percent: float | None) -> Inspection:
    memory = replace(
        found.worker.memory,
        rss_bytes=facts.rss_bytes,
        pss_bytes=facts.pss_bytes,
        uss_bytes=facts.uss_bytes,
        swap_bytes=facts.swap_bytes,
        tree_uss_bytes=facts.tree_uss_bytes,
    )
    view = replace(
        found.worker,
        memory=memory,
        started_at=round(time.time() - facts.uptime_s, 2),
        uptime_s=facts.uptime_s,
        cpu_percent=percent,
        threads=facts.threads,
        open_files=facts.open_files,
        children=facts.children,
    )
    session = replace(found.session, memory=Memory(uss_bytes=facts.uss_bytes, rss_bytes=facts.rss_bytes))
    return replace(found, session=session, worker=view)


def _with_use(session: TopSession, worker: Running, percent: float | None) -> TopSession:
    rss = rss_bytes(worker.pid)
    if rss is None:
        return session
    memory = Memory(uss_bytes=session.memory.uss_bytes, rss_bytes=rss)
    return replace(session, cpu_percent=percent, memory=memory)
