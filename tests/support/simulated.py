"""A world for the core without a process, a socket or a clock: it performs effects in memory, one step at a time.

What the machine orders is answered the way the shell would: commits with outcomes, spawns with processes, in the order
that the test chooses.
"""

import dataclasses
import hashlib
from collections import deque
from dataclasses import dataclass, field

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.machine import Machine
from protocol import messages as m
from protocol.outbox import Record
from protocol.settings import ModelSettings, Settings
from protocol.views import ParentView, Usage

CLIENT = b"client"
FIRST = "00000000000000aa"


def asked(session: str, seq: int, *ids: str, leg: int = 0, text: str = "") -> dict:
    """Return what a worker says when it stops to ask, but for its session and epoch."""
    asks = [
        m.ToolAsk(
            id=key, call=f"call-{key}", kind="approval", tool="run_command", argv=["/bin/sh", "-c", f"echo {key}"],
            text=f"echo {key}", digest=f"digest-{key}",
        )
        for key in ids
    ]  # fmt: skip
    usage = Usage(input_tokens=1, output_tokens=2)
    turn = f"turn-{session}-{seq}"
    return {
        "seq": seq, "turn_id": turn, "leg": leg, "asks": asks, "state": b"state", "text": text, "usage": usage,
        "pieces": 1,
    }  # fmt: skip


def state(world: "Simulated", session: str) -> tuple[str, str]:
    """Return residency and work of a session."""
    found = world.world.sessions[session]
    return found.residency.value, found.work.value


@dataclass
class SimulatedStore:
    """What is durable, as ``coordinator.shell.records`` keeps it."""

    sessions: dict[str, dict] = field(default_factory=dict)
    messages: dict[str, list[dict]] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    legs: dict[str, dict] = field(default_factory=dict)
    asks: dict[str, e.SaveDecision | None] = field(default_factory=dict)
    staged: dict[str, dict] = field(default_factory=dict)
    boots: int = 1

    def apply(self, change: e.Change) -> ev.Outcome:
        applied = {
            e.InsertSession: self._insert_session,
            e.BumpEpoch: self._bump,
            e.SaveSnapshot: self._save_snapshot,
            e.InsertPrompt: self._insert_prompt,
            e.InsertRetry: self._insert_retry,
            e.InsertReply: self._insert_reply,
            e.InsertFork: self._insert_fork,
            e.StageRows: self._stage,
            e.InsertImported: self._insert_imported,
        }.get(type(change))
        if applied is not None:
            return applied(change)
        if isinstance(change, e.SaveActive):
            self.active.pop(change.client, None)
            if change.session is not None:
                self.active[change.client] = change.session
        else:
            self._save(change, self.sessions[change.session])
        return ev.Outcome()

    def _insert_session(self, change: e.InsertSession) -> ev.Outcome:
        self.sessions[change.session] = {
            "change": change, "name": change.name, "epoch": 0, "closed": False, "failed": False,
            "unread": False, "pid": None, "card": None, "digest": b"", "snapshots": [],
            "pinned": False, "archived": False, "draft": "", "type": change.type, "proposed_type": None,
            "is_named": change.is_named, "model": change.model, "temperature": change.temperature,
        }  # fmt: skip
        self.messages[change.session] = []
        return self._bump(change) if change.starts else ev.Outcome(epoch=0)

    def _insert_fork(self, change: e.InsertFork) -> ev.Outcome:
        source = self.messages[change.source]
        replies = {row["reply_to"]: row for row in source if row.get("reply_to")}
        prompts = [row for row in source if "idem" in row and row["seq"] in replies]
        if change.at_seq is not None:
            at = next((row for row in source if row["seq"] == change.at_seq), {})
            last = at.get("reply_to") or at.get("seq", 0)
            if change.at_seq and last not in replies:
                return ev.Outcome(refusal=f"Message {change.at_seq} is not there")
            prompts = [row for row in prompts if row["seq"] <= last]
        born, kind = self.sessions[change.source]["change"], self.sessions[change.source]["type"]
        fields = {"session": change.session, "name": change.name, "number": change.number, "starts": False}
        own = {key: self.sessions[change.source][key] for key in ("model", "temperature")}
        self._insert_session(dataclasses.replace(born, type=kind, is_named=True, **own, **fields))
        rows = self.messages[change.session]
        for k, row in enumerate(prompts, 1):
            rows.append(row | {"seq": 2 * k - 1, "idem": f"fork-{k}"})
            rows.append(replies[row["seq"]] | {"seq": 2 * k, "reply_to": 2 * k - 1})
        parent_seq = max((replies[row["seq"]]["seq"] for row in prompts), default=0)
        self.sessions[change.session]["parent"] = ParentView(session=change.source, seq=parent_seq)
        return ev.Outcome(token_sha256=b"fork", messages=len(rows), parent_seq=parent_seq)

    def _stage(self, change: e.StageRows) -> ev.Outcome:
        self.staged.setdefault(change.batch, {}).update({row.seq: row for row in change.rows})
        return ev.Outcome()

    def _insert_imported(self, change: e.InsertImported) -> ev.Outcome:
        staged = self.staged.pop(change.batch, {})
        if len(staged) != change.messages:
            return ev.Outcome(refusal="A message is missing")
        born = e.InsertSession(
            change.session, change.name, change.number, change.type, change.model, change.system, change.cwd,
            change.env, change.created_at, b"", 0, starts=False, group=change.group, template=change.template,
            temperature=change.temperature,
        )  # fmt: skip
        self._insert_session(born)
        own = {"closed": change.closed, "archived": change.archived, "origin": change.origin, "parent": change.parent}
        self.sessions[change.session].update(own)
        for seq in sorted(staged):
            row = staged[seq]
            kind = {"reply_to": row.reply_to} if row.reply_to else {"idem": f"import-{seq}"}
            self.messages[change.session].append({"seq": seq, "text": row.text, "turn_id": None} | kind)
        return ev.Outcome(token_sha256=b"import")

    def _save_snapshot(self, change: e.SaveSnapshot) -> ev.Outcome:
        row = self.sessions[change.session]
        row["snapshots"] = [*row["snapshots"][-1:], change]
        return self._bump(change)

    def _save(self, change: e.Change, row: dict) -> None:
        match change:
            case e.SaveStarted() | e.InsertAsks() | e.SaveDecision():
                self._save_leg(change)
            case e.SaveCrashes() | e.SaveResumed():
                self._save_fate(change)
            case e.SaveRoster():
                if row["epoch"] == change.epoch:
                    row["pid"] = change.pid
            case e.SaveExit():
                row["card"] = change.card
            case e.SaveName():
                if change.is_final is not None:
                    row.update(name=change.name, is_named=True, has_words_for_name=not change.is_final)
            case e.SaveMark():
                row[change.mark] = change.value
                if change.mark == "type":
                    row["proposed_type"] = None
            case e.SaveClosed():
                row["closed"] = True
            case e.SaveFailed():
                row["failed"] = change.failed
            case e.SaveSeen():
                row["unread"] = False
            case e.DeleteSession():
                del self.sessions[change.session], self.messages[change.session]

    def _save_leg(self, change: e.SaveStarted | e.InsertAsks | e.SaveDecision) -> None:
        match change:
            case e.SaveStarted():
                self.messages[change.session][change.seq - 1]["turn_id"] = change.turn_id
                leg = self.legs.get(change.session)
                if leg is not None and leg["seq"] == change.seq and leg["report"].leg < change.leg:
                    leg["begun"] = True
            case e.InsertAsks():
                self.messages[change.session][change.seq - 1]["turn_id"] = change.report.turn_id
                self.legs[change.session] = {
                    "seq": change.seq,
                    "report": change.report,
                    "at": change.at,
                    "begun": False,
                }
                self.asks |= {ask.id: None for ask in change.report.asks}
            case e.SaveDecision():
                if self.asks[change.ask] is None:
                    self.asks[change.ask] = change

    def _save_fate(self, change: e.SaveCrashes | e.SaveResumed) -> None:
        row = self.messages[change.session][change.seq - 1]
        if isinstance(change, e.SaveCrashes):
            row["crashes"] = change.crashes
        else:
            row.update(resumed=change.epoch, turn_id=None)

    def _bump(self, change: e.Change) -> ev.Outcome:
        session = change.session
        row = self.sessions[session]
        row["epoch"] += 1
        row["pid"] = None
        token = f"{session}-{row['epoch']}".encode()
        row["digest"] = hashlib.sha256(token).digest()
        return ev.Outcome(epoch=row["epoch"], token=token, token_sha256=row["digest"])

    def _insert_prompt(self, change: e.InsertPrompt) -> ev.Outcome:
        rows = self.messages[change.session]
        for row in rows:
            if row.get("idem") == change.idem:
                reply = next((r for r in rows if r.get("reply_to") == row["seq"]), None)
                return ev.Outcome(
                    seq=row["seq"],
                    is_new=False,
                    conflict=row["text"] != change.text,
                    answered_by=reply and reply["seq"],
                )
        return self._append_prompt(change, change.text, has_images=bool(change.images))

    def _insert_retry(self, change: e.InsertRetry) -> ev.Outcome:
        rows = self.messages[change.session]
        for row in rows:
            if row.get("idem") == change.idem:
                return ev.Outcome(seq=row["seq"], is_new=False)
        last = next((row for row in reversed(rows) if "idem" in row), None)
        reply = last and next((r for r in rows if r.get("reply_to") == last["seq"]), None)
        if reply is None or reply["stop_reason"] == "completed":
            return ev.Outcome()
        return self._append_prompt(change, last["text"], has_images=last.get("has_images", False))

    def _append_prompt(self, change: e.InsertPrompt | e.InsertRetry, text: str, *, has_images: bool) -> ev.Outcome:
        rows = self.messages[change.session]
        row = {"seq": len(rows) + 1, "idem": change.idem, "text": text, "turn_id": None, "has_images": has_images}
        rows.append(row)
        return ev.Outcome(seq=len(rows), text=text, has_images=has_images)

    def _insert_reply(self, change: e.InsertReply) -> ev.Outcome:
        self.sessions[change.session]["unread"] = change.unread
        if self.legs.get(change.session, {}).get("seq") == change.reply_to:
            del self.legs[change.session]
        rows = self.messages[change.session]
        for row in rows:
            if row.get("reply_to") == change.reply_to:
                return ev.Outcome(seq=row["seq"], is_new=False)
        seq = len(rows) + 1
        rows.append({"seq": seq, "reply_to": change.reply_to, "text": change.text, "stop_reason": change.stop_reason})
        return ev.Outcome(seq=seq)

    def unanswered(self, session: str) -> list[dict]:
        rows = self.messages[session]
        answered = {row.get("reply_to") for row in rows}
        return [row for row in rows if "idem" in row and row["seq"] not in answered]

    def load(self) -> tuple[ev.StoredSession, ...]:
        """What the next coordinator reads."""
        return tuple(
            ev.StoredSession(
                id=key,
                name=row["name"],
                number=row["change"].number,
                type=row["type"],
                model=row["model"],
                system=row["change"].system,
                cwd=row["change"].cwd,
                env=row["change"].env,
                epoch=row["epoch"],
                token_sha256=row["digest"],
                closed=row["closed"],
                failed=row["failed"],
                unread=row["unread"],
                messages=len(self.messages[key]),
                tokens=0,
                created_at=row["change"].at,
                last_active_at=row["change"].at,
                exit_card=row["card"],
                unanswered=tuple(
                    ev.StoredPrompt(
                        p["seq"],
                        p["text"],
                        p["turn_id"],
                        p.get("crashes", 0),
                        p.get("resumed", 0),
                        p.get("has_images", False),
                    )
                    for p in self.unanswered(key)
                ),
                pid=row["pid"],
                start_ticks=None if row["pid"] is None else 1,
                leg=self._leg(key),
                pinned=row["pinned"],
                temperature=row["temperature"],
                archived=row["archived"],
                draft=row["draft"],
                parent=row.get("parent"),
                origin=row.get("origin"),
                group=row["change"].group,
                template=row["change"].template,
                is_named=row["is_named"],
                proposed_type=row["proposed_type"],
                has_words_for_name=row.get("has_words_for_name", False),
            )
            for key, row in self.sessions.items()
        )

    def _leg(self, session: str) -> ev.StoredLeg | None:
        leg = self.legs.get(session)
        if leg is None:
            return None
        report = leg["report"]
        asks = tuple(
            ev.StoredAsk(
                a.id, a.call, a.kind, a.tool, a.argv, a.text, a.digest, leg["at"],
                self.asks[a.id] and self.asks[a.id].approved, self.asks[a.id].by if self.asks[a.id] else "",
            )
            for a in report.asks
        )  # fmt: skip
        number = report.leg + leg["begun"]
        return ev.StoredLeg(leg["seq"], report.turn_id, number, report.text, report.pieces, asks, leg["begun"])


class Simulated:
    """The machine with simulated surroundings.

    Args:
        commits_at_once: perform commits and spawns immediately; otherwise they wait in ``pending`` for ``settle``.
    """

    def __init__(self, *, commits_at_once: bool = True, **settings: object) -> None:
        models = {
            name: ModelSettings(provider="openai", model="m", base_url=f"http://127.0.0.1:{n}/v1")
            for n, name in enumerate(("m", "other"), start=1)
        }
        self._settings = Settings(default_model="m", models=models, **settings)
        self.machine = Machine(self._settings)
        self.store = SimulatedStore()
        self.now_s = 1_000.0
        self.to_clients: list[tuple[bytes, m.Message]] = []
        self.to_workers: list[tuple[bytes, m.Message]] = []
        self.processes: dict[tuple[str, int], bytes] = {}
        self.signals: list[tuple[str, int, str]] = []
        self.timers: list[tuple[float, tuple[str, str, int]]] = []
        # Changes that are not durable yet, and events on their way; a change is applied when its turn comes.
        self.pending: deque[ev.Event | e.Change] = deque()
        self.dropped: list[tuple[str, int]] = []
        # What dead workers had noted when the next coordinator starts.
        self.outboxes: dict[tuple[str, int], tuple[Record, ...]] = {}
        # Whose tools were ended, and which model servers.
        self.tools_ended: list[tuple[str, int]] = []
        self.servers_ended: list[e.EndModelServers] = []
        self.left = False
        # Turns that a worker was to go on with, and asks that the store was asked about.
        self.continued: list[e.SendContinue] = []
        self.prompts_sent: list[e.SendPrompt] = []
        self.fates: list[e.SendAskFate] = []
        self._at_once = commits_at_once
        self._requests = 0
        self._pids = 100
        self._orders = 0
        self._begin()

    def _begin(self) -> None:
        alive = frozenset(s.id for s in self.store.load() if s.pid is not None and (s.id, s.epoch) in self.processes)
        self.step(
            ev.Booted(
                self.store.boots,
                "node",
                1_700_000_000.0,
                self.store.load(),
                dict(self.store.active),
                alive,
                self.outboxes,
            )
        )
        self.say(m.ClientHello(client="cli", pid=1))

    def reboot(self) -> None:
        """SIGKILL the coordinator and start another: what was not committed is gone, processes go on."""
        self.pending.clear()
        self.timers.clear()
        self.signals.clear()
        self.left = False
        self.store.boots += 1
        self.machine = Machine(self._settings)
        self._begin()

    @property
    def world(self):
        return self.machine.world

    # ---- time

    def step(self, event: ev.Event) -> None:
        for effect in self.machine.step(event, self.now_s):
            self._perform(effect)
        if self._at_once:
            self.settle()

    def settle(self) -> None:
        while self.pending:
            self.step_one()

    def step_one(self) -> None:
        event = self.pending.popleft()
        if isinstance(event, e.Change):
            event = ev.Committed(event, self.store.apply(event))
        for effect in self.machine.step(event, self.now_s):
            self._perform(effect)

    def advance(self, seconds: float) -> None:
        """Let time pass, second by second, with its timers and ticks."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 1)
            due = sorted(t for t in self.timers if t[0] <= self.now_s)
            self.timers = [t for t in self.timers if t[0] > self.now_s]
            for _, key in due:
                self.step(ev.TimerFired(key))
            self.step(ev.Ticked(1_700_000_000.0 + self.now_s))

    def _perform(self, effect: e.Effect) -> None:
        match effect:
            case e.SendClient():
                self.to_clients.append((effect.peer, effect.message))
            case e.SendWorker():
                self.to_workers.append((effect.peer, effect.message))
            case e.Commit():
                self.pending.append(effect.change)
            case e.SpawnWorker():
                self._pids += 1
                self.processes[effect.session, effect.epoch] = effect.token
                self.pending.append(ev.WorkerSpawned(effect.session, effect.epoch, self._pids, 1))
            case e.EndWorker():
                self.signals.append((effect.session, effect.epoch, effect.signal))
            case e.StartTimer():
                self.timers.append((self.now_s + effect.delay_s, effect.key))
            case e.EndTools():
                self.tools_ended.append((effect.session, effect.epoch))
            case e.EndModelServers():
                self.servers_ended.append(effect)
            case e.SendContinue():
                self.continued.append(effect)
            case e.SendPrompt():
                self.prompts_sent.append(effect)
            case e.SendAskFate():
                self.fates.append(effect)
            case e.SendTurnEnd():
                self._tell_end(effect)
            case e.DropOutbox():
                self.dropped.append((effect.session, effect.epoch))
            case e.LeaveLoop():
                self.left = True

    def _tell_end(self, effect: e.SendTurnEnd) -> None:
        for row in self.store.messages[effect.session]:
            if row.get("reply_to") == effect.seq:
                told = m.Cancelled(
                    request=effect.request, session=effect.session, seq=effect.seq, stop_reason=row["stop_reason"]
                )
                self.to_clients.append((effect.peer, told))

    # ---- clients

    def say(self, message: m.Message, peer: bytes = CLIENT) -> list[m.Message]:
        """Send a client's message; returns what came back to it."""
        before = len(self.to_clients)
        self.step(ev.ClientSpoke(peer, message))
        return [message for to, message in self.to_clients[before:] if to == peer]

    def ask(self, kind: type, peer: bytes = CLIENT, **fields: object) -> m.Message:
        """Send a request and return its answer."""
        self._requests += 1
        answers = self.say(kind(request=self._requests, **fields), peer)
        return next(a for a in answers if getattr(a, "request", None) == self._requests)

    def order_session(self, name: str | None, *, queue: bool = True) -> list[m.Message]:
        """Order a session; the first one has FIRST as its id. Returns what was answered at once."""
        self._orders += 1
        order = m.Create(
            request=self._orders + 1_000,
            id=f"{0xA9 + self._orders:016x}",
            name=name,
            type="debug",
            model=None,
            system=None,
            cwd="/",
            env={},
            queue=queue,
        )
        return self.say(order)

    def create(self, name: str | None = None, peer: bytes = CLIENT, **fields: object) -> m.Message:
        self._requests += 1
        order = {"type": "development", "model": None, "system": None, "cwd": "/", "env": {}} | fields
        return self.ask(m.Create, peer, id=f"{self._requests:016x}", name=name, **order)

    def new(self, name: str) -> str:
        """Make a session, live, and return its id."""
        answer = self.create(name)
        assert isinstance(answer, m.SessionAnswer), answer
        self.hello(answer.session.id)
        return answer.session.id

    def submit(self, session: str, text: str, idem: str | None = None, *, follow: bool = False) -> m.Message:
        self._requests += 1
        return self.ask(m.Submit, session=session, idem=idem or f"idem{self._requests}", text=text, follow=follow)

    def heard(self, kind: type, peer: bytes = CLIENT) -> list:
        return [message for to, message in self.to_clients if to == peer and isinstance(message, kind)]

    # ---- workers

    def peer(self, session: str, epoch: int | None = None) -> bytes:
        return f"worker-{session}-{epoch or self.epoch(session)}".encode()

    def epoch(self, session: str) -> int:
        return self.world.sessions[session].epoch

    def report(self, session: str, kind: type, epoch: int | None = None, **fields: object) -> list[m.Message]:
        """Send a worker's message; returns what came back to it."""
        number = epoch or self.epoch(session)
        peer = self.peer(session, number)
        before = len(self.to_workers)
        self.step(ev.WorkerSpoke(peer, kind(session=session, epoch=number, **fields)))
        return [message for to, message in self.to_workers[before:] if to == peer]

    def hello(self, session: str, epoch: int | None = None, **fields: object) -> list[m.Message]:
        number = epoch or self.epoch(session)
        token = self.processes.get((session, number), b"no token")
        pid = self.world.sessions[session].pid or 7
        return self.report(session, m.Hello, number, token=token, pid=pid, **fields)

    def doze(self, session: str, epoch: int | None = None) -> list[m.Message]:
        """Let the worker say what is to be kept, as it was asked last."""
        number = epoch or self.world.sessions[session].worker_epoch
        peer = self.peer(session, number)
        wanted = [message for to, message in self.to_workers if to == peer and isinstance(message, m.SnapshotWanted)]
        return self.report(session, m.SnapshotTaken, number, n=wanted[-1].n, through_seq=0, data=b"snapshot")

    def rest(self, session: str) -> None:
        """Let the worker say what is to be kept, and leave."""
        epoch = self.world.sessions[session].worker_epoch
        self.doze(session)
        self.die(session, epoch, signal=None, code=0)

    def answer(self, session: str, seq: int, text: str, *, started: bool = True) -> list[m.Message]:
        """Let the worker begin a turn, say a piece, and end it."""
        turn = f"turn-{session}-{seq}"
        if started:
            self.report(session, m.Started, seq=seq, turn_id=turn)
            self.report(session, m.Delta, seq=seq, turn_id=turn, n=0, text=text)
        return self.report(
            session,
            m.Reply,
            seq=seq,
            turn_id=turn,
            text=text,
            stop_reason="completed",
            usage=Usage(input_tokens=1, output_tokens=2),
            pieces=1,
        )

    def ask_for(self, session: str, seq: int, *ids: str, leg: int = 0, text: str = "") -> list[m.Message]:
        """Let the worker stop to ask for a yes to a command, one for each id; the turn is that of ``answer``."""
        return self.report(session, m.Asked, **asked(session, seq, *ids, leg=leg, text=text))

    def decide(self, ask: str, *, approve: bool = True, peer: bytes = CLIENT, idem: str = "", why: str = "") -> list:
        self._requests += 1
        key = idem or f"decision{self._requests}"
        return self.say(m.Decide(request=self._requests, ask=ask, approve=approve, idem=key, why=why), peer)

    def die(
        self,
        session: str,
        epoch: int | None = None,
        signal: str | None = "SIGKILL",
        code: int | None = None,
        outbox: tuple[Record, ...] | None = (),
    ) -> None:
        number = epoch or self.world.sessions[session].worker_epoch
        self.processes.pop((session, number), None)
        kind = "signaled" if signal else "exited"
        self.step(ev.WorkerExited(session, number, kind, signal, code, "last words", outbox))


def live(**settings: object) -> Simulated:
    """A world with a live session FIRST, named a, whose commits wait for the test."""
    world = Simulated(commits_at_once=False, **settings)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    return world
