"""What operators' tools are told by the core: nothing while nobody listens, else each turn and each worker's end."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import Memory, Usage
from tests.support.simulated import Simulated


class Observed(Simulated):
    """A world that keeps what is told."""

    def __init__(self, **settings: object) -> None:
        self.told: list[e.Effect] = []
        super().__init__(**settings)

    def _perform(self, effect: e.Effect) -> None:
        if isinstance(effect, e.TellFigures | e.ObserveTurn | e.ObserveExit):
            self.told.append(effect)
        super()._perform(effect)


def run_turn(world: Observed, session: str) -> None:
    seq = world.submit(session, "secret words").seq
    world.now_s += 1
    world.report(session, m.Started, seq=seq, turn_id="t")
    world.report(session, m.PermitWanted, boot=world.world.boot, call=1, turn_id="t")
    world.now_s += 2
    world.report(session, m.Delta, seq=seq, turn_id="t", n=0, text="y")
    world.now_s += 4
    back = {"boot": world.world.boot, "call": 1, "status": 200}
    world.report(session, m.PermitReturned, **back)
    world.now_s += 8
    reply = {"seq": seq, "turn_id": "t", "text": "y", "stop_reason": "completed", "pieces": 1}
    usage = Usage(input_tokens=3, output_tokens=4)
    world.report(session, m.Reply, **reply, usage=usage)
    world.report(session, m.Reply, **reply, usage=usage)


@pytest.mark.parametrize("settings", [{"metrics_port": 9}, {"trace_endpoint": "http://127.0.0.1:1/v1/traces"}])
def test_a_turn_is_told_once_with_its_times_and_without_words(settings):
    world = Observed(**settings)
    begun_s = world.now_s
    run_turn(world, world.new("a"))

    [turn] = world.told
    assert (turn.model, turn.stop_reason, turn.error) == ("m", "completed", None)
    assert turn.usage == Usage(input_tokens=3, output_tokens=4)
    times = (turn.committed_s, turn.started_s, turn.first_piece_s, turn.ended_s)
    assert [at_s - begun_s for at_s in times] == [0, 1, 3, 15]
    assert [tuple(at_s - begun_s for at_s in use) for use in turn.permits] == [(1, 1, 7)]
    assert "secret" not in repr(turn)


def test_nothing_is_told_while_nobody_listens():
    world = Observed()
    a = world.new("a")
    run_turn(world, a)
    world.die(a)

    assert world.told == []


def test_why_a_worker_ended_is_one_of_a_few_words():
    world = Observed(metrics_port=9, memory_hard_bytes=64 << 20)
    crashed, killed, fat, silent = (world.new(name) for name in ("c", "k", "f", "s"))
    world.die(crashed)
    world.say(m.Kill(request=900, session=killed, pid=world.world.sessions[killed].pid))
    world.die(killed)
    memory = Memory(uss_bytes=65 << 20, rss_bytes=66 << 20)
    world.step(ev.MemorySampled(fat, world.epoch(fat), memory))
    world.die(fat)
    world.advance(12)
    world.die(silent)
    world.say(m.ClientHello(client="cli", pid=1))
    slept = world.new("h")
    world.say(m.Hibernate(request=901, session=slept))
    world.rest(slept)

    assert [told.cause for told in world.told] == ["crash", "by_hand", "memory", "silent", "ordered"]


def test_figures_count_each_session_once_and_know_who_is_slow():
    world = Observed(metrics_port=9, max_active_sessions=2)
    a, b = world.new("a"), world.new("b")
    world.create("c")
    world.submit(a, "x")
    world.report(a, m.Started, seq=1, turn_id="t")
    world.report(a, m.Delta, seq=1, turn_id="t", n=0, text="y")
    world.report(b, m.Ping, state="idle", turn_id=None, loop_lag_ms=250, boot=world.world.boot)
    world.now_s += 3
    world.step(ev.Scraped(7))

    told = world.told[-1]
    assert told.n == 7
    figures = told.figures
    assert {word: n for word, n in figures.residencies.items() if n} == {"live": 1, "hibernating": 1, "queued": 1}
    assert {word: n for word, n in figures.works.items() if n} == {"running": 1, "idle": 1}
    assert (figures.sessions.live, figures.sessions.max_active, figures.prompts_unanswered) == (2, 2, 1)
    assert (figures.pieces, figures.clients, figures.asks_waiting) == (1, 1, 0)
    assert (figures.longest_silence_s, figures.largest_lag_s) == (3.0, 0.25)
    assert figures.is_store_writable
