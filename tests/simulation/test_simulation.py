"""A million events without a loss, from fixed seeds; ``python -m tests.simulation`` plays others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import mutants
from tests.simulation.violation import Violation
from tests.simulation.world import run

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).parents[2]
EVENTS = 500_000
# What must have happened, or the run has shown less than it says; each happens hundreds of times.
EXPECTED = (
    "prompts acknowledged", "retries acknowledged", "replies finished", "requests to the model", "quiet barriers",
    "turns completed", "turns cancelled", "turns failed", "turns interrupted", "turns poisoned",
    "worker killed", "worker killed before it asks for the model", "worker killed before it notes the start",
    "worker killed between the note of the start and STARTED", "worker killed in the middle of an answer",
    "worker killed between the outbox and REPLY", "worker killed between REPLY and RACK",
    "worker killed between RACK and the end of its outbox", "worker killed with everybody", "workers stopped",
    "coordinator killed", "coordinator killed before COMMIT", "coordinator killed between COMMIT and what follows",
    "coordinators stopped", "coordinator left", "coordinator left its workers", "store ended", "disks full",
    "StoreTurned", "descriptors short", "refused descriptors.short", "SpawnFailed", "suspends",
    "wall clocks moved", "frames dropped", "frames doubled", "frames late",
    "PermitWanted", "PermitReturned", "requests at the limit", "requests refused for the rate",
    "worker killed with a permit", "worker killed before it gives its permit back", "permits not wanted any more",
    "memory short", "budgets spent", "refused memory.short", "tools ended", "MemorySampled", "SystemSampled",
    "stacks told", "hook completed", "hook failed", "restarted and live",
    "told that a worker is gone by Kill", "told that a worker is gone by RestartWorker",
    "deliveries recognised", "workers fenced", "sessions named after a prompt", "types proposed",
    "Attach", "Close", "Create", "Fetch", "HandOver", "Listen", "Rename", "Retry", "Switch",
)  # fmt: skip


@pytest.mark.parametrize("seed", ["spring", "autumn"])
def test_half_a_million_events_and_thousands_of_crashes_lose_nothing(seed):
    events, crashes, counts = run(seed, EVENTS)
    print(f"seed {seed}: {events} events, {crashes} crashes")

    assert crashes > 5_000
    assert [what for what in EXPECTED if counts[what] == 0] == []


def test_the_same_seed_is_the_same_run_in_another_process():
    said = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "again/0"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert said[0] == said[1]
    assert said[0].endswith("nothing lost\n")


def test_a_run_that_fails_says_where_and_how_to_see_it_again(monkeypatch):
    mutants.no_fence(monkeypatch)
    with pytest.raises(Violation) as caught:
        run("told", 100_000)
    claim, where, *last_events = str(caught.value).splitlines()
    episode = where.rpartition(" ")[2]
    with pytest.raises(Violation) as again:
        run(episode, 1)

    assert claim.startswith("1: ")
    assert "--seed told/" in where
    assert len(last_events) > 5
    assert str(again.value) == str(caught.value)
