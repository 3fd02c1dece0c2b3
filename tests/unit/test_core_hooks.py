"""When a person's commands are run."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.lifecycle import Work
from protocol import messages as m
from protocol.views import Usage
from tests.support.simulated import Simulated

HOOKS = {"hook_requires_action": ["ask"], "hook_failed": ["bad", "now"], "hook_completed": ["good"]}


class Listening(Simulated):
    """A world that keeps the commands that are to be run."""

    def __init__(self, **settings: object) -> None:
        self.hooks: list[e.RunHook] = []
        super().__init__(**settings)

    def _perform(self, effect: e.Effect) -> None:
        if isinstance(effect, e.RunHook):
            self.hooks.append(effect)
        super()._perform(effect)


def end(world: Simulated, session: str, stop_reason: str) -> None:
    world.submit(session, "x")
    world.report(session, m.Started, seq=1, turn_id="t")
    reply = {"seq": 1, "turn_id": "t", "text": "y", "stop_reason": stop_reason, "usage": Usage(), "pieces": 0}
    world.report(session, m.Reply, **reply)
    world.report(session, m.Reply, **reply)  # said twice, it is the same end


@pytest.mark.parametrize(
    ("stop_reason", "run"), [("completed", ("good",)), ("failed", ("bad", "now")), ("cancelled", None)]
)
def test_the_end_of_a_turn_runs_its_command_once(stop_reason, run):
    world = Listening(**HOOKS)
    a = world.new("a")
    end(world, a, stop_reason)

    assert [hook.words for hook in world.hooks] == ([] if run is None else [run])
    if run is not None:
        [hook] = world.hooks
        assert (hook.session, hook.name, hook.state) == (a, "a", "unread")
        assert hook.event == ("completed" if run == ("good",) else "failed")


def test_without_a_command_nothing_is_run():
    world = Listening()
    end(world, world.new("a"), "completed")

    assert world.hooks == []


def test_a_session_that_gave_up_runs_one_command_however_many_prompts_waited():
    world = Listening(restart_limit=0, **HOOKS)
    a = world.new("a")
    world.submit(a, "one")
    world.submit(a, "two")
    world.die(a)

    assert [(hook.event, hook.state) for hook in world.hooks] == [("failed", "failed")]


def test_a_turn_that_was_interrupted_runs_the_command_for_failures():
    world = Listening(**HOOKS)
    a = world.new("a")
    world.submit(a, "one")
    world.report(a, m.Started, seq=1, turn_id="t")
    world.die(a)

    assert [hook.event for hook in world.hooks] == ["failed"]


def test_a_session_that_begins_to_wait_for_a_person_runs_its_command_once():
    world = Listening(**HOOKS)
    a = world.new("a")
    session = world.world.sessions[a]
    world.world.touch(session, "asked")
    session.work = Work.REQUIRES_ACTION
    world.step(ev.Ticked(1.0))
    world.world.touch(session, "again")
    world.step(ev.Ticked(2.0))

    assert [(hook.event, hook.words) for hook in world.hooks] == [("requires_action", ("ask",))]
