"""Servers of local models: stopped when no turn has used them for a while, never under one that runs."""

from coordinator.core import effects as e
from coordinator.core.local_use import OTHERS
from coordinator.core.machine import Machine
from protocol import messages as m
from protocol.settings import ModelSettings, Settings
from tests.support.simulated import Simulated

MINE = ModelSettings(provider="local", model="/models/mine.gguf")


def local(**settings: object) -> Simulated:
    """A world whose default model is a local one."""
    world = Simulated(**settings)
    remote = ModelSettings(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")
    world._settings = Settings(default_model="mine", models={"mine": MINE, "m": remote}, **settings)
    world.machine = Machine(world._settings)
    world._begin()
    return world


def test_a_server_that_no_turn_has_used_for_a_while_is_ended_and_those_that_were_used_stay():
    world = local(model_idle_s=600)
    a = world.new("a")
    world.advance(599)
    assert world.servers_ended == []

    world.hello(a)
    world.report(a, m.EndpointWanted)
    world.advance(2)
    assert world.servers_ended == [e.EndModelServers(kept=("mine",), keeps_others=False)]  # the embedded one

    world.advance(597)
    assert len(world.servers_ended) == 1
    world.advance(3)
    assert world.servers_ended[1:] == [e.EndModelServers(kept=(), keeps_others=False)]
    world.advance(2_000)
    assert len(world.servers_ended) == 2  # what is ended is not ended again

    world.hello(a)
    world.report(a, m.EndpointWanted)
    world.advance(700)
    assert len(world.servers_ended) == 3


def test_a_server_is_not_ended_under_a_turn_however_long_it_takes():
    world = local(model_idle_s=10)
    a = world.new("a")
    world.submit("a", "a long story")
    world.report(a, m.Started, seq=1, turn_id="t")
    for _ in range(30):
        world.advance(1)
        world.report(a, m.Ping, state="running", turn_id="t", loop_lag_ms=0)
    assert all("mine" in order.kept for order in world.servers_ended)

    world.answer(a, 1, "The end.", started=False)
    world.advance(12)
    assert world.servers_ended[-1].kept == ()


def test_a_session_with_a_remote_model_keeps_no_server():
    world = local(model_idle_s=10)
    a = world.new("a")
    world.world.sessions[a].model = "m"
    world.submit("a", "hello")
    world.report(a, m.EndpointWanted)
    world.advance(11)

    assert world.servers_ended == [e.EndModelServers(kept=(), keeps_others=False)]
    assert OTHERS not in world.world.local_used_s


def test_what_an_earlier_coordinator_started_counts_as_used_when_the_next_one_starts():
    world = local(model_idle_s=600)
    world.advance(500)
    world.reboot()
    world.advance(599)
    assert world.servers_ended == []
    world.advance(2)
    assert world.servers_ended == [e.EndModelServers(kept=(), keeps_others=False)]
