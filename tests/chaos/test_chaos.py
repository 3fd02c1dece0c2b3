"""The promises under random kills, and four broken products that an attack catches."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.attack import run_mutant
from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run

pytestmark = pytest.mark.chaos

KILLS = 40
SEED = 4


@pytest.mark.timeout(600)
def test_forty_random_kills_break_no_promise(tmp_path: Path):
    report = run(tmp_path, seed=SEED, kills=KILLS)
    print(report)

    assert report.violations == []
    assert report.kills.total() == KILLS
    assert report.ends["completed"] > KILLS  # it went on working between the kills


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_product_that_breaks_a_rule_is_caught(mutant: str):
    caught = asyncio.run(run_mutant(mutant, most_kills=20))
    print(caught)

    assert MUTANTS[mutant].fault in caught.faults  # the walk over failpoints finds none in the product as it is
