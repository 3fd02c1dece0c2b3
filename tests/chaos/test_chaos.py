"""The promises under random kills, and four broken products that the same attack catches."""

import asyncio

import pytest

from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run, run_mutant

pytestmark = pytest.mark.chaos

KILLS = 40
SEED = 4


@pytest.mark.timeout(600)
def test_forty_random_kills_break_no_promise():
    report = asyncio.run(run(SEED, KILLS))
    print(report)

    assert report.faults == {}
    assert report.kills.total() == KILLS
    assert report.found["completed"] > KILLS // 4  # it went on working between the kills


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_product_that_breaks_a_rule_is_caught(mutant: str):
    report = asyncio.run(run_mutant(mutant, most_kills=20))
    print(mutant, report)

    assert report.faults
