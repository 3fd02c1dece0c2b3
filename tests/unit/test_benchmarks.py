import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import OURS, Comparison, Samples, in_turn, percentile, ratio
from benchmarks.report import figure, goals, table

ROOT = Path(__file__).parents[2]


def test_the_help_names_every_row():
    words = [sys.executable, "-m", "benchmarks", "--help"]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)

    modules = {path.stem for path in (ROOT / "benchmarks" / "rows").glob("*.py")} - {"__init__"}
    assert all(f"  {name} " in done.stdout for name in modules)


def test_a_row_that_does_not_exist_is_refused():
    words = [sys.executable, "-m", "benchmarks", "--only", "nonsense"]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 2


def test_the_median_is_over_all_samples_and_each_round_has_its_own():
    samples = Samples([[1.0, 2.0, 30.0], [4.0, 5.0]])

    assert samples.median == 4.0
    assert samples.round_medians == [2.0, 4.5]


def test_the_ratio_is_of_medians_and_its_spread_is_over_rounds():
    ours = Samples([[2.0, 2.0], [4.0, 4.0], [9.0, 9.0]])
    theirs = Samples([[2.0], [2.0], [3.0]])

    found = ratio(ours, theirs)

    assert (found.value, found.low, found.high) == (2.0, 1.0, 3.0)


def test_sides_with_unequal_rounds_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        ratio(Samples([[1.0]]), Samples([[1.0], [1.0]]))


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0), (1, 1.0)])
def test_a_percentile_is_the_nearest_rank(percent, value):
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == value


def test_goals_hold_at_their_limit_and_know_their_direction():
    report = Comparison("x", "ms", {OURS: Samples([[4.0]]), "peer": Samples([[8.0]])})
    report.within(4.0, "at most four")
    report.within(3.9, "less than four")
    report.at_most(0.5, "peer", "half of the peer")
    report.above(5.0, "at least five")

    assert [goal.is_met for goal in report.goals] == [True, False, True, False]


async def _side(order, name):
    order.append(name)
    return [float(len(order))]


async def _two_sides_in_two_rounds():
    order = []
    sides = await in_turn({"a": lambda: _side(order, "a"), "b": lambda: _side(order, "b")}, 2)
    return order, sides


def test_sides_take_turns():
    order, sides = asyncio.run(_two_sides_in_two_rounds())

    assert order == ["a", "b", "a", "b"]
    assert sides["b"].rounds == [[2.0], [4.0]]


def test_the_table_shows_the_ratio_beside_the_other_side():
    report = Comparison("x", "ms", {OURS: Samples([[4.0]]), "peer": Samples([[8.0]])})
    report.within(5.0, "x: at most five")

    document = {"row": [report.document()]}

    assert table(document)[-1].endswith("| 8.00 | ms | 0.500 (0.500 to 0.500) |")
    assert goals(document)[-1] == "| x: at most five | 4.00 | 5.00 | yes |"


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346")])
def test_figures_have_about_three_digits(value, text):
    assert figure(value) == text
