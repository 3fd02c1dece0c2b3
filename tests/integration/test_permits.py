"""Permits with everything real: the model's server counts requests at once, whoever is killed, and when they come."""

import os
import signal
import time

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

NAMES = [f"s{n}" for n in range(10)]


@pytest.fixture
def two(fresh: Product, model: ModelServer) -> Product:
    """The product with two permits and ten sessions."""
    fresh.use_model(model.url, more="max_concurrent_api_calls = 2")
    for name in NAMES:
        fresh.run("new", name)
    return fresh


def send_to_all(product: Product, text: str, names: list[str] = NAMES) -> None:
    """Send to each; the tag at the end is the session's."""
    for name in names:
        product.run("send", name, f"{text} {name}", "--no-wait")


def permits(product: Product) -> dict:
    return product.json("status")["permits"]


def wait_all_free(product: Product, within_s: float = 30) -> None:
    wait_for(lambda: (permits(product)["in_use"], permits(product)["waiting"]) == (0, 0), within_s)


def replies(product: Product, name: str) -> list[dict]:
    return [row for row in product.json("history", name) if row["role"] == "assistant"]


def test_ten_sessions_never_send_more_than_two_requests_at_once(two: Product, model: ModelServer):
    send_to_all(two, "wait")
    seen = wait_for(lambda: next((s for s in two.sessions() if s["display"] == "throttled"), None))

    assert seen["work"] == "throttled"
    assert seen["work_detail"]["why"] == "permit"
    assert 1 <= seen["work_detail"]["position"] <= 8
    assert "2 of 2 in use, 8 in line" in two.run("status")

    model.gate.set()
    for name in NAMES:
        wait_for(lambda name=name: replies(two, name))

    assert model.most_at_once == 2
    assert len(model.calls) == 10
    assert {replies(two, name)[0]["stop_reason"] for name in NAMES} == {"completed"}

    wait_all_free(two)


def test_a_permit_of_a_killed_worker_is_free_again_and_the_limit_holds(two: Product, model: ModelServer):
    send_to_all(two, "wait", NAMES[:4])
    wait_for(lambda: model.at_once == 2)
    holders = [call.prompt.split()[-1] for call in model.calls]
    for name in holders:
        os.kill(two.session(name)["pid"], signal.SIGKILL)
    wait_for(lambda: len(model.calls) == 4)

    assert model.most_at_once == 2

    model.gate.set()
    for name in NAMES[:4]:
        wait_for(lambda name=name: replies(two, name))
    ends = {name: replies(two, name)[0]["stop_reason"] for name in NAMES[:4]}

    assert {name for name, end in ends.items() if end == "interrupted"} == set(holders)
    assert model.most_at_once == 2

    wait_all_free(two)


def test_the_limit_holds_while_the_coordinator_is_killed_and_another_one_begins(two: Product, model: ModelServer):
    send_to_all(two, "wait", NAMES[:5])
    wait_for(lambda: model.at_once == 2)
    for _ in range(2):
        os.kill(two.json("status")["pid"], signal.SIGKILL)
        wait_for(lambda: two.result("start").returncode == 0)
        wait_for(lambda: permits(two) | {"gates": []} == {"in_use": 2, "limit": 2, "waiting": 3, "gates": []})

        assert len(model.calls) == 2

    model.gate.set()
    for name in NAMES[:5]:
        wait_for(lambda name=name: replies(two, name))

    assert model.most_at_once == 2
    assert {replies(two, name)[0]["stop_reason"] for name in NAMES[:5]} == {"completed"}

    wait_all_free(two)


def test_a_429_to_one_session_keeps_all_away_until_then_and_lets_them_in_one_by_one(fresh: Product, model: ModelServer):
    fresh.use_model(model.url)
    for name in NAMES[:6]:
        fresh.run("new", name)
    model.refusals["hold 0.5 s0"] = [(429, {"retry-after": "3"})]
    fresh.run("send", "s0", "hold 0.5 s0", "--no-wait")
    wait_for(lambda: model.calls)
    refused_s = model.calls[0].began_s
    send_to_all(fresh, "hold 0.5", NAMES[1:6])
    (gate,) = wait_for(lambda: permits(fresh)["gates"])

    assert (gate["provider"], gate["why"]) == (model.url, "rate_limit")
    assert abs(gate["until"] - time.time()) < 4
    assert "takes none for" in fresh.run("status")

    for name in NAMES[:6]:
        wait_for(lambda name=name: replies(fresh, name))
    began = [call.began_s for call in model.calls[1:]]

    assert len(began) == 6
    assert min(began) - refused_s >= 2.9  # nobody came before
    first = model.calls[1]
    assert sum(call.began_s < (first.began_s + 0.05) for call in model.calls[1:]) <= 2
    assert {replies(fresh, name)[0]["stop_reason"] for name in NAMES[:6]} == {"completed"}
    assert wait_for(lambda: permits(fresh)["gates"] == [])


def test_a_session_that_spent_its_tokens_fails_with_the_key_to_raise_and_lives(fresh: Product, model: ModelServer):
    fresh.use_model(model.url, more="spend_tokens_session = 10")
    fresh.run("new", "a")
    fresh.run("send", "a", "count 3 first")
    refused = fresh.result("send", "a", "count 3 second")

    assert refused.returncode == 1
    assert "spend_tokens_session" in refused.stderr
    assert len(model.calls) == 1
    assert fresh.live("a")["pid"]
    assert [row["stop_reason"] for row in replies(fresh, "a")] == ["completed", "failed"]

    fresh.run("config", "set", "spend_tokens_session", "1000000")
    fresh.run("restart")
    fresh.run("retry", "a")

    assert [row["stop_reason"] for row in replies(fresh, "a")][-1] == "completed"


def test_an_endless_stream_of_a_session_that_is_closed_leaks_nothing(two: Product, model: ModelServer):
    two.run("send", "s0", "endless s0", "--no-wait")
    two.run("send", "s1", "slow 1 s1", "--no-wait")
    wait_for(lambda: model.at_once == 2)
    two.run("close", "s0")
    two.run("close", "s1")

    wait_all_free(two)
    assert model.at_once == 0


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("max_concurrent_api_calls = 0", "from 1 to 1000"),
        ("max_concurrent_api_calls = 1001", "from 1 to 1000"),
        ("spend_tokens_total = -1", "from 0 to"),
    ],
)
def test_a_limit_out_of_its_range_stops_the_start(fresh: Product, line: str, allowed: str):
    fresh.configure(f"{line}\n")
    refused = fresh.result("start")

    assert refused.returncode == 78
    assert line.partition(" ")[0] in refused.stderr
    assert allowed in refused.stderr
