"""What must always hold (lifecycle.md, 1 to 8), checked around each event; what is dear to check, now and then.

There are no snapshots in the core yet: 5 is checked for what the store gives back. That requests stay within the
permits is counted by the model, in the ledger; here, that who is throttled is in line.
"""

from typing import TYPE_CHECKING

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.lifecycle import HOLDS_SLOT, Residency, Work
from protocol import messages as m
from tests.simulation.violation import must

if TYPE_CHECKING:
    from tests.simulation.coordinator import Coordinator
    from tests.simulation.world import World

# Requests that only look.
LOOKING = frozenset(
    {m.ListSessions, m.GetSession, m.Fetch, m.Listen, m.GetStatus, m.ClientPing, m.ClientHello}
    | {m.Search, m.GetUsage, m.Outline, m.FindOrigin, m.Inspect, m.GetTop}
)
# Requests that make a session, and are not felt by those that are there.
COPYING = frozenset({m.Fork, m.ImportRows, m.ImportSession})
# How often everything is looked at, in events.
EVERYTHING_EVERY = 64

Residencies = dict[str, object]


class Invariants:
    """The checks of one boot.

    Args:
        world: everything around the coordinator.
        coordinator: whose decisions are judged.
    """

    def __init__(self, world: "World", coordinator: "Coordinator") -> None:
        self._world = world
        self._disk = world.disk
        self._core = coordinator.machine.world
        self._coordinator = coordinator
        self._let_in: dict[str, bytes] = {}
        self._closing: dict[str, bool] = {}
        self._words: dict[str, str] | None = None
        self._told: list[tuple[bytes, m.Changed]] = []

    # ---- around a step

    def before(self, event: ev.Event) -> Residencies | None:
        """Remember what the event must not change."""
        is_harmless = type(event) is ev.ClientSpoke and type(event.message) in LOOKING | COPYING
        if type(event) is ev.SystemSampled or is_harmless:
            return {key: session.residency for key, session in self._core.sessions.items()}
        return None

    def after(self, event: ev.Event, effects: list[e.Effect], before: Residencies | None) -> None:
        """Check what follows from the event."""
        kind = type(event)
        if kind is ev.WorkerSpoke:
            self.a_worker_of_an_old_epoch_writes_nothing(event, effects)
        elif kind is ev.WorkerExited:
            self.another_session_does_not_notice_a_crash(event, effects)
        elif kind is ev.ClientSpoke and type(event.message) is m.Listen:
            self._words = None  # perhaps nobody listened before: what changed then was told to nobody
        if kind is ev.SystemSampled:
            self.want_of_memory_takes_nobody_who_is_needed(before)
        elif before is not None:
            self.looking_changes_no_residency(event, before)
        self.slots_are_within_the_cap()
        self.listeners_know_the_last_word(is_full=self._world.events % EVERYTHING_EVERY == 0)
        if self._world.events % EVERYTHING_EVERY == 0:
            self.work_and_turns_agree()

    # ---- 1: one writer for a session and epoch

    def a_worker_of_an_old_epoch_writes_nothing(self, event: ev.WorkerSpoke, effects: list[e.Effect]) -> None:
        """Whatever it says, no row and no piece comes of it."""
        session, epoch = event.message.session, event.message.epoch
        row = self._disk.sessions.get(session)
        if row is not None and row.epoch == epoch and event.peer != b"stranger":
            return
        for effect in effects:
            is_row = isinstance(effect, e.Commit) and getattr(effect.change, "session", None) == session
            is_piece = isinstance(effect, e.SendClient) and isinstance(effect.message, (m.Piece, m.Final))
            must(not is_row and not is_piece, "1: a worker of the past wrote something", event, effect)

    def only_the_newest_worker_is_let_in(self, peer: bytes, message: m.ToWorker) -> None:
        """WELCOME and DELIVER go to the process of the newest epoch, to one of them, and not after a close."""
        worker = self._world.workers_by_peer.get(peer)
        must(worker is not None, "1: a stranger is let in", peer, message)
        newest = self._disk.sessions[worker.session].epoch
        must(worker.epoch == newest, "1: a worker of the past is let in", peer, newest, message)
        first = self._let_in.setdefault(f"{worker.session}-{newest}", peer)
        must(first == peer, "1: two workers are let in for one epoch", first, peer)
        # What a turn goes on with is read from the store meanwhile, and may follow the LEAVE of a close.
        is_late = type(message) is m.Continue
        must(is_late or worker.session not in self._closing, "8: a closed session goes on", peer, message)

    def a_new_epoch_begins_when_the_old_worker_is_dead(self, order: e.SpawnWorker) -> None:
        """Epochs grow, are durable before their worker exists, and no two processes of a session are in charge."""
        last = self._world.spawned.get(order.session, 0)
        must(order.epoch > last, "1: an epoch came twice", order, last)
        self._world.spawned[order.session] = order.epoch
        must(order.epoch == self._disk.sessions[order.session].epoch, "1: a worker before its epoch", order)
        rivals = [w.peer for (key, _), w in self._coordinator.watched.items() if key == order.session and w.is_alive]
        must(not rivals, "1: a second worker while the first lives", order, rivals)

    def only_adopted_workers_have_work(self) -> None:
        """At a boot: a process that the roster does not know was never given anything that could be lost with it."""
        for worker in self._world.living():
            if (worker.session, worker.epoch) not in self._coordinator.watched:
                must(not worker.outbox, "1: a worker had work before it was enrolled", worker.peer, worker.outbox)

    # ---- 2: slots

    def slots_are_within_the_cap(self) -> None:
        """Slots held ≤ max_active_sessions."""
        held = 0
        for session in self._core.sessions.values():
            if session.residency in HOLDS_SLOT:
                held += 1
        must(held <= self._world.settings.max_active_sessions, "2: more slots held than there are", held)

    def everybody_left(self) -> None:
        """A coordinator that leaves has ended all its workers."""
        left = [worker.peer for worker in self._coordinator.watched.values() if worker.is_alive]
        must(not left, "2: the coordinator leaves workers behind", left)

    # ---- 3: acknowledged, committed, answered

    def an_acknowledged_prompt_is_committed(self, ack: m.Ack) -> None:
        """The row is there before the ACK leaves."""
        if ack.session in self._world.ledger.doomed and ack.session not in self._disk.sessions:
            return  # it was committed, and deleted in the same transaction
        rows = self._disk.sessions[ack.session].rows
        must(ack.seq <= len(rows) and rows[ack.seq - 1].idem is not None, "3: acknowledged before commit", ack)

    def a_final_is_committed(self, final: m.Final) -> None:
        """FINAL names a row that is there."""
        reply = self._disk.sessions[final.session].replies.get(final.seq)
        must(reply is not None and reply.seq == final.reply_seq, "3: FINAL before commit", final, reply)

    def a_confirmed_reply_is_committed(self, rack: m.Rack) -> None:
        """RACK lets a worker forget, so the prompt must have its row."""
        if rack.turn_id not in self._world.ledger.turns:
            return  # a mark of the coordinator's own; no worker has such a turn
        session, seq = self._world.ledger.turns[rack.turn_id]
        must(seq in self._disk.sessions[session].replies, "3: RACK before commit", rack, session, seq)

    def a_delivered_prompt_waits_for_its_answer(self, peer: bytes, deliver: m.Deliver) -> None:
        """What is delivered is committed, unanswered, and the right text."""
        session = self._world.workers_by_peer[peer].session
        row = self._disk.sessions[session].unanswered.get(deliver.seq)
        must(row is not None and row.text == deliver.text, "3: delivered what does not wait", peer, deliver, row)
        must(row is None or not row.has_images, "3: delivered without its images", peer, deliver, row)

    def what_is_dropped_is_committed(self, order: e.DropOutbox) -> None:
        """A dead worker's outbox goes when its replies are rows."""
        replies = self._disk.sessions[order.session].replies
        lost = [
            record
            for record in self._disk.outboxes.get((order.session, order.epoch), ())
            if isinstance(record, m.Reply) and record.seq not in replies
        ]
        leg = self._disk.sessions[order.session].leg
        lost += [
            record
            for record in self._disk.outboxes.get((order.session, order.epoch), ())
            if isinstance(record, m.Asked) and record.seq not in replies
            if leg is None or leg.seq != record.seq or leg.report.leg < record.leg
        ]
        must(not lost, "3: an outbox is dropped before its reply is committed", order, lost)

    # ---- 4: changes of state

    def listeners_know_the_last_word(self, *, is_full: bool) -> None:
        """Every listener is sent every change; the last word that it was sent is the word that a list shows."""
        told, self._told = self._told, []
        if not told and not is_full:
            return
        listeners = [peer for peer, known in self._core.peers.items() if known.listens]
        if not listeners:
            self._words = None
            return
        for _, change in told:
            if self._words is not None:
                self._words[change.session] = change.after
        seqs = sorted({change.seq for _, change in told})
        sent = [(seq, peer) for seq in seqs for peer in listeners]
        must(len(sent) == len(told), "4: a listener missed a change", told, listeners)
        if is_full:
            now = {key: session.display for key, session in self._core.sessions.items() if session.is_committed}
            if self._words is not None:
                wrong = {key: (self._words.get(key), word) for key, word in now.items() if self._words.get(key) != word}
                must(not wrong, "4: listeners do not know the last word", wrong)
            self._words = now

    # ---- 5: what was stored is back

    def what_was_stored_is_back(self, stored: tuple[ev.StoredSession, ...]) -> None:
        """After a boot a session is what it was: settings, counters, and every prompt that waits."""
        ending = {(j.session, j.reply_to) for j in self._coordinator.queued if isinstance(j, e.InsertReply)}
        for old in stored:
            new = self._core.sessions[old.id]
            same = ("name", "number", "type", "model", "system", "cwd", "env", "messages", "exit_card")
            same += ("parent", "origin", "group", "template", "is_named", "proposed_type", "temperature")
            same += ("has_words_for_name",)
            changed = [(what, getattr(old, what), getattr(new, what)) for what in same]
            must(all(a == b for _, a, b in changed), "5: a session came back changed", old.id, changed)
            known = [prompt.seq for prompt in new.waiting] + ([new.turn.seq] if new.turn else [])
            known += [seq for key, seq in sorted(ending) if key == old.id and seq not in known]
            waited = [prompt.seq for prompt in old.unanswered]
            must(sorted(known) == waited, "5: a prompt that waited is forgotten", old.id, waited, known)
            must(new.is_closed or old.id not in self._world.closed, "8: a session that was closed is back", old.id)

    # ---- 6: looking

    def looking_changes_no_residency(self, event: ev.Event, before: Residencies) -> None:
        """List, search, export, inspect and watch are not felt."""
        now = {key: session.residency for key, session in self._core.sessions.items()}
        if type(event) is ev.ClientSpoke and type(event.message) in COPYING:
            now = {key: now.get(key) for key in before}
        must(now == before, "6: looking changed a residency", event, before, now)

    # ---- 7: others do not notice

    def another_session_does_not_notice_a_crash(self, event: ev.WorkerExited, effects: list[e.Effect]) -> None:
        """The death of one worker brings no row, piece or message to another session but a free slot and its order."""
        if self._core.is_draining:
            return  # the last one out brings along what the disk had not taken, of all sessions
        for effect in effects:
            if isinstance(effect, e.Commit):
                change = effect.change
                is_other = getattr(change, "session", None) != event.session
                is_written = isinstance(change, (e.InsertReply, e.InsertPrompt, e.SaveStarted, e.SaveCrashes))
                must(not (is_other and is_written), "7: another session's row", event, effect)
            elif isinstance(effect, e.SendClient) and isinstance(effect.message, (m.Piece, m.Final)):
                must(effect.message.session == event.session, "7: another session's output", event, effect)

    def a_piece_is_its_sessions_own(self, piece: m.Piece) -> None:
        """Byte for byte what the worker of that turn said."""
        is_own = piece.turn_id.startswith(piece.session) and piece.text.startswith(f"{piece.turn_id}/{piece.n} ")
        must(is_own, "7: a piece of somebody else", piece)

    def a_reply_is_its_sessions_own(self, reply: e.InsertReply) -> None:
        """A completed reply is the answer of that turn to that prompt, byte for byte."""
        if reply.stop_reason == "completed":
            prompt = self._disk.sessions[reply.session].rows[reply.reply_to - 1].text
            must(reply.text == f"{reply.turn_id} answers: {prompt}", "7: a reply of somebody else", reply, prompt)

    # ---- 8: a stop wins (that no prompt goes to the model twice is in the ledger)

    def a_stop_beats_a_restart(self, order: e.SpawnWorker) -> None:
        """No worker is started for a session whose close was ordered, in this boot or, once told, in any."""
        is_closed = order.session in self._closing or order.session in self._world.closed
        must(not is_closed and not self._disk.sessions[order.session].closed, "8: a closed session is started", order)

    # ---- memory

    def want_of_memory_takes_nobody_who_is_needed(self, before: Residencies) -> None:
        """However short memory is, what runs, is pinned or is worked on goes on."""
        for key, residency in before.items():
            session = self._core.sessions[key]
            if residency is Residency.LIVE and session.residency is Residency.HIBERNATING:
                is_needed = session.work is Work.RUNNING or session.is_pinned or self._core.is_attached(key)
                must(not is_needed, "memory: a session that is needed was hibernated", session)

    def nothing_new_begins_while_memory_is_short(self, change: e.InsertSession) -> None:
        """The answer is a refusal."""
        must(not self._core.pressure.is_machine_short, "memory: a new session while it is short", change)

    # ---- beside the eight

    def work_and_turns_agree(self) -> None:
        """There is work exactly when there is a turn, names are unique, and everything is in the right line."""
        names = []
        for session in self._core.sessions.values():
            must((session.turn is not None) == (session.work.value != "idle"), "work without a turn", session)
            if session.work.value == "throttled" and not session.turn.is_ending:
                in_line = self._core.governor.is_waiting(session.id)
                must(in_line, "2: a session is throttled and not in line", session)
            turn = session.turn
            if turn is not None and not turn.is_ending:
                is_asking = turn.is_parked and not turn.is_answered and turn.cancel is None
                must(is_asking == (session.work.value == "requires_action"), "work and asks do not agree", session)
                open_asks = [ask.id for ask in turn.asks if ask.approved is None] if turn.is_parked else []
                lost = [key for key in open_asks if self._core.asks.get(key) != session.id and turn.cancel is None]
                must(not lost, "an ask waits and is in no inbox", session, lost)
            seqs = [prompt.seq for prompt in session.waiting]
            must(seqs == sorted(seqs), "prompts wait out of order", session.id, seqs)
            if not session.is_closed:
                names.append(session.name)
        must(len(names) == len(set(names)), "two sessions have one name", names)

    # ---- where the coordinator calls

    def said_to_client(self, peer: bytes, message: m.ToClient) -> None:
        """Judge a message to a client before it leaves."""
        kind = type(message)
        if kind is m.Piece:
            self.a_piece_is_its_sessions_own(message)
        elif kind is m.Changed:
            self._told.append((peer, message))
        elif kind is m.Ack:
            self.an_acknowledged_prompt_is_committed(message)
        elif kind is m.Final:
            self.a_final_is_committed(message)

    def said_to_worker(self, peer: bytes, message: m.ToWorker) -> None:
        """Judge a message to a worker before it leaves."""
        kind = type(message)
        if kind is m.Welcome or kind is m.Deliver:
            self.only_the_newest_worker_is_let_in(peer, message)
            if kind is m.Deliver:
                self.a_delivered_prompt_waits_for_its_answer(peer, message)
        elif kind is m.Rack:
            self.a_confirmed_reply_is_committed(message)
        elif kind is m.AskNoted:
            self.noted_asks_are_committed(message)
        elif kind is m.Continue:
            self.only_the_newest_worker_is_let_in(peer, message)

    def noted_asks_are_committed(self, noted: m.AskNoted) -> None:
        """ASKNOTED lets a worker forget what it asked, so that must be stored, or its turn be over."""
        session, seq = self._world.ledger.turns[noted.turn_id]
        row = self._disk.sessions.get(session)
        leg = row.leg if row is not None else None
        is_stored = leg is not None and leg.seq == seq and leg.report.leg >= noted.leg
        must(is_stored or row is None or seq in row.replies, "3: ASKNOTED before commit", noted, session, seq)

    def ordered(self, change: e.Change) -> None:
        """Judge a change before it is queued."""
        kind = type(change)
        if kind is e.SaveName and change.is_auto:
            self._world.ledger.counts["sessions named after a prompt"] += 1
        elif kind is e.SaveMark and change.mark == "proposed_type":
            self._world.ledger.counts["types proposed"] += 1
        if kind is e.SaveClosed:
            self._closing[change.session] = True
        elif kind is e.InsertSession:
            self.nothing_new_begins_while_memory_is_short(change)
        elif kind is e.InsertReply:
            self.a_reply_is_its_sessions_own(change)

    def spawned(self, order: e.SpawnWorker) -> None:
        """Judge a worker before it is started."""
        self.a_new_epoch_begins_when_the_old_worker_is_dead(order)
        self.a_stop_beats_a_restart(order)

    def booting(self) -> None:
        """Judge what the coordinator adopts."""
        self.only_adopted_workers_have_work()

    def booted(self, stored: tuple[ev.StoredSession, ...]) -> None:
        """Judge what it made of the store."""
        self.what_was_stored_is_back(stored)

    def dropped(self, order: e.DropOutbox) -> None:
        """Judge an outbox that goes."""
        self.what_is_dropped_is_committed(order)

    def left(self) -> None:
        """Judge the end."""
        self.everybody_left()


class Unwatched(Invariants):
    """Nobody looks inside: what goes wrong must show in the ledger."""

    def _nothing(self, *facts: object) -> None:
        pass

    before = after = said_to_client = said_to_worker = ordered = spawned = _nothing
    booting = booted = dropped = left = _nothing
