"""A worker process: what ``workers.shell.loop`` does, with the real ``Turns`` and a death between any two lines."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocol import messages as m
from protocol.views import ErrorView, HistoryRow, Usage
from tests.simulation.violation import must
from workers.core.turns import Running, Turns

if TYPE_CHECKING:
    from tests.simulation.world import World

HEARTBEAT_S = 1.0
RESEND_S = 0.5
ENDPOINT_S = 90.0
ORPHAN_S = 900.0
RESEND_PERMIT_S = 1.0
# So often a request is sent that is refused for its rate.
TRIES = 6
PIXEL = m.Image(media_type="image/png", data=b"\x89PNG")
USAGE = Usage(input_tokens=1, output_tokens=2)


def answer_to(prompt: str, turn_id: str) -> str:
    """Return the one right answer to a prompt in a turn."""
    return f"{turn_id} answers: {prompt}"


def kind_of(ask: str) -> str:
    """Return what an ask is: one in three is a question."""
    return "question" if int(ask, 16) % 3 == 0 else "approval"


def words_for(ask: str) -> str | None:
    """Return the only right answer to a question; None for what is none."""
    return f"words for {ask}" if kind_of(ask) == "question" else None


class Worker:
    """One process. ``disk`` keeps its outbox when it dies; everything else dies with it."""

    def __init__(self, world: "World", session: str, epoch: int, token: bytes, pid: int) -> None:
        self.world = world
        self.session = session
        self.epoch = epoch
        self.pid = pid
        self.peer = f"{session}-{epoch}-{pid}".encode()
        self.is_alive = True
        self.is_stopped = False
        self.is_announced = False
        self.version = ""
        self.signals: list[str] = []
        self._token = token
        self._turns = Turns()
        self._boot: int | None = None
        self._is_restored = False
        self._skip: int | None = 0
        self._known: list[list[int | str]] = []
        self._oldest: int | None = None
        self._waiting: m.Deliver | m.Continue | None = None
        self._wanting: Running | None = None
        self._heard_s = world.time.now_s
        self._turn_ids = 0
        # Permits, as ``workers.shell.permits`` counts them: the coordinator that counts, the last call, up to which all
        # are over, and what is done when the call that is waited for gets its permit.
        self._counts = 0
        self._call = self._over = self._holds = 0
        self._then: Callable[[], None] | None = None
        self._barred_until_s = 0.0
        self._stash: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._on = {
            m.Welcome: self._on_welcome,
            m.Fenced: self._on_fenced,
            m.Leave: self._on_leave,
            m.Pong: self._on_pong,
            m.HistoryBack: self._on_history,
            m.Restore: self._on_restore,
            m.SnapshotWanted: self._on_snapshot_wanted,
            m.StacksWanted: self._on_stacks_wanted,
            m.Deliver: self._on_deliver,
            m.Continue: self._on_deliver,
            m.CancelTurn: self._on_cancel,
            m.AskNoted: self._on_ask_noted,
            m.WriteKnown: self._on_nothing,
            m.Rack: self._on_rack,
            m.Endpoint: self._on_endpoint,
            m.EndpointRefused: self._on_endpoint,
            m.Permit: self._on_permit,
            m.PermitRefused: self._on_permit_refused,
            m.Renamed: self._on_nothing,
            m.Retyped: self._on_nothing,
            m.NameWanted: self._on_name_wanted,
            m.ToolEnded: self._on_nothing,
            m.Refused: self._on_nothing,
        }

    # ---- life and death

    def begin(self) -> None:
        """The first lines of the process."""
        self.world.time.soon(HEARTBEAT_S, self._beat)
        self._say_hello()

    def run(self, do: Callable[..., None], *args: Any) -> None:
        """Do something now, or when the process is continued, or never."""
        if self.is_stopped:
            self._stash.append((do, args))
        elif self.is_alive:
            do(*args)

    def _later(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        self.world.time.after(delay_s, self.run, do, *args)

    def _dies_here(self, where: str) -> bool:
        """Say whether SIGKILL comes between these two lines."""
        if not self.world.faults.kills_here():
            return False
        self.world.crash(f"worker killed {where}")
        self.die("SIGKILL", None)
        return True

    def die(self, signal: str | None, code: int | None) -> None:
        """The process is gone."""
        if self.is_alive:
            self.is_alive = self.is_stopped = False
            self.world.ledger.request_ends(self.peer)
            self.world.buried(self, signal, code)

    def take_signal(self, name: str) -> None:
        """A signal arrives; a stopped process heeds only SIGKILL."""
        if name == "SIGKILL":
            self.die("SIGKILL", None)
        else:
            self.run(self.die, None, 0)

    def resume(self) -> None:
        """SIGCONT."""
        if self.is_alive and self.is_stopped:
            self.is_stopped = False
            stash, self._stash = self._stash, []
            for do, args in stash:
                self.run(do, *args)

    @property
    def outbox(self) -> list[m.Started | m.Reply]:
        """The file."""
        return self.world.disk.outboxes.setdefault((self.session, self.epoch), [])

    # ---- out

    def _send(self, message: m.WorkerSays) -> None:
        self.world.network.from_worker(self.peer, message)

    def _say_hello(self) -> None:
        seq, turn_id, leg = self._turns.in_hand
        hello = m.Hello(
            session=self.session,
            epoch=self.epoch,
            token=self._token,
            pid=self.pid,
            seq=seq,
            turn_id=turn_id,
            leg=leg,
            version=self.version,
        )
        self._send(hello)

    def _beat(self) -> None:
        if not self.is_alive:
            return
        self._later(HEARTBEAT_S, self._beat)
        if self.is_stopped:
            return
        if self._turns.running is None and self.world.time.now_s - self._heard_s > ORPHAN_S:
            self.die(None, 0)
        elif self._boot is None:
            self._say_hello()
        else:
            self._ping()
            if not self._is_restored:
                self._fetch_back()

    def _ping(self) -> None:
        turn_id = self._turns.in_hand[1]
        ping = m.Ping(
            session=self.session, epoch=self.epoch, state="idle", turn_id=turn_id, loop_lag_ms=0,
            boot=self._counts, permit=self._holds, permits_over=self._over,
        )  # fmt: skip
        self._send(ping)

    # ---- in

    def hear(self, message: m.ToWorker) -> None:
        """A message of the coordinator arrives."""
        self._heard_s = self.world.time.now_s
        self._on[type(message)](message)

    def _on_nothing(self, message: m.ToWorker) -> None:
        pass

    def _on_fenced(self, message: m.Fenced) -> None:
        self.world.ledger.counts["workers fenced"] += 1
        self.die(None, 3)

    def _on_leave(self, message: m.Leave) -> None:
        if self.world.faults.hangs_here():
            self.is_stopped = True  # it never answers again, until it is killed
        else:
            self.die(None, 0)

    def _on_pong(self, message: m.Pong) -> None:
        if message.boot != self._boot:
            self._say_hello()

    def _on_welcome(self, welcome: m.Welcome) -> None:
        self._boot = welcome.boot
        self._counts = max(self._counts, welcome.boot)
        self._ask()
        self._ping()
        if not self._is_restored:
            self._fetch_back()
        if self._turns.unconfirmed is not None:
            self._send(self._turns.unconfirmed)
        if self._wanting is not None:
            self._send(m.EndpointWanted(session=self.session, epoch=self.epoch))

    def _fetch_back(self) -> None:
        if self._skip is not None:
            self._send(m.RestoreWanted(session=self.session, epoch=self.epoch, skip=self._skip))
            return
        self._send(m.FetchBack(session=self.session, epoch=self.epoch, before_seq=self._oldest))

    def _on_restore(self, stored: m.Restore) -> None:
        if self._is_restored or self._skip is None:
            return
        if stored.snapshot is None:
            self._skip = None
            self._on_history(m.HistoryBack(rows=stored.rows, more=stored.more))
        elif self.world.faults.damages_snapshot():
            self.world.ledger.counts["snapshots damaged"] += 1
            self._skip = self._skip + 1 if self._skip == 0 else None
            self._fetch_back()
        else:
            self._known = json.loads(stored.snapshot)
            self.world.ledger.counts["snapshots used"] += 1
            self._on_history(m.HistoryBack(rows=stored.rows, more=False))

    def _on_history(self, page: m.HistoryBack) -> None:
        if self._is_restored:
            return
        self._learn(page.rows)
        if page.more and page.rows:
            self._oldest = min(row.seq for row in page.rows)
            self._fetch_back()
            return
        self._is_restored = True
        self._send(m.Restored(session=self.session, epoch=self.epoch, source="history", exchanges=len(self._known)))
        self.world.knows_its_history(self.session, self._known)
        if self._waiting is not None:
            self._on_deliver(self._waiting)

    def _learn(self, rows: list[HistoryRow]) -> None:
        """Keep the prompts that are over, with how."""
        replies = {row.reply_to: row.text for row in rows if row.reply_to is not None}
        known = {seq for seq, _ in self._known}  # a page may come twice
        new = [[row.seq, replies[row.seq]] for row in rows if row.seq in replies and row.seq not in known]
        self._known = sorted([*self._known, *new])

    def _on_snapshot_wanted(self, wanted: m.SnapshotWanted) -> None:
        if self.world.faults.hangs_here():
            return  # it never answers the question
        is_busy = self._turns.running is not None or self._turns.unconfirmed is not None or not self._is_restored
        if is_busy or self.world.time.chance(0.05):
            self._send(m.Busy(session=self.session, epoch=self.epoch, n=wanted.n, why="something runs"))
            return
        through = max((seq for seq, _ in self._known), default=0)
        data = json.dumps(self._known).encode()
        self._send(m.SnapshotTaken(session=self.session, epoch=self.epoch, n=wanted.n, through_seq=through, data=data))

    def _on_name_wanted(self, wanted: m.NameWanted) -> None:
        """Ask for a permit and, when it comes at once, make the request; a turn goes before."""
        if self._turns.running is None and self._then is None and self._is_restored:
            self._call += 1
            self._then = self._give_name
            naming = m.PermitWanted(
                session=self.session, epoch=self.epoch, boot=self._counts, call=self._call, turn_id=m.NAMING
            )
            self._send(naming)

    def _give_name(self) -> None:
        text = self.world.time.rng.choice(
            ("A good name", "parser-crash-fix", "I cannot say that in so few words, sorry")
        )
        self._later(0.2, self._name_is_found, text, self._call)

    def _name_is_found(self, text: str, call: int) -> None:
        if self._holds == call:
            self._send(m.NameGiven(session=self.session, epoch=self.epoch, text=text, usage=USAGE))
            self._give_back(200)

    def _on_stacks_wanted(self, wanted: m.StacksWanted) -> None:
        self._send(m.Stacks(session=self.session, epoch=self.epoch, n=wanted.n, text="somewhere"))

    def _on_deliver(self, deliver: m.Deliver | m.Continue) -> None:
        if not self._is_restored:
            self._waiting = deliver
            return
        self._turn_ids += 1
        is_busy = self._turns.running is not None
        running = self._turns.accept(deliver, f"{self.session}.{self.epoch}.{self._turn_ids}")
        if running is None:
            self.world.ledger.counts["deliveries recognised"] += 1
            now = self._turns.running
            if now is not None and isinstance(deliver, m.Continue) and (now.seq, now.leg) == (deliver.seq, deliver.leg):
                self._send(self._started(now))
            return
        must(not is_busy, "two turns run at once in a worker", self.session, deliver)
        if self._call > self._over:  # the question for a name is in the way
            self._give_back(None)
            if not self.is_alive:
                return
        self.world.ledger.begin_turn(self.session, running.seq, running.turn_id)
        if not self._dies_here("before it asks for the model"):
            self._wanting = running
            self._send(m.EndpointWanted(session=self.session, epoch=self.epoch))
            self._later(ENDPOINT_S, self._give_up, running)

    # ---- a turn

    def _give_up(self, running: Running) -> None:
        if self._wanting is running and self._turns.running is running:
            self._wanting = None
            self._finish(running, 0, "model.unavailable")

    def _on_endpoint(self, message: m.Endpoint | m.EndpointRefused) -> None:
        running, self._wanting = self._wanting, None
        if running is None:
            return
        if isinstance(message, m.EndpointRefused):
            self._finish(running, 0, message.error.code)
            return
        if self._dies_here("before it notes the start"):
            return
        started = self._started(running)
        self.outbox.append(started)
        if self._dies_here("between the note of the start and STARTED"):
            return
        self._send(started)
        if running.resume is not None and not self._run_tools(running):
            return
        self._want(running, lambda: self._request(running, 1))

    def _started(self, running: Running) -> m.Started:
        return m.Started(
            session=self.session, epoch=self.epoch, seq=running.seq, turn_id=running.turn_id, leg=running.leg
        )

    def _run_tools(self, running: Running) -> bool:
        """Run what was approved; False when it dies of it."""
        assert running.resume is not None
        for ask, approved in json.loads(running.resume.state):
            if ask not in running.resume.approved:
                continue
            must(running.resume.approved[ask] == approved, "what runs is not what was approved", ask)
            if words_for(ask) is not None:
                must(running.resume.answers[ask] == words_for(ask), "an answer is not what was said", ask)
            intent = m.ToolIntent(
                session=self.session, epoch=self.epoch, seq=running.seq, turn_id=running.turn_id, call=ask, tool="t",
                text="",
            )  # fmt: skip
            self.outbox.append(intent)
            if self._dies_here("between the intent and the tool"):
                return False
            self.world.ledger.tool_runs(ask, running.turn_id, self.world.disk)
            if self._dies_here("between the tool and its mark"):
                return False
            done = m.ToolDone(
                session=self.session, epoch=self.epoch, seq=running.seq, turn_id=running.turn_id, call=ask
            )
            self.outbox.append(done)
        return True

    # ---- asks

    def _ask_person(self, running: Running, pieces: int) -> None:
        """The leg ends with a question."""
        ids = [f"{self.world.next_id():016x}" for _ in range(self.world.time.rng.choice((1, 1, 2)))]
        asks = [
            m.ToolAsk(
                id=key, call=key, kind=kind_of(key), tool="run_command", argv=["/bin/sh", "-c", key], text=key,
                digest=f"digest of {key}",
            )
            for key in ids
        ]  # fmt: skip
        state = json.dumps([[ask.id, ask.digest] for ask in asks]).encode()
        asked = m.Asked(
            session=self.session, epoch=self.epoch, seq=running.seq, turn_id=running.turn_id, leg=running.leg,
            asks=asks, state=state, text=f"{running.turn_id} wants", usage=USAGE, pieces=pieces,
        )  # fmt: skip
        if not self.world.faults.disk_is_full:
            self.outbox.append(asked)
        if self._dies_here("between the outbox and ASKED"):
            return
        self._turns.finish(asked)
        self._hand_over(asked)
        self._dies_here("between ASKED and ASKNOTED")

    def _on_ask_noted(self, noted: m.AskNoted) -> None:
        if self._dies_here("between ASKNOTED and the end of its outbox"):
            return
        if self._turns.confirm_asks(noted):
            self.outbox.clear()

    def _on_cancel(self, order: m.CancelTurn) -> None:
        running, kept = self._turns.running, self._turns.unconfirmed
        if self._waiting is not None and self._waiting.seq == order.seq:
            self._waiting = None
        if running is not None and running.seq == order.seq:
            self._wanting = None
            if self._call > self._over:
                self._give_back(None)
            if self.is_alive:
                self._end(running.seq, running.turn_id, f"{running.turn_id} was", "cancelled", 0, None)
        elif isinstance(kept, m.Asked) and kept.seq == order.seq:
            self._turns.refuse(order.seq)
            self._end(kept.seq, kept.turn_id, kept.text, "cancelled", kept.pieces, None)
        elif kept is None and running is None and self._turns.refuse(order.seq):
            turn_id = f"{self.session}.{self.epoch}.cancelled-{order.seq}"
            self.world.ledger.begin_turn(self.session, order.seq, turn_id)
            self._end(order.seq, turn_id, "", "cancelled", 0, None)

    # ---- permits

    def _want(self, running: Running, then: Callable[[], None]) -> None:
        """Ask for a permit until it comes."""
        self._call += 1
        self._then = then
        self._ask_again(self._call)

    def _ask_again(self, call: int) -> None:
        if self._then is not None and self._call == call:
            self._ask()
            self._later(RESEND_PERMIT_S, self._ask_again, call)

    def _ask(self) -> None:
        running = self._turns.running
        if self._then is None or running is None:
            return
        barred_s = max(0.0, self._barred_until_s - self.world.time.now_s)
        wanted = m.PermitWanted(
            session=self.session, epoch=self.epoch, boot=self._counts, call=self._call, turn_id=running.turn_id,
            barred_s=barred_s,
        )  # fmt: skip
        self._send(wanted)

    def _on_permit(self, permit: m.Permit) -> None:
        if self._then is None or (permit.boot, permit.call) != (self._counts, self._call):
            self.world.ledger.counts["permits not wanted any more"] += 1
            return
        then, self._then = self._then, None
        self._holds = self._call
        self.world.ledger.request_begins(self.peer)
        if not self._dies_here("with a permit"):
            then()

    def _on_permit_refused(self, refused: m.PermitRefused) -> None:
        if self._turns.running is None and self._then is not None and refused.call == self._call:
            self._give_back(None)  # a name is not worth more

    def _give_back(self, status: int | None, retry_after_s: float | None = None) -> None:
        self._over, self._holds, self._then = self._call, 0, None
        self.world.ledger.request_ends(self.peer)
        if retry_after_s is not None:
            self._barred_until_s = self.world.time.now_s + retry_after_s
        if self._dies_here("before it gives its permit back"):
            return
        back = m.PermitReturned(
            session=self.session, epoch=self.epoch, boot=self._counts, call=self._call, status=status,
            retry_after_s=retry_after_s, usage=m.Usage(),
        )  # fmt: skip
        self._send(back)

    def _request(self, running: Running, attempt: int) -> None:
        """The request goes out; the model answers, or wants to be left alone."""
        if self._turns.running is not running:
            return
        if attempt == 1 and running.leg == 0:
            self.world.ledger.call(self.session, running.seq, running.turn_id)
        retry_after_s = self.world.faults.refuses_request()
        if retry_after_s is not None:
            self._later(self.world.faults.model_s(), self._refused, running, attempt, retry_after_s)
        else:
            self._later(self.world.faults.model_s(), self._say, running, 0)

    def _refused(self, running: Running, attempt: int, retry_after_s: float) -> None:
        if self._turns.running is not running:
            return
        self.world.ledger.counts["requests refused for the rate"] += 1
        self._give_back(429, retry_after_s or None)
        if not self.is_alive:
            return
        if attempt == TRIES:
            self._finish(running, 0, "model.rate_limited")
        else:
            self._want(running, lambda: self._request(running, attempt + 1))

    # ---- the answer

    def _say(self, running: Running, n: int) -> None:
        if self._turns.running is not running or self._dies_here("in the middle of an answer"):
            return
        text = answer_to(running.prompt, f"{running.turn_id}/{n}")
        self._send(
            m.Delta(session=self.session, epoch=self.epoch, seq=running.seq, turn_id=running.turn_id, n=n, text=text)
        )
        if self.world.time.chance(0.4):
            self._later(self.world.faults.model_s(), self._say, running, n + 1)
        else:
            self._later(self.world.faults.model_s(), self._answered, running, n + 1)

    def _answered(self, running: Running, pieces: int) -> None:
        if self._turns.running is not running:
            return
        self._give_back(200)
        if not self.is_alive:
            return
        if self.world.time.chance(0.25) and running.leg < 4:
            self._ask_person(running, pieces)
        elif self.world.time.chance(0.2):  # a tool was called: the model is asked again in the same turn
            self._want(running, lambda: self._request(running, 2))
        else:
            self._finish(running, pieces, None)

    def _finish(self, running: Running, pieces: int, code: str | None) -> None:
        if self._turns.running is running:
            text = answer_to(running.prompt, running.turn_id)
            self._end(running.seq, running.turn_id, text, "completed" if code is None else "failed", pieces, code)

    def _end(  # noqa: PLR0917 - a reply has so many parts
        self, seq: int, turn_id: str, text: str, stop_reason: str, pieces: int, code: str | None
    ) -> None:
        error = None if code is None else ErrorView(code=code, message="The model did not answer.")
        reply = m.Reply(
            session=self.session,
            epoch=self.epoch,
            seq=seq,
            turn_id=turn_id,
            text=text,
            stop_reason=stop_reason,
            usage=USAGE,
            pieces=pieces,
            error=error,
        )
        if not self.world.faults.disk_is_full:  # else it is kept in memory, and sent until the coordinator has it
            self.outbox.append(reply)
            self.world.ledger.finish(self.session, seq, turn_id, reply.stop_reason, reply.text)
        if self._dies_here("between the outbox and REPLY"):
            return
        self._turns.finish(reply)
        if text:
            self._known.append([seq, text])
        self._hand_over(reply)
        self._dies_here("between REPLY and RACK")

    def _hand_over(self, reply: m.Reply | m.Asked) -> None:
        if self._turns.unconfirmed is reply:
            self._send(reply)
            self._later(RESEND_S, self._hand_over, reply)

    def _on_rack(self, rack: m.Rack) -> None:
        if self._dies_here("between RACK and the end of its outbox"):
            return
        if self._turns.confirm(rack.turn_id):
            self.outbox.clear()
