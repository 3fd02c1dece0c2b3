"""Each mutant of the protocol is caught: by the ledger alone, as people outside would see it."""

import pytest

from tests.simulation import mutants
from tests.simulation.mutants import MUTANTS
from tests.simulation.violation import Violation
from tests.simulation.world import run

pytestmark = pytest.mark.simulation

# The slowest mutant was caught after 133,000 events in eight tries, at half of that on average.
MOST_EVENTS = 800_000
MOST_CRASHES = 30_000
SEED = "a"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_of_the_protocol_is_caught_by_the_ledger_alone(mutant, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises(Violation) as caught:
        run(SEED, MOST_EVENTS, is_watched=False)
    found = caught.value
    print(f"{mutant.__name__}: {found.events} events, {found.crashes} crashes: {found.claim[:150]}")

    assert found.crashes <= MOST_CRASHES


@pytest.mark.parametrize(
    ("mutant", "claim"),
    [(mutants.acknowledge_before_commit, "3: acknowledged before commit"), (mutants.no_fence, "1: ")],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_mutant_that_shows_inside_is_caught_by_its_invariant(mutant, claim, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises(Violation) as caught:
        run(SEED, MOST_EVENTS)

    assert caught.value.claim.startswith(claim)
