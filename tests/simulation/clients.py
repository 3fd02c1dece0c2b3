"""A client that follows the protocol: it sends a request again until it is answered, and a prompt under the same key.

It follows a takeover with a new socket, says hello when it is not known, and fetches after a gap.
"""

from typing import TYPE_CHECKING

from protocol import messages as m
from protocol.views import HistoryRow
from tests.simulation.violation import must
from tests.simulation.workers import PIXEL, words_for

if TYPE_CHECKING:
    from tests.simulation.world import World

PING_S = 2.0
FIRST_RESEND_S = 0.4
LONGEST_RESEND_S = 5.0
ANSWER_S = 15.0
NAMES = [f"s{i}" for i in range(8)]
# What makes names and proposals of types; the same few, so that names are wanted twice.
SAYINGS = ("", "", " harbour cranes rusting", " plan the roadmap", " traceback error crash")
OTHER = "another text under a key that was used"
IMPORTED = (
    HistoryRow(seq=1, role="user", text="asked there", turn_id=None, stop_reason=None, at=1.0),
    HistoryRow(seq=2, role="assistant", text="said", turn_id="t", stop_reason="completed", at=1.0, reply_to=1),
)
GROUPS = ("g1", "g2")
TYPES = ("debug", "planning", "development", "review")


class Client:
    """One person at a terminal, or with one-shot commands."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self._number = number
        self._sockets = 0
        self._requests = 0
        self._prompts = 0
        self._listens = False
        self._boot = 0
        self._life = 0
        self._request: m.Request | None = None
        self._since_s = 0.0
        self._acknowledged: tuple[str, str] | None = None
        self._batch: str | None = None
        self._pieces: dict[str, int] = {}
        self.peer = b""
        self.is_awake = False

    def begin(self) -> None:
        """Sit down."""
        self._life += 1
        self.is_awake = True
        self._connect()
        self._ping(self._life)
        self.world.time.soon(0.2, self._act, self._life)

    def leave(self) -> None:
        """Gone without a word; nobody sends anything again."""
        self.is_awake = False
        self._request = None
        self._listens = False

    def _connect(self) -> None:
        if self.peer:
            self.world.clients_by_peer.pop(self.peer, None)
        self._sockets += 1
        self.peer = f"client-{self._number}-{self._sockets}".encode()
        self.world.clients_by_peer[self.peer] = self
        self._boot = self.world.disk.boots
        self._say_hello()

    def _say(self, message: m.ClientSays) -> None:
        self.world.network.from_client(self.peer, message)

    def _say_hello(self) -> None:
        self._say(m.ClientHello(client="cli" if self._number == 0 else f"c{self._number}", pid=1))

    def _ping(self, life: int) -> None:
        if life == self._life and self.is_awake:
            self._follow_takeover()
            self._say(m.ClientPing())
            self.world.time.after(PING_S, self._ping, life)

    def _follow_takeover(self) -> None:
        """The file of the coordinator names another one: connect to that, and fetch what was missed."""
        if self.world.coordinator is not None and self._boot != self.world.disk.boots:
            self._connect()
            if self._listens:
                self._listens = False
            self._pieces.clear()

    # ---- requests

    def _act(self, life: int) -> None:
        if life != self._life or not self.is_awake or self._request is not None:
            return
        self._requests += 1
        self._request = self._choose(self._requests)
        self._since_s = self.world.time.now_s
        self._send_again(life, self._request, FIRST_RESEND_S)

    def _send_again(self, life: int, request: m.Request, delay_s: float) -> None:
        if life != self._life or self._request is not request or not self.is_awake:
            return
        if self.world.time.now_s - self._since_s > ANSWER_S:
            self._done()  # the command ends with an error, and promises nothing
            return
        self._follow_takeover()
        self._say(request)
        wait_s = delay_s * self.world.time.between(0.8, 1.2)
        self.world.time.after(wait_s, self._send_again, life, request, min(delay_s * 2, LONGEST_RESEND_S))

    def _done(self) -> None:
        self._request = None
        self.world.time.soon(self.world.think_s, self._act, self._life)

    def _choose(self, number: int) -> m.Request:
        rng, world = self.world.time.rng, self.world
        sessions = world.open_sessions
        if not sessions or (len(world.disk.sessions) < world.most_sessions and rng.random() < 0.05):
            name = None if rng.random() < 0.3 else rng.choice(NAMES)
            key = f"{world.next_id():016x}"
            order = {"type": rng.choice((*TYPES, "")), "model": None, "system": None, "cwd": "/", "env": {}}
            order["queue"] = rng.random() < 0.7
            order["group"] = rng.choice((None, None, *GROUPS))
            return m.Create(request=number, id=key, name=name, **order)
        if self._batch is not None and rng.random() < 0.5:
            return self._import(number, "")
        return rng.choices(WISHES, SHARES)[0](self, number, rng.choice(sessions))

    def _idem(self) -> str:
        self._prompts += 1
        return f"{self._number}-{self._prompts}"

    def _submit(self, number: int, session: str) -> m.Request:
        idem, follow = self._idem(), self.world.time.chance(0.4)
        text = f"prompt {idem}.{self.world.time.rng.choice(SAYINGS)}"
        images = [PIXEL] if self.world.time.chance(0.1) else []
        return m.Submit(request=number, session=session, idem=idem, text=text, follow=follow, images=images)

    def _retry(self, number: int, session: str) -> m.Request:
        return m.Retry(request=number, session=session, idem=self._idem(), follow=True)

    def _use_a_key_again(self, number: int, session: str) -> m.Request:
        if self._acknowledged is None:
            return m.GetStatus(request=number)
        session, idem = self._acknowledged
        return m.Submit(request=number, session=session, idem=idem, text=OTHER, follow=False)

    def _rename(self, number: int, session: str) -> m.Request:
        return m.Rename(request=number, session=session, name=self.world.time.rng.choice(NAMES))

    def _close(self, number: int, session: str) -> m.Request:
        return m.Close(request=number, session=session)

    def _hibernate(self, number: int, session: str) -> m.Request:
        return m.Hibernate(request=number, session=session)

    def _wake(self, number: int, session: str) -> m.Request:
        return m.Wake(request=number, session=session)

    def _mark(self, number: int, session: str) -> m.Request:
        mark = self.world.time.rng.choice(("pinned", "archived", "draft", "type", "model", "temperature"))
        value = f"draft {number}" if mark == "draft" else self.world.time.chance(0.3)
        if mark == "temperature":
            value = self.world.time.rng.choice((None, 0.5, 3.0))
        if mark == "type":
            value = self.world.time.rng.choice(TYPES)
        if mark == "model":
            value = self.world.time.rng.choice(("m", "other", "nobody's"))
        return m.Mark(request=number, session=session, mark=mark, value=value)

    def _delete(self, number: int, session: str) -> m.Request:
        victim = self.world.time.rng.choice(list(self.world.disk.sessions))
        self.world.ledger.doomed[victim] = True
        return m.Delete(request=number, session=victim)

    def _decide(self, number: int, session: str) -> m.Request:
        asks = list(self.world.disk.asks)
        if not asks:
            return m.ListAsks(request=number)
        ask = self.world.time.rng.choice(asks[-6:])
        approve = self.world.time.chance(0.6)
        answer = words_for(ask) if approve != self.world.time.chance(0.05) else None  # now and then the wrong kind
        return m.Decide(
            request=number, ask=ask, approve=approve, idem=f"{self.peer!r}-{number}", why="because", answer=answer
        )

    def _cancel(self, number: int, session: str) -> m.Request:
        waiting = [seq for seq, row in self.world.disk.sessions[session].unanswered.items() if row.reply_to is None]
        if not waiting:
            return m.ListAsks(request=number)
        self.world.ledger.stopped[session, waiting[0]] = True
        return m.Cancel(request=number, session=session, seq=waiting[0])

    def _attach(self, number: int, session: str) -> m.Request:
        observes = self.world.time.chance(0.3)
        return m.Attach(request=number, session=session if self.world.time.chance(0.5) else None, observes=observes)

    def _listen(self, number: int, session: str) -> m.Request:
        return m.Listen(request=number)

    def _switch(self, number: int, session: str) -> m.Request:
        return m.Switch(request=number, session=session)

    def _list(self, number: int, session: str) -> m.Request:
        waiting, everything = self.world.time.chance(0.5), self.world.time.chance(0.5)
        group = self.world.time.rng.choice((None, None, *GROUPS))
        return m.ListSessions(request=number, offset=0, waiting=waiting, everything=everything, group=group)

    def _get(self, number: int, session: str) -> m.Request:
        return m.GetSession(request=number, session=session if self.world.time.chance(0.5) else None)

    def _look(self, number: int, session: str) -> m.Request:
        orders = (
            m.Search(request=number, text="prompt"),
            m.GetUsage(request=number, session=session),
            m.Outline(request=number, session=session),
            m.FindOrigin(request=number, origin=f"origin {self._number}", id=session),
        )
        return self.world.time.rng.choice(orders)

    def _fork(self, number: int, session: str) -> m.Request:
        if len(self.world.disk.sessions) >= self.world.most_sessions:
            return m.GetStatus(request=number)
        rng = self.world.time.rng
        source = rng.choice(list(self.world.disk.sessions))
        at_seq = rng.choice((None, rng.randrange(len(self.world.disk.sessions[source].rows) + 2)))
        return m.Fork(request=number, session=source, id=f"{self.world.next_id():016x}", at_seq=at_seq)

    def _import(self, number: int, session: str) -> m.Request:
        """In two steps: whatever dies in between, there is all of it or nothing."""
        if len(self.world.disk.sessions) >= self.world.most_sessions:
            return m.GetStatus(request=number)
        if self._batch is None:
            self._batch = f"{self.world.next_id():016x}"
            return m.ImportRows(request=number, batch=self._batch, rows=list(IMPORTED))
        batch, self._batch = self._batch, None
        return m.ImportSession(
            request=number, id=f"{self.world.next_id():016x}", batch=batch, name="s1", type="debug", model="m",
            system=None, cwd="/", env={}, created_at=1.0, last_active_at=1.0, closed=self.world.time.chance(0.2),
            archived=False, parent=None, origin=f"origin {self.world.next_id()}", messages=len(IMPORTED),
        )  # fmt: skip

    def _status(self, number: int, session: str) -> m.Request:
        return m.GetStatus(request=number)

    def _inspect(self, number: int, session: str) -> m.Request:
        return m.Inspect(request=number, session=session, stacks=self.world.time.chance(0.5))

    def _top(self, number: int, session: str) -> m.Request:
        return m.GetTop(request=number)

    def _kill(self, number: int, session: str) -> m.Request:
        return m.Kill(request=number, session=session, pid=self.world.pid_of(session))

    def _restart(self, number: int, session: str) -> m.Request:
        force = self.world.time.chance(0.5)
        return m.RestartWorker(request=number, session=session, pid=self.world.pid_of(session), force=force)

    def _history(self, number: int, session: str) -> m.Request:
        after_seq, view = self.world.time.rng.randrange(200), self.world.time.chance(0.5)
        return m.Fetch(request=number, session=session, after_seq=after_seq, view=view)

    # ---- answers

    def hear(self, message: m.ToClient) -> None:
        """A message of the coordinator arrives."""
        if isinstance(message, m.ClientPong):
            if message.boot == 0:
                self._say_hello()
        elif isinstance(message, m.Piece):
            if self._pieces.get(message.turn_id, 0) < message.n:
                self._fetch(message.session, message.seq)
            self._pieces[message.turn_id] = message.n + 1
        elif isinstance(message, m.Final):
            self._pieces.pop(message.turn_id, None)
        elif self._request is not None and getattr(message, "request", None) == self._request.request:
            self._settle(self._request, message)

    def _fetch(self, session: str, seq: int) -> None:
        """A gap: ask for the truth."""
        if self._request is None and self.is_awake:
            self._requests += 1
            self._request = m.Fetch(request=self._requests, session=session, after_seq=seq - 1, view=False)
            self._since_s = self.world.time.now_s
            self._send_again(self._life, self._request, FIRST_RESEND_S)

    def _settle(self, request: m.Request, message: m.ToClient) -> None:
        ledger = self.world.ledger
        if isinstance(message, m.Refused):
            if message.code == "protocol.hello_missing":
                self._say_hello()
                return
            must(message.code != "state.illegal", "an illegal transition reached a client", request, message)
            ledger.counts[f"refused {message.code}"] += 1
        elif isinstance(request, m.Submit) and isinstance(message, m.Ack):
            must(request.text != OTHER, "a key was accepted for another text", request, message)
            self._acknowledged = (message.session, request.idem)
            ledger.acknowledge(message.session, message.seq, request.idem, request.text)
        elif isinstance(request, m.Retry) and isinstance(message, m.Ack):
            ledger.counts["retries acknowledged"] += 1
        elif isinstance(request, m.Delete):
            self.world.told_deleted(request.session)
        elif isinstance(request, m.Hibernate):
            asleep = {"hibernated", "queued", "stopped"}  # or somebody closed it meanwhile
            must(message.session.residency in asleep, "5: told to sleep and awake", message)
            ledger.counts["sessions hibernated by hand"] += 1
        elif isinstance(request, m.Fork):
            self.world.told_forked(message.session)
        elif isinstance(request, m.ImportSession):
            self.world.told_imported(message.session)
        elif isinstance(request, m.Kill):
            self.world.told_gone(request)
        elif isinstance(request, m.RestartWorker):
            self.world.told_gone(request)
            ledger.counts[f"restarted and {message.session.residency}"] += 1
        elif isinstance(request, m.Close):
            self.world.told_closed(request.session)
        elif isinstance(request, m.Listen):
            self._listens = True
        elif isinstance(message, m.History):
            ledger.seen(message)
        elif isinstance(message, m.Decided):
            ledger.decided(message.ask, approved=message.approved)
            must(message.approved == request.approve, "a decision was told as the other one", request, message)
        elif isinstance(message, m.Cancelled):
            ledger.counts[f"cancels that found it {message.stop_reason}"] += 1
        self._done()


# What people want, and how often, in parts of a thousand.
WISHES = (
    Client._submit, Client._retry, Client._use_a_key_again, Client._rename, Client._close, Client._attach,
    Client._listen, Client._switch, Client._list, Client._get, Client._status, Client._history,
    Client._hibernate, Client._wake, Client._mark, Client._delete, Client._decide, Client._cancel,
    Client._look, Client._fork, Client._import, Client._inspect, Client._top, Client._kill, Client._restart,
)  # fmt: skip
SHARES = (500, 20, 5, 25, 4, 50, 20, 20, 30, 30, 10, 50, 40, 25, 25, 6, 100, 20, 15, 8, 8, 10, 5, 5, 15)
