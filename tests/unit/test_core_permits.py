"""Permits among sessions: what workers are told, what people see, what a death and a restart change. The core alone."""

import pytest

from coordinator.core.governing import permits_view
from coordinator.core.providers import governor_of, provider_of
from protocol import messages as m
from protocol.embedded import SLOTS
from protocol.settings import ModelSettings, Settings
from protocol.views import Usage
from tests.support.simulated import Simulated, state


def begin(world: Simulated, *names: str) -> list[str]:
    """Let each session begin a turn."""
    sessions = []
    for name in names:
        session = world.new(name)
        seq = world.submit(name, f"prompt of {name}").seq
        world.report(session, m.Started, seq=seq, turn_id=f"turn-{session}-{seq}")
        sessions.append(session)
    return sessions


def turn_of(world: Simulated, session: str) -> str:
    return f"turn-{session}-{world.world.sessions[session].turn.seq}"


def want(world: Simulated, session: str, call: int = 1, **fields: object) -> list[m.Message]:
    boot = fields.pop("boot", world.world.boot)
    turn_id = fields.pop("turn_id", None) or turn_of(world, session)
    return world.report(session, m.PermitWanted, boot=boot, call=call, turn_id=turn_id, **fields)


def give_back(world: Simulated, session: str, call: int = 1, status: int | None = 200, **fields: object) -> None:
    world.report(session, m.PermitReturned, boot=world.world.boot, call=call, status=status, **fields)


def permits(world: Simulated, session: str) -> list[int]:
    peer = world.peer(session)
    return [message.call for to, message in world.to_workers if to == peer and isinstance(message, m.Permit)]


def view(world: Simulated, session: str):
    return world.ask(m.GetSession, session=session).session


def status(world: Simulated):
    return world.machine.world.governor


def test_a_request_that_may_go_is_let_go_at_once_and_the_session_runs():
    world = Simulated(max_concurrent_api_calls=1)
    (a,) = begin(world, "a")

    assert want(world, a) == [m.Permit(boot=1, call=1)]
    assert state(world, a) == ("live", "running")


def test_who_waits_is_throttled_with_its_place_and_runs_when_its_permit_comes():
    world = Simulated(max_concurrent_api_calls=1)
    a, b, c = begin(world, "a", "b", "c")
    want(world, a)
    want(world, b)
    want(world, c)

    assert [state(world, s)[1] for s in (a, b, c)] == ["running", "throttled", "throttled"]
    assert view(world, c).display == "throttled"
    assert view(world, c).work_detail == {
        "seq": 1, "turn_id": turn_of(world, c), "why": "permit", "position": 2, "until": None, "expected_wait_s": None,
    }  # fmt: skip

    give_back(world, a)

    assert [state(world, s)[1] for s in (a, b, c)] == ["running", "running", "throttled"]
    assert (permits(world, b), permits(world, c)) == ([1], [])
    assert view(world, c).work_detail["position"] == 1


def test_listeners_are_told_of_the_wait_and_its_end():
    world = Simulated(max_concurrent_api_calls=1)
    world.ask(m.Listen)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    give_back(world, a)
    told = [(c.before, c.after, c.cause) for c in world.heard(m.Changed) if c.session == b]

    assert told[-2:] == [
        ("running", "throttled", "permit not free"),
        ("throttled", "running", "permit granted"),
    ]


def test_who_is_looked_at_and_whose_answer_is_waited_for_go_first():
    world = Simulated(max_concurrent_api_calls=1)
    a, b, seen = begin(world, "a", "b", "seen")
    followed = world.new("followed")
    seq = world.submit("followed", "p", follow=True).seq
    world.report(followed, m.Started, seq=seq, turn_id=f"turn-{followed}-{seq}")
    want(world, a)
    for session in (b, followed, seen):
        want(world, session)
    world.ask(m.Attach, session="seen")

    assert [view(world, s).work_detail["position"] for s in (b, followed, seen)] == [3, 1, 2]

    give_back(world, a)
    give_back(world, followed)

    assert (permits(world, b), permits(world, seen)) == ([], [1])


def test_a_permit_is_free_when_its_worker_is_dead_and_not_before():
    world = Simulated(max_concurrent_api_calls=1)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    for _ in range(11):  # a hangs: it is ended, and until it is dead it may still have its request open
        world.advance(1)
        world.report(b, m.Ping, state="running", turn_id=None, loop_lag_ms=0)

    assert (a, 1, "SIGTERM") in world.signals
    assert permits(world, b) == []

    world.die(a)

    assert permits(world, b) == [1]


def test_a_turn_in_line_whose_worker_dies_is_over():
    world = Simulated(max_concurrent_api_calls=1)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    world.die(b)

    assert state(world, b)[1] == "idle"
    assert status(world).waiting == ()


def test_a_return_that_was_lost_comes_with_the_next_ping():
    world = Simulated(max_concurrent_api_calls=1)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    ping = {"state": "running", "turn_id": None, "loop_lag_ms": 0, "boot": 1}
    world.report(a, m.Ping, **ping, permit=1, permits_over=0)

    assert permits(world, b) == []

    world.report(a, m.Ping, **ping, permit=0, permits_over=1)

    assert permits(world, b) == [1]


def test_a_permit_that_was_lost_is_sent_again():
    world = Simulated(max_concurrent_api_calls=1)
    (a,) = begin(world, "a")
    want(world, a)

    assert want(world, a) == [m.Permit(boot=1, call=1)]
    assert status(world).in_use == 1


def test_a_worker_that_is_not_at_its_turn_gets_none():
    world = Simulated()
    (a,) = begin(world, "a")

    assert want(world, a, turn_id="another") == []
    assert want(world, a, boot=7) == []

    world.answer(a, 1, "done")

    assert want(world, a, turn_id="turn") == []
    assert status(world).in_use == 0


def test_a_new_coordinator_takes_every_adopted_worker_for_a_holder_until_it_says_otherwise():
    world = Simulated(max_concurrent_api_calls=1)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    world.reboot()
    world.hello(a, seq=1, turn_id=f"turn-{a}-1")
    world.hello(b, seq=1, turn_id=f"turn-{b}-1")
    want(world, b)  # it holds nothing, since it asks; of a nothing is known

    assert permits(world, b) == []
    assert state(world, b)[1] == "throttled"
    assert status(world).in_use == 1

    ping = {"state": "running", "turn_id": None, "loop_lag_ms": 0, "permit": 1, "permits_over": 0}
    world.report(a, m.Ping, **ping, boot=1)  # of before: it does not tell what came since
    world.report(a, m.Ping, **ping, boot=2)

    assert permits(world, b) == []

    give_back(world, a)

    assert permits(world, b) == [1]


def test_a_return_to_an_earlier_coordinator_is_not_heard():
    world = Simulated(max_concurrent_api_calls=1)
    (a,) = begin(world, "a")
    want(world, a)
    world.reboot()
    world.hello(a, seq=1, turn_id=f"turn-{a}-1")
    world.report(a, m.PermitReturned, boot=1, call=1, status=200)

    assert status(world).in_use == 1


def test_a_refusal_of_one_session_closes_the_gate_for_all_and_a_timer_opens_it():
    world = Simulated(max_concurrent_api_calls=3)
    a, b, c = begin(world, "a", "b", "c")
    want(world, a)
    give_back(world, a, status=429, retry_after_s=5.0)
    want(world, a, call=2)
    want(world, b)
    want(world, c)
    detail = view(world, b).work_detail

    assert [state(world, s)[1] for s in (a, b, c)] == ["throttled"] * 3
    assert (detail["why"], detail["position"]) == ("rate_limit", 2)
    assert 5 <= detail["until"] - world.world.wall_s(world.now_s) <= 5.6
    assert 5 <= detail["expected_wait_s"] <= 5.6

    world.advance(6)

    assert (permits(world, a), permits(world, b), permits(world, c)) == ([1, 2], [], [])
    assert view(world, b).work_detail["until"] is None

    world.report(a, m.Delta, seq=1, turn_id=turn_of(world, a), n=0, text="it answers")
    world.advance(1)

    assert (permits(world, b), permits(world, c)) == ([1], [])


@pytest.mark.parametrize(
    ("code", "retry_after_s", "closes"),
    [(429, None, True), (529, None, True), (503, 5.0, True), (503, None, False), (400, 5.0, False), (200, None, False)],
)
def test_which_answers_close_the_gate(code, retry_after_s, closes):
    world = Simulated()
    (a,) = begin(world, "a")
    want(world, a)
    give_back(world, a, status=code, retry_after_s=retry_after_s)

    assert bool(list(status(world).gates(world.now_s))) is closes


def test_status_tells_of_permits_and_gates():
    world = Simulated(max_concurrent_api_calls=2)
    a, b, c = begin(world, "a", "b", "c")
    for session in (a, b, c):
        want(world, session)
    seen = permits_view(world.world, world.now_s)

    assert (seen.in_use, seen.limit, seen.waiting, seen.gates) == (2, 2, 1, [])

    give_back(world, a, status=429, retry_after_s=5.0)
    (gate,) = permits_view(world.world, world.now_s).gates

    assert (gate.provider, gate.why, gate.allowed) == ("http://127.0.0.1:1/v1", "rate_limit", 0)
    assert gate.until > world.world.wall_s(world.now_s)


# ---- spending


def spend(world: Simulated, session: str, tokens: int) -> None:
    """Let a turn end that cost so much."""
    seq = world.world.sessions[session].turn.seq
    usage = Usage(input_tokens=tokens - 1, output_tokens=1)
    world.report(
        session, m.Reply, seq=seq, turn_id=f"turn-{session}-{seq}", text="t", stop_reason="completed", usage=usage,
        pieces=0,
    )  # fmt: skip


def next_turn(world: Simulated, name: str, session: str) -> None:
    seq = world.submit(name, "more").seq
    world.report(session, m.Started, seq=seq, turn_id=f"turn-{session}-{seq}")


def test_a_session_that_spent_its_tokens_is_refused_and_lives():
    world = Simulated(spend_tokens_session=100)
    a, b = begin(world, "a", "b")
    want(world, a)
    give_back(world, a)
    spend(world, a, 99)
    next_turn(world, "a", a)

    assert want(world, a, call=2) == [m.Permit(boot=1, call=2)]

    give_back(world, a, call=2, usage=Usage(input_tokens=1))
    (refused,) = want(world, a, call=3)

    assert isinstance(refused, m.PermitRefused)
    assert (refused.call, refused.error.code) == (3, "spend.limit")
    assert "100 tokens of the 100 that spend_tokens_session allows" in refused.error.message
    assert "config set spend_tokens_session" in refused.error.hint
    assert state(world, a)[0] == "live"
    assert want(world, b) == [m.Permit(boot=1, call=1)]


def test_what_all_sessions_spent_bounds_all_also_after_a_restart():
    world = Simulated(spend_tokens_total=100)
    a, b = begin(world, "a", "b")
    want(world, a)
    give_back(world, a)
    spend(world, a, 100)
    (refused,) = want(world, b)

    assert "spend_tokens_total" in refused.error.message
    assert world.world.tokens_spent == 100


def test_who_waits_in_line_when_the_money_is_gone_is_refused_too():
    world = Simulated(spend_tokens_total=100, max_concurrent_api_calls=1)
    a, b = begin(world, "a", "b")
    want(world, a)
    want(world, b)
    give_back(world, a, usage=Usage(input_tokens=60, output_tokens=40))
    refused = [message for to, message in world.to_workers if to == world.peer(b)][-1]

    assert isinstance(refused, m.PermitRefused)
    assert status(world).waiting == ()


def test_a_turn_that_was_cut_costs_what_its_requests_were_seen_to_cost():
    world = Simulated()
    (a,) = begin(world, "a")
    want(world, a)
    give_back(world, a, usage=Usage(input_tokens=60, output_tokens=40))
    give_back(world, a, usage=Usage(input_tokens=60, output_tokens=40))  # said twice
    world.die(a)

    assert world.world.sessions[a].tokens == 100


def test_a_turn_that_began_again_costs_what_both_attempts_cost():
    world = Simulated(on_interrupt="resume")
    (a,) = begin(world, "a")
    want(world, a)
    give_back(world, a, usage=Usage(input_tokens=60))
    world.die(a)
    world.advance(1)
    world.hello(a)
    world.report(a, m.Started, seq=1, turn_id=f"turn-{a}-1")
    want(world, a)
    give_back(world, a, usage=Usage(input_tokens=30))
    spend(world, a, 30)

    assert world.world.sessions[a].tokens == 90


# ---- providers


def model(**fields: object) -> ModelSettings:
    return ModelSettings(**{"provider": "openai", "model": "m", "base_url": "http://h/v1"} | fields)


def test_models_of_one_endpoint_share_its_gate_and_its_lowest_limits():
    models = {"a": model(max_concurrent_api_calls=3), "b": model(max_concurrent_api_calls=2, requests_per_minute=7)}
    settings = Settings(models=models | {"c": model(base_url="http://other/v1")})
    pool = governor_of(settings)._pools[provider_of(settings, "a")]

    assert provider_of(settings, "a") == provider_of(settings, "b") != provider_of(settings, "c")
    assert (pool.limits.at_once, pool.limits.requests_per_minute, pool.limits.tokens_per_minute) == (2, 7, None)


def test_a_local_model_gets_no_more_at_once_than_its_server_answers():
    file = {"provider": "local", "model": "/m.gguf"}
    settings = Settings(models={"few": model(**file, max_concurrent_api_calls=2)}, max_concurrent_api_calls=99)
    limits = [governor_of(settings)._pools[provider_of(settings, name)].limits for name in ("embedded", "few")]

    assert [found.at_once for found in limits] == [SLOTS, 2]
    assert provider_of(settings, "gone") == "model gone"
