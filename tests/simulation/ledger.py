"""What was promised and what was done, kept by the people outside: never read from the coordinator's state.

Clients write down what was acknowledged, workers what they finished and what they bought from the model; when all is
quiet the disk is compared with it.
"""

from collections import Counter

from protocol.messages import History
from tests.simulation.disk import Disk
from tests.simulation.violation import must

Key = tuple[str, int]


class Ledger:
    """Everybody's notes."""

    def __init__(self, calls_allowed: int, permits: int) -> None:
        self._calls_allowed = calls_allowed
        self._permits = permits
        self._open_requests: dict[bytes, None] = {}
        self.counts: Counter[str] = Counter()
        self.acknowledged: dict[Key, str] = {}
        self.finished: dict[Key, tuple[str, str, str]] = {}
        self.turns: dict[str, Key] = {}
        self.calls: dict[Key, list[str]] = {}
        self._seq_of: dict[tuple[str, str], int] = {}
        self._last_call: dict[str, int] = {}
        self._new_acknowledged: list[Key] = []
        self._new_finished: list[Key] = []
        # Turns that somebody wanted to end: what a worker made of them need not be what is stored.
        self.stopped: dict[Key, bool] = {}
        self.decisions: dict[str, bool] = {}
        self.ran: dict[str, str] = {}
        # Sessions that somebody wants deleted: they may be gone at any time from then on.
        self.doomed: dict[str, bool] = {}

    def acknowledge(self, session: str, seq: int, idem: str, text: str) -> None:
        """A client holds an ACK."""
        first = self._seq_of.setdefault((session, idem), seq)
        must(first == seq, "a prompt that was sent again got another seq", session, idem, first, seq)
        known = self.acknowledged.setdefault((session, seq), text)
        must(known == text, "two prompts got the same seq", session, seq, known, text)
        self._new_acknowledged.append((session, seq))
        self.counts["prompts acknowledged"] += 1

    def call(self, session: str, seq: int, turn_id: str) -> None:
        """A worker sends a prompt to the model, which costs money."""
        calls = self.calls.setdefault((session, seq), [])
        calls.append(turn_id)
        self.counts["requests to the model"] += 1
        must((session, seq) not in self.finished, "a finished reply was bought twice", session, seq, calls)
        must(len(calls) <= self._calls_allowed, "a prompt went to the model again, unasked", session, seq, calls)
        must(self._last_call.get(session, 0) <= seq, "prompts went to the model out of order", session, seq)
        self._last_call[session] = seq

    def request_begins(self, peer: bytes) -> None:
        """The model sees a request come; those of dead processes are closed."""
        must(peer not in self._open_requests, "a worker sends two requests at once", peer)
        self._open_requests[peer] = None
        open_now = list(self._open_requests)
        must(len(open_now) <= self._permits, "2: more requests at once than there are permits", open_now)
        self.counts["requests at the limit"] += len(open_now) == self._permits

    def request_ends(self, peer: bytes) -> None:
        """The model sees it closed."""
        self._open_requests.pop(peer, None)

    def begin_turn(self, session: str, seq: int, turn_id: str) -> None:
        """A worker takes a prompt in hand."""
        self.turns[turn_id] = (session, seq)

    def decided(self, ask: str, *, approved: bool) -> None:
        """A client was told that its answer to an ask counts."""
        first = self.decisions.setdefault(ask, approved)
        must(first == approved, "two answers to one ask count", ask, first, approved)
        self.counts["asks answered"] += 1

    def tool_runs(self, ask: str, turn_id: str, disk: Disk) -> None:
        """A worker runs what was asked for."""
        said = disk.asks[ask].decision
        must(said is not None and said.approved, "a call runs that nobody approved", ask, turn_id, said)
        must(ask not in self.ran, "an approved call runs twice", ask, turn_id, self.ran.get(ask))
        self.ran[ask] = turn_id
        self.counts["tools run"] += 1

    def seen(self, page: History) -> None:
        """A client fetched the truth: it must show what was promised, each reply behind its prompt."""
        for row in page.rows:
            promised = self.acknowledged.get((page.session, row.seq))
            must(promised in {None, row.text}, "history shows another prompt", page.session, row, promised)
            must((row.reply_to or 0) < row.seq, "a reply stands before its prompt", page.session, row)

    def finish(self, session: str, seq: int, turn_id: str, stop_reason: str, text: str) -> None:
        """A worker has a reply in its outbox."""
        must((session, seq) not in self.finished, "a prompt was answered twice", session, seq)
        self.finished[session, seq] = (turn_id, stop_reason, text)
        self._new_finished.append((session, seq))
        self.counts["replies finished"] += 1

    # ---- compared with the disk

    def is_on(self, disk: Disk) -> None:
        """Nothing that was acknowledged is lost. True at any moment, so also right after a crash."""
        for session, seq in self._new_acknowledged:
            if session in self.doomed and session not in disk.sessions:
                continue
            row = disk.sessions[session].rows[seq - 1] if seq <= len(disk.sessions[session].rows) else None
            text = self.acknowledged[session, seq]
            must(row is not None and row.text == text, "an acknowledged prompt is lost", session, seq, text, row)
        self._new_acknowledged = []

    def is_settled_on(self, disk: Disk) -> None:
        """Everybody is quiet: what was acknowledged is answered or marked, what was finished is what is stored."""
        must(not list(disk.unanswered()), "a prompt waits for ever", list(disk.unanswered()))
        self.is_on(disk)
        for session, seq in self._new_finished:
            if session in self.doomed and session not in disk.sessions:
                continue
            row = disk.sessions[session].replies[seq]
            if (session, seq) in self.stopped and row.stop_reason == "cancelled":
                continue
            stored = (row.turn_id, row.stop_reason, row.text)
            must(stored == self.finished[session, seq], "a finished reply is lost", session, seq, stored)
        self._new_finished = []
        for key, session in disk.sessions.items():
            seqs = [row.seq for row in session.rows]
            must(seqs == list(range(1, len(seqs) + 1)), "seqs have holes", key, seqs)
            answered = [row.reply_to for row in session.rows if row.reply_to is not None]
            must(len(answered) == len(set(answered)), "a prompt has two replies", key, answered)
            idems = [row.idem for row in session.rows if row.idem is not None]
            must(len(idems) == len(set(idems)), "a prompt was committed twice", key)
