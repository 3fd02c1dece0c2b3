"""What outlives every process: the rows as ``coordinator.shell.records`` keeps them, and the outboxes of workers."""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol.messages import Asked, Continue, Decision
from protocol.outbox import Record
from protocol.views import ExitCard, HistoryRow, ParentView
from tests.simulation.violation import must

Mark = tuple[str, str, str]  # turn, stop reason, text


@dataclass(slots=True)
class Row:
    """A prompt, or with ``reply_to`` the end of its turn."""

    seq: int
    text: str
    reply_to: int | None = None
    idem: str | None = None
    turn_id: str | None = None
    stop_reason: str | None = None
    crashes: int = 0
    resumed: int = 0
    has_images: bool = False


@dataclass(slots=True)
class Leg:
    """Where a turn stopped to ask."""

    seq: int
    report: Asked
    at: float
    has_begun: bool = False


@dataclass(slots=True)
class AskRow:
    """An ask and its answer."""

    session: str
    seq: int
    leg: int
    call: str
    decision: e.SaveDecision | None = None
    is_over: bool = False


@dataclass(slots=True)
class Stored:
    """A session's row and its messages."""

    born: e.InsertSession
    name: str
    epoch: int = 1
    digest: bytes = b""
    pid: int | None = None
    closed: bool = False
    failed: bool = False
    unread: bool = False
    pinned: bool = False
    archived: bool = False
    draft: str = ""
    parent: ParentView | None = None
    origin: str | None = None
    type: str = ""
    proposed_type: str | None = None
    temperature: float | None = None
    is_named: bool = True
    has_words_for_name: bool = False
    model: str = ""
    snapshots: list[e.SaveSnapshot] = field(default_factory=list)
    card: ExitCard | None = None
    rows: list[Row] = field(default_factory=list)
    idems: dict[str, Row] = field(default_factory=dict)
    replies: dict[int, Row] = field(default_factory=dict)
    unanswered: dict[int, Row] = field(default_factory=dict)
    leg: "Leg | None" = None


class Disk:
    """Tables and files. A change is applied when its transaction commits; nothing here is ever undone."""

    def __init__(self) -> None:
        self.boots = 0
        self.sessions: dict[str, Stored] = {}
        self.active: dict[str, str] = {}
        self.asks: dict[str, AskRow] = {}
        self.outboxes: dict[tuple[str, int], list[Record]] = {}
        self.staged: dict[str, dict[int, HistoryRow]] = {}
        self.epochs = 0
        self._apply = {
            e.InsertSession: self._insert_session,
            e.BumpEpoch: self._bump,
            e.SaveSnapshot: self._save_snapshot,
            e.InsertPrompt: self._insert_prompt,
            e.InsertRetry: self._insert_retry,
            e.InsertReply: self._insert_reply,
            e.SaveStarted: self._save_started,
            e.InsertAsks: self._insert_asks,
            e.SaveDecision: self._save_decision,
            e.InsertFork: self._insert_fork,
            e.StageRows: self._stage,
            e.InsertImported: self._insert_imported,
        }

    def apply(self, change: e.Change) -> ev.Outcome:
        """Commit one change."""
        known = self._apply.get(type(change))
        if known is not None:
            return known(change)
        self._save(change)
        return ev.Outcome()

    def _insert_session(self, change: e.InsertSession) -> ev.Outcome:
        self.sessions[change.session] = row = Stored(change, change.name, epoch=int(change.starts))
        row.type, row.is_named, row.model = change.type, change.is_named, change.model
        row.temperature = change.temperature
        return self._token(row)

    def knows(self, change: e.Change) -> bool:
        """Say whether the change is about a session that is there; others the database refuses for good."""
        if isinstance(change, e.InsertFork):
            return change.source in self.sessions
        is_new = isinstance(change, (e.InsertSession, e.InsertImported, e.StageRows, e.SaveActive))
        return is_new or change.session in self.sessions

    def _insert_fork(self, change: e.InsertFork) -> ev.Outcome:
        source = self.sessions[change.source]
        turns = sorted(source.replies)
        if change.at_seq is not None:
            at = source.rows[change.at_seq - 1] if 0 < change.at_seq <= len(source.rows) else None
            last = 0 if at is None else at.reply_to or at.seq
            if change.at_seq and last not in source.replies:
                return ev.Outcome(refusal="that turn has no end yet")
            turns = [seq for seq in turns if seq <= last]
        own = {"session": change.session, "name": change.name, "number": change.number, "starts": False}
        row = Stored(dataclasses.replace(source.born, at=change.at, **own), change.name, epoch=0, type=source.type)
        row.model, row.temperature = source.model, source.temperature
        self.sessions[change.session] = row
        for seq in turns:
            self._add_turn(row, source.rows[seq - 1], source.replies[seq])
        last_seq = max((source.replies[seq].seq for seq in turns), default=0)
        row.parent = ParentView(session=change.source, seq=last_seq)
        self._token(row)
        return ev.Outcome(token_sha256=row.digest, messages=len(row.rows), parent_seq=last_seq)

    def _add_turn(self, session: Stored, prompt: Row, reply: Row) -> None:
        seq = len(session.rows) + 1
        asked = dataclasses.replace(prompt, seq=seq, idem=f"copied-{seq}", crashes=0, resumed=0)
        answered = dataclasses.replace(reply, seq=seq + 1, reply_to=seq)
        session.rows += [asked, answered]
        session.idems[asked.idem] = asked
        session.replies[seq] = answered

    def _stage(self, change: e.StageRows) -> ev.Outcome:
        self.staged.setdefault(change.batch, {}).update({row.seq: row for row in change.rows})
        return ev.Outcome()

    def _insert_imported(self, change: e.InsertImported) -> ev.Outcome:
        staged = self.staged.pop(change.batch, {})
        if len(staged) != change.messages:
            return ev.Outcome(refusal="a message is missing")
        born = e.InsertSession(
            change.session, change.name, change.number, change.type, change.model, change.system, change.cwd,
            change.env, change.created_at, b"", 0, starts=False, group=change.group, template=change.template,
            temperature=change.temperature,
        )  # fmt: skip
        self.sessions[change.session] = row = Stored(born, change.name, epoch=self.epochs, closed=change.closed)
        row.type, row.temperature = change.type, change.temperature
        row.archived, row.parent, row.origin = change.archived, change.parent, change.origin
        for seq in range(1, len(staged), 2):
            asked, answered = staged[seq], staged[seq + 1]
            self._add_turn(
                row,
                Row(seq, asked.text),
                Row(seq + 1, answered.text, turn_id=answered.turn_id, stop_reason=answered.stop_reason),
            )
        self._token(row)
        return ev.Outcome(epoch=row.epoch, token_sha256=row.digest)

    def _save_snapshot(self, change: e.SaveSnapshot) -> ev.Outcome:
        row = self.sessions[change.session]
        row.snapshots = [*row.snapshots[-1:], change]
        return self._bump(e.BumpEpoch(change.session))

    def _bump(self, change: e.BumpEpoch) -> ev.Outcome:
        row = self.sessions[change.session]
        row.epoch += 1
        row.pid = None
        return self._token(row)

    def _token(self, row: Stored) -> ev.Outcome:
        token = f"{row.born.session}-{row.epoch}".encode()
        row.digest = hashlib.sha256(token).digest()
        return ev.Outcome(epoch=row.epoch, token=token, token_sha256=row.digest)

    def _insert_prompt(self, change: e.InsertPrompt) -> ev.Outcome:
        session = self.sessions[change.session]
        known = session.idems.get(change.idem)
        if known is not None:
            reply = session.replies.get(known.seq)
            is_other = known.text != change.text
            return ev.Outcome(
                seq=known.seq, is_new=False, conflict=is_other, answered_by=reply.seq if reply is not None else None
            )
        return self._new_prompt(session, change.idem, change.text, has_images=bool(change.images))

    def _insert_retry(self, change: e.InsertRetry) -> ev.Outcome:
        session = self.sessions[change.session]
        known = session.idems.get(change.idem)
        if known is not None:
            reply = session.replies.get(known.seq)
            return ev.Outcome(seq=known.seq, is_new=False, answered_by=reply.seq if reply is not None else None)
        last = next((row for row in reversed(session.rows) if row.idem is not None), None)
        if last is None or last.seq in session.unanswered or session.replies[last.seq].stop_reason == "completed":
            return ev.Outcome()
        return self._new_prompt(session, change.idem, last.text, has_images=last.has_images)

    def _new_prompt(self, session: Stored, idem: str, text: str, *, has_images: bool = False) -> ev.Outcome:
        row = Row(len(session.rows) + 1, text, idem=idem, has_images=has_images)
        session.rows.append(row)
        session.idems[idem] = session.unanswered[row.seq] = row
        session.unread = False
        return ev.Outcome(seq=row.seq, text=text, has_images=has_images)

    def _insert_reply(self, change: e.InsertReply) -> ev.Outcome:
        session = self.sessions[change.session]
        known = session.replies.get(change.reply_to)
        if known is not None:
            return ev.Outcome(seq=known.seq, is_new=False)
        row = Row(
            len(session.rows) + 1,
            change.text,
            reply_to=change.reply_to,
            turn_id=change.turn_id,
            stop_reason=change.stop_reason,
        )
        session.rows.append(row)
        session.replies[change.reply_to] = row
        session.unanswered.pop(change.reply_to, None)
        session.unread = change.unread
        if session.leg is not None and session.leg.seq == change.reply_to:
            session.leg = None
        for row_of_ask in self.asks.values():
            if (row_of_ask.session, row_of_ask.seq) == (change.session, change.reply_to):
                row_of_ask.is_over = True
        return ev.Outcome(seq=row.seq)

    def _save_started(self, change: e.SaveStarted) -> ev.Outcome:
        session = self.sessions[change.session]
        session.rows[change.seq - 1].turn_id = change.turn_id
        leg = session.leg
        if leg is not None and leg.seq == change.seq and leg.report.leg < change.leg:
            leg.has_begun = True
        return ev.Outcome()

    def _insert_asks(self, change: e.InsertAsks) -> ev.Outcome:
        session = self.sessions[change.session]
        session.rows[change.seq - 1].turn_id = change.report.turn_id
        session.leg = Leg(change.seq, change.report, change.at)
        for ask in change.report.asks:
            must(ask.id not in self.asks, "an ask is stored twice", ask)
            self.asks[ask.id] = AskRow(change.session, change.seq, change.report.leg, ask.call)
        return ev.Outcome()

    def _save_decision(self, change: e.SaveDecision) -> ev.Outcome:
        row = self.asks[change.ask]
        if row.decision is None and not row.is_over:
            row.decision = change
        return ev.Outcome()

    def _save(self, change: e.Change) -> None:
        if isinstance(change, e.SaveActive):
            self.active.pop(change.client, None)
            if change.session is not None:
                self.active[change.client] = change.session
            return
        row = self.sessions[change.session]
        match change:
            case e.SaveCrashes():
                row.rows[change.seq - 1].crashes = change.crashes
            case e.SaveResumed():
                row.rows[change.seq - 1].resumed = change.epoch
                row.rows[change.seq - 1].turn_id = None
            case e.SaveRoster():
                if row.epoch == change.epoch:
                    row.pid = change.pid
            case e.SaveExit():
                row.card = change.card
            case e.SaveName():
                is_open = not row.is_named or row.has_words_for_name
                must(not change.is_auto or is_open, "a session that a person named was named again", change)
                if change.is_final is not None:
                    row.name, row.is_named, row.has_words_for_name = change.name, True, not change.is_final
            case e.SaveMark():
                setattr(row, change.mark, change.value)
                if change.mark == "type":
                    row.proposed_type = None
            case e.DeleteSession():
                self.epochs = max(self.epochs, row.epoch)
                del self.sessions[change.session]
            case e.SaveClosed():
                row.closed = True
            case e.SaveFailed():
                row.failed = change.failed
            case e.SaveSeen():
                row.unread = False
            case _:
                raise TypeError(f"the simulated disk has no place for {change!r}")

    # ---- read

    def load(self) -> tuple[ev.StoredSession, ...]:
        """Return what the next coordinator finds."""
        return tuple(
            ev.StoredSession(
                id=key,
                name=row.name,
                number=row.born.number,
                type=row.type,
                model=row.model,
                system=row.born.system,
                cwd=row.born.cwd,
                env=row.born.env,
                epoch=row.epoch,
                token_sha256=row.digest,
                closed=row.closed,
                failed=row.failed,
                unread=row.unread,
                messages=len(row.rows),
                tokens=0,
                created_at=row.born.at,
                last_active_at=row.born.at,
                exit_card=row.card,
                unanswered=tuple(
                    ev.StoredPrompt(p.seq, p.text, p.turn_id, p.crashes, p.resumed, p.has_images)
                    for p in row.unanswered.values()
                ),
                pid=row.pid,
                start_ticks=None if row.pid is None else 1,
                leg=self.stored_leg(key),
                pinned=row.pinned,
                temperature=row.temperature,
                archived=row.archived,
                draft=row.draft,
                parent=row.parent,
                origin=row.origin,
                group=row.born.group,
                template=row.born.template,
                is_named=row.is_named,
                proposed_type=row.proposed_type,
                has_words_for_name=row.has_words_for_name,
            )
            for key, row in self.sessions.items()
        )

    def stored_leg(self, session: str) -> ev.StoredLeg | None:
        """Return where the session's turn stopped to ask, as the next coordinator finds it."""
        leg = self.sessions[session].leg
        if leg is None:
            return None
        report = leg.report
        asks = []
        for ask in report.asks:
            said = self.asks[ask.id].decision
            approved, by = (None, "") if said is None else (said.approved, said.by)
            asks.append(
                ev.StoredAsk(ask.id, ask.call, ask.kind, ask.tool, ask.argv, ask.text, ask.digest, leg.at, approved, by)
            )
        number = report.leg + leg.has_begun
        return ev.StoredLeg(leg.seq, report.turn_id, number, report.text, report.pieces, tuple(asks), leg.has_begun)

    def state_of(self, session: str, seq: int, leg: int) -> Continue | None:
        """Return what that leg begins with; None when the turn is over, has gone on, or is not answered."""
        row = self.sessions.get(session)
        if row is None or row.leg is None or (row.leg.seq, row.leg.report.leg) != (seq, leg - 1) or row.leg.has_begun:
            return None
        report = row.leg.report
        answers = [self.asks[ask.id].decision for ask in report.asks]
        if any(answer is None for answer in answers):
            return None
        return Continue(
            seq=seq, turn_id=report.turn_id, leg=leg, text=row.rows[seq - 1].text, state=report.state,
            said=report.text, pieces=report.pieces, usage=report.usage,
            decisions=[
                Decision(call=ask.call, approved=answer.approved, why=answer.why, digest=ask.digest)
                for ask, answer in zip(report.asks, answers, strict=True)
                if answer is not None
            ],
        )  # fmt: skip

    def history(self, session: str, first: int, last: int) -> list[HistoryRow]:
        """Return the rows between two seqs, both included."""
        return [
            HistoryRow(
                seq=row.seq,
                role="user" if row.reply_to is None else "assistant",
                text=row.text,
                turn_id=row.turn_id,
                stop_reason=row.stop_reason,
                at=0.0,
                reply_to=row.reply_to,
            )
            for row in self.sessions[session].rows[max(0, first - 1) : last]
        ]

    def unanswered(self) -> Iterator[tuple[str, int]]:
        """Yield every prompt that has neither a reply nor a mark."""
        return ((key, seq) for key, row in self.sessions.items() for seq in row.unanswered)
