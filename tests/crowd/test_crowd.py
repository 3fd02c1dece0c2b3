"""More sessions than slots and permits: the bounds hold, nobody's past is another's, whatever is killed."""

import asyncio

import pytest

from tests.crowd import cycles
from tests.crowd.run import run

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("kills", [0, 12], ids=["quiet", "killed"])
def test_a_crowd_stays_within_its_slots_and_permits_and_everybody_is_answered(kills: int):
    seen = asyncio.run(run(seed=11, sessions=16, cap=4, permits=3, seconds=10, kills=kills))

    assert seen.is_good, str(seen)
    assert seen.prompts > 30
    assert seen.most_workers == 4
    assert seen.most_requests == 3


def test_a_session_that_sleeps_and_wakes_again_and_again_stays_what_it_is():
    seen = asyncio.run(cycles.run(25))

    assert (seen.changed, seen.left_behind) == ([], 0)
    assert len(seen.pids) == 25
