"""Storm: any order of orders, replies, crashes, reboots and clock jumps leaves what must always hold (lifecycle.md)."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.lifecycle import Residency
from protocol import messages as m
from tests.support.simulated import Simulated

CAP = 3
NAMES = [f"s{i}" for i in range(6)]
names = st.sampled_from(NAMES)


class Storm(RuleBasedStateMachine):
    """Clients, workers and a store that act in any order; commits may lag, and be lost with the coordinator."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Simulated(commits_at_once=False, max_active_sessions=CAP)
        self.prompts = 0
        self.sent: dict[tuple[str, str], str] = {}

    def sessions(self) -> list[str]:
        return sorted(self.world.world.sessions)

    def id_of(self, name: str) -> str | None:
        found = [s for s in self.world.world.sessions.values() if s.name == name and s.is_committed]
        return found[-1].id if found else None

    # ---- people

    @rule(name=names)
    def create(self, name: str) -> None:
        self.world.order_session(name)

    @rule(name=names, repeat=st.booleans())
    def submit(self, name: str, *, repeat: bool) -> None:
        self.prompts += not repeat
        order = m.Submit(
            request=self.prompts, session=name, idem=f"k{self.prompts}", text=f"t{self.prompts}", follow=True
        )
        self.world.say(order)

    @rule(name=names)
    def close(self, name: str) -> None:
        self.world.say(m.Close(request=10_000, session=name))

    @rule(name=names, new=names)
    def rename(self, name: str, new: str) -> None:
        self.world.say(m.Rename(request=10_001, session=name, name=new))

    @rule(name=names)
    def look(self, name: str) -> None:
        self.world.say(m.Attach(request=10_002, session=name))

    # ---- workers

    @rule(name=names)
    def hello(self, name: str) -> None:
        session = self.id_of(name)
        epoch = session and self.world.epoch(session)
        if session and (session, epoch) in self.world.processes:
            turn = self.world.world.sessions[session].turn
            self.world.hello(session, seq=turn.seq if turn and turn.turn_id else None)

    @rule(name=names)
    def start(self, name: str) -> None:
        session = self.id_of(name)
        turn = session and self.world.world.sessions[session].turn
        if session and turn and (session, self.world.epoch(session)) in self.world.processes:
            self.world.report(session, m.Started, seq=turn.seq, turn_id=f"turn-{session}-{turn.seq}")

    @rule(name=names, seq=st.integers(1, 6))
    def reply(self, name: str, seq: int) -> None:
        session = self.id_of(name)
        if session and (session, self.world.epoch(session)) in self.world.processes:
            turn = self.world.world.sessions[session].turn
            known = {row["seq"] for row in self.world.store.messages.get(session, ()) if "idem" in row}
            if turn and turn.seq in known:
                self.world.answer(session, turn.seq, "answer")
            elif seq in known:
                self.world.answer(session, seq, "late answer", started=False)

    @rule(name=names)
    def die(self, name: str) -> None:
        session = self.id_of(name)
        if session and (session, self.world.epoch(session)) in self.world.processes:
            self.world.die(session)

    @rule()
    def ping(self) -> None:
        for session, epoch in list(self.world.processes):
            if self.world.world.sessions.get(session) and self.world.world.sessions[session].peer:
                self.world.report(session, m.Ping, epoch, state="idle", turn_id=None, loop_lag_ms=0)

    @rule(name=names)
    def spawn_fails(self, name: str) -> None:
        session = self.id_of(name)
        spawned = [p for p in self.world.pending if isinstance(p, ev.WorkerSpawned) and p.session == session]
        for event in spawned:
            self.world.pending.remove(event)
            self.world.processes.pop((event.session, event.epoch), None)
            self.world.step(ev.SpawnFailed(event.session, event.epoch, "fork: no memory", fatal=False))

    # ---- the world

    @rule(count=st.integers(1, 10))
    def settle(self, count: int) -> None:
        for _ in range(min(count, len(self.world.pending))):
            self.world.step_one()

    @precondition(lambda self: self.world.pending and isinstance(self.world.pending[0], e.Change))
    @rule()
    def commit_fails(self) -> None:
        self.world.step(ev.CommitFailed(self.world.pending.popleft(), "disk full"))

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule()
    def obey_signals(self) -> None:
        """The signals that were sent take effect."""
        signals, self.world.signals = self.world.signals, []
        for session, epoch, _ in signals:
            if (session, epoch) in self.world.processes:
                self.world.die(session, epoch, "SIGTERM")

    @rule()
    def reboot(self) -> None:
        self.world.reboot()

    # ---- what must always hold

    @invariant()
    def slots_are_never_more_than_the_cap(self) -> None:
        # Adopted workers of an earlier coordinator are the same ones that held a slot there.
        assert self.world.world.roll.slots_held <= CAP

    @invariant()
    def names_of_living_sessions_are_unique(self) -> None:
        living = [s.name for s in self.world.world.sessions.values() if not s.is_closed]
        assert len(living) == len(set(living))

    @invariant()
    def every_acknowledged_prompt_is_in_the_store(self) -> None:
        for ack in self.world.heard(m.Ack):
            row = self.world.store.messages[ack.session][ack.seq - 1]
            assert row["text"] == row["idem"].replace("k", "t")

    @invariant()
    def no_prompt_has_two_replies_and_seqs_are_dense(self) -> None:
        for rows in self.world.store.messages.values():
            replies = [row["reply_to"] for row in rows if "reply_to" in row]
            assert len(replies) == len(set(replies))
            assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))

    @invariant()
    def there_is_work_exactly_when_there_is_a_turn(self) -> None:
        for session in self.world.world.sessions.values():
            assert (session.turn is not None) == (session.work.value != "idle")

    @invariant()
    def every_final_was_committed(self) -> None:
        for final in self.world.heard(m.Final):
            assert self.world.store.messages[final.session][final.reply_seq - 1]["reply_to"] == final.seq

    def serve_everybody(self) -> None:
        """Let every worker do the next thing that is due."""
        self.world.settle()
        self.obey_signals()
        for session in self.sessions():
            known = self.world.world.sessions[session]
            if (session, known.epoch) in self.world.processes:
                if known.residency in {Residency.HIBERNATING, Residency.STOPPING}:
                    self.world.die(session, signal=None, code=0)
                elif known.residency is not Residency.LIVE or known.peer is None:
                    self.world.hello(session)
                elif known.turn is not None:
                    self.world.answer(session, known.turn.seq, "answer")
            elif known.residency is Residency.FAILED and known.waiting:
                self.prompts += 1
                idem, text = f"k{self.prompts}", f"t{self.prompts}"
                self.world.say(m.Submit(request=1, session=session, idem=idem, text=text, follow=False))
        self.world.settle()

    def teardown(self) -> None:
        """When the storm is over and everything is served, every prompt is answered or marked."""
        for _ in range(60):
            for _ in range(12):
                self.serve_everybody()
            if not any(self.world.store.unanswered(s) for s in self.world.store.sessions):
                break
            for _ in range(5):  # time passes for workers that are well: nobody is freed by being ended
                self.world.advance(1)
                self.ping()
        left = {s: self.world.store.unanswered(s) for s in self.world.store.sessions}
        assert not any(left.values()), (left, self.world.world.sessions)


Storm.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestStorm = Storm.TestCase
