"""A chaos run: clients submit, a killer kills, and after each lap everything promised is compared with what is there.

A lap is at most ``LAP_KILLS`` kills. Behind it stands a quiet barrier: no kills, no prompts, everything that waits is
answered, and only then the histories are read; without it a promise that is merely late would hide one that is lost.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from client.connection import Connection
from protocol import messages as m
from protocol.errors import CoordinatorAbsent, CoordinatorSilent
from protocol.ids import new_id
from protocol.paths import find_running
from protocol.views import HistoryRow
from tests.chaos.ledger import Ledger, Promise, compare, unanswered
from tests.chaos.schedule import Kill, Script, schedule
from tests.support.fleet import ZYGOTE, Fleet, NotServing, wait_until
from tests.support.model_server import ModelServer

LAP_KILLS = 20
# The limits are there to end a storm of crashes, and this is one: the run raises them. There are fewer slots than
# sessions, and idle ones sleep at once, so that kills hit hibernations, wakes and the line all the time.
LIMITS = (
    "restart_limit = 1000000\nrestart_limit_total = 1000000\nrestart_window_s = 1\n"
    "max_active_sessions = 3\nidle_hibernate_s = 0.5\n"
)
# A product that cannot be killed so often because nobody lives is not serving.
MOST_MISSED = 200
# So long a kill waits for its moment.
MOMENT_S = 10.0
# Prompts of one session that may wait for their answer; more would only make the barrier long.
MOST_WAITING = 6


@dataclass
class Report:
    """What a run found."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    laps: int = 0
    starts: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    prompts: int = 0
    unsure: int = 0
    requests: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    finished_seen: int = 0
    finals_seen: int = 0
    duration_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(v.partition(":")[0] for v in self.violations)
        lines = [
            f"seed {self.seed}: {self.kills.total()} kills {dict(sorted(self.kills.items()))}",
            f"{self.laps} laps, {self.duration_s:.0f} s; at {self.missed} more moments nobody of that kind lived",
            f"coordinators started: {self.starts}, their exit codes: {dict(sorted(self.exit_codes.items()))}",
            f"prompts acknowledged: {self.prompts} (given up by a client before its ACK: {self.unsure})",
            f"turns ended: {dict(sorted(self.ends.items()))}; requests to the model: {self.requests}",
            f"finished replies seen in outboxes: {self.finished_seen}, told to clients: {self.finals_seen}",
            "promises broken: " + (", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "0"),
        ]
        return "\n".join(lines + [f"  {v}" for v in self.violations[:20]])


class Chaos:
    """One run.

    Args:
        folder: private to the run.
        seed: decides whom, when and what; see ``tests.chaos.schedule``.
        kills: how many.
        sessions: how many at a time.
        clients: how many connections.
        drain_s: how long a barrier may take.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        kills: int,
        sessions: int = 5,
        clients: int = 4,
        drain_s: float = 120,
    ) -> None:
        self.report = Report(seed)
        self._kills = kills
        self._plan = schedule(seed)
        self._sessions = sessions
        self._clients = clients
        self._drain_s = drain_s
        self._model = ModelServer()
        self._fleet = Fleet(folder / "home")
        self._ledger = Ledger()
        self._folder = folder
        self._ids: list[str] = []
        self._histories: dict[str, list[HistoryRow]] = {}

    async def run(self) -> Report:
        """Return what was found; a broken promise ends the run at the next barrier."""
        begun_s = time.monotonic()
        self._configure()
        self._fleet.keep_running()
        try:
            while self.report.kills.total() < self._kills and not self.report.violations:
                await self._lap(min(LAP_KILLS, self._kills - self.report.kills.total()))
            if not self.report.violations:
                await self._look_back()
            await self._fleet.stop()
        except NotServing as late:
            self.report.violations.append(f"not serving: {late}")
        finally:
            await self._fleet.let_end()
            self._fleet.kill_all()
            self._model.close()
            self._sum_up(time.monotonic() - begun_s)
        return self.report

    def _configure(self) -> None:
        self._fleet.home.root.mkdir(mode=0o700)
        (self._folder / "key").write_text("test-key\n")
        (self._fleet.home.root / "config.toml").write_text(
            f'{LIMITS}default_model = "scripted"\n[models.scripted]\nprovider = "openai"\nmodel = "scripted"\n'
            f'base_url = "{self._model.url}"\napi_key_file = "{self._folder / "key"}"\n'
        )

    # ---- one lap

    async def _lap(self, kills: int) -> None:
        self.report.laps += 1
        quiet = await self._fleet.connect()
        try:
            self._ids = [await self._create(quiet, f"lap{self.report.laps}-{i}") for i in range(self._sessions)]
            waiting = dict.fromkeys(self._ids, 0)
            is_over = asyncio.Event()
            connections = [await self._fleet.connect() for _ in range(self._clients)]
            listeners = [asyncio.create_task(self._listen(c, waiting)) for c in connections]
            clients = [asyncio.create_task(self._client(n, c, waiting, is_over)) for n, c in enumerate(connections)]
            wanted = self.report.kills.total() + kills
            while self.report.kills.total() < wanted and self.report.missed < MOST_MISSED:
                kill = next(self._plan)
                await self._moment(kill)
                self._kill(kill)
            if self.report.missed >= MOST_MISSED:
                raise NotServing(f"at {MOST_MISSED} moments nobody lived; the last {MOMENT_S:.0f} s each")
            is_over.set()
            for outcome in await asyncio.gather(*clients, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            await self._barrier(quiet)
            for listener in listeners:
                listener.cancel()
            for connection in connections:
                await connection.close()
        finally:
            await quiet.close()

    async def _create(self, connection: Connection, name: str) -> str:
        order = m.Create(
            request=connection.number(),
            id=new_id(),
            name=name,
            type="development",
            model=None,
            system=None,
            cwd=str(self._folder),
            env={"PATH": os.environ["PATH"]},
        )
        answer = await self._ask(connection, order, m.SessionAnswer)
        assert answer.session is not None
        return answer.session.id

    async def _ask(self, connection: Connection, order: m.Request, kind: type) -> m.ToClient:
        """Ask until there is an answer, as a patient person would."""
        answers: list[m.ToClient] = []

        async def is_answered() -> bool:
            with contextlib.suppress(CoordinatorAbsent, CoordinatorSilent):
                answers.append(await connection.ask(order, kind))
            return bool(answers)

        await wait_until(is_answered, self._drain_s, f"no answer to {type(order).__name__}")
        return answers[0]

    async def _client(
        self, number: int, connection: Connection, waiting: dict[str, int], is_over: asyncio.Event
    ) -> None:
        script = Script(self.report.seed, self.report.laps, number, self._sessions)
        while not is_over.is_set():
            index, text, pause_s = script.next()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), pause_s)
            session = self._ids[index]
            if waiting[session] >= MOST_WAITING or is_over.is_set():
                continue
            waiting[session] += 1
            order = m.Submit(request=connection.number(), session=session, idem=new_id(), text=text, follow=True)
            ack = await self._ask(connection, order, m.Ack)
            self._ledger.prompts.append(Promise(number, session, ack.seq, text))

    async def _listen(self, connection: Connection, waiting: dict[str, int]) -> None:
        while True:
            pushed = await connection.pushed.get()
            if isinstance(pushed, m.Final):
                self._ledger.finals[pushed.session, pushed.seq] = pushed.stop_reason
                waiting[pushed.session] = max(0, waiting[pushed.session] - 1)
            elif not isinstance(pushed, m.Piece):  # FINALs may have been missed: what waits is not known any more
                for session in waiting:
                    waiting[session] = 0

    # ---- the killer

    async def _moment(self, kill: Kill) -> None:
        """Wait for the moment; one that does not come in MOMENT_S is as good as any."""
        acked, asked = len(self._ledger.prompts), len(self._model.calls)
        is_there = {
            "any": lambda: True,
            "serving": lambda: find_running(self._fleet.home),
            "acknowledged": lambda: len(self._ledger.prompts) > acked,
            "asked": lambda: len(self._model.calls) > asked,
        }[kill.moment]
        with contextlib.suppress(NotServing):
            await wait_until(is_there, MOMENT_S, kill.moment)
        await asyncio.sleep(kill.delay_s)
        is_born = {
            "zygote": lambda: ZYGOTE in self._fleet.processes().values(),
            "worker": self._fleet.workers,
            "both": self._fleet.workers,
        }.get(kill.target, lambda: self._fleet.coordinator)
        with contextlib.suppress(NotServing):
            await wait_until(is_born, MOMENT_S, kill.target)

    def _kill(self, kill: Kill) -> None:
        processes = self._fleet.processes()
        coordinator = self._fleet.coordinator
        workers = [pid for _, pids in sorted(self._fleet.workers().items()) for pid in pids]
        zygotes = [pid for pid, title in processes.items() if title == ZYGOTE]
        chosen = [workers[int(kill.which * len(workers))]] if workers else []
        victims = {
            "worker": chosen,
            "coordinator": [coordinator],
            "both": [coordinator, *chosen],
            "zygote": zygotes,
            "group": [coordinator, *processes],
        }[kill.target]
        victims = [pid for pid in dict.fromkeys(victims) if pid is not None]
        if not victims:
            self.report.missed += 1
            return
        self.report.kills[kill.target] += 1
        for pid in victims:
            self._end(pid, is_worker=pid in workers)
        self._ledger.note_outboxes(self._fleet.home.outboxes)

    def _end(self, pid: int, *, is_worker: bool) -> None:
        """SIGKILL. A worker is halted first, so that what it had finished by then can be noted before it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if is_worker:
                os.kill(pid, signal.SIGSTOP)
                self._ledger.note_outboxes(self._fleet.home.outboxes)
            os.kill(pid, signal.SIGKILL)

    # ---- the barrier

    async def _barrier(self, quiet: Connection) -> None:
        """Wait until everything is answered, compare, and close the sessions of this lap."""
        deadline_s = time.monotonic() + self._drain_s
        for session in self._ids:
            while True:
                rows = await self._history(quiet, session)
                is_lost = bool({p.seq for p in self._ledger.of(session)} - {row.seq for row in rows})
                if is_lost or not unanswered(rows) or time.monotonic() > deadline_s:
                    break
                await asyncio.sleep(0.05)
            self._judge(session, rows)
            self._histories[session] = rows
        await self._judge_processes()
        if not self.report.violations:
            for session in self._ids:
                await self._ask(quiet, m.Close(request=quiet.number(), session=session), m.SessionAnswer)

    async def _judge_processes(self) -> None:
        """One writer for a session: what is left of earlier workers has gone."""
        try:
            crowd = "a session had more than one worker"
            await wait_until(lambda: all(len(w) < 2 for w in self._fleet.workers().values()), self._drain_s, crowd)
        except NotServing:
            crowded = {name: pids for name, pids in self._fleet.workers().items() if len(pids) > 1}
            self.report.violations.append(f"two writers: {crowded}")

    def _judge(self, session: str, rows: list[HistoryRow]) -> None:
        calls = Counter(call.prompt for call in list(self._model.calls))
        self.report.violations += compare(self._ledger, session, rows, calls)

    async def _history(self, quiet: Connection, session: str) -> list[HistoryRow]:
        rows: list[HistoryRow] = []
        while True:
            after = rows[-1].seq if rows else 0
            order = m.Fetch(request=quiet.number(), session=session, after_seq=after, view=False)
            page = await self._ask(quiet, order, m.History)
            rows += page.rows
            if not page.more or not page.rows:
                return rows

    async def _look_back(self) -> None:
        """What was there at a barrier is there at the end, unchanged."""
        quiet = await self._fleet.connect()
        try:
            for session, before in self._histories.items():
                if await self._history(quiet, session) != before:
                    self.report.violations.append(f"changed: session {session} is not what it was at its barrier")
        finally:
            await quiet.close()

    def _sum_up(self, duration_s: float) -> None:
        report = self.report
        report.duration_s = duration_s
        report.starts = self._fleet.starts
        report.exit_codes = Counter(self._fleet.exit_codes)
        report.prompts = len(self._ledger.prompts)
        rows = [row for history in self._histories.values() for row in history]
        report.ends = Counter(str(row.stop_reason) for row in rows if row.role == "assistant")
        report.unsure = sum(row.role == "user" for row in rows) - report.prompts if not report.violations else 0
        report.requests = len(self._model.calls)
        report.finished_seen = len(self._ledger.finished)
        report.finals_seen = len(self._ledger.finals)


def run(folder: Path, **options: object) -> Report:
    """Run and return the report."""
    return asyncio.run(Chaos(folder, **options).run())
