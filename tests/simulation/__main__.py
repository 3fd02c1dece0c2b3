"""Play the simulation: ``python -m tests.simulation --seed 7 --events 1000000``. The same seed gives the same run."""

import argparse
import sys
import time

from tests.simulation.violation import Violation
from tests.simulation.world import run


def main() -> int:
    """Play, and print what happened; 1 when something that must hold did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", default="1", help="any text; SEED/N plays episode N of that seed alone")
    parser.add_argument("--events", type=int, default=100_000, help="events that go through Machine.step, at least")
    options = parser.parse_args()
    begun_s = time.perf_counter()
    try:
        events, crashes, counts = run(options.seed, options.events)
    except Violation as violation:
        print(f"seed {options.seed}: {violation}")
        return 1
    for what, count in sorted(counts.items()):
        print(f"{count:>9}  {what}")
    took_s = time.perf_counter() - begun_s
    print(f"seed {options.seed}: {events} events, {crashes} crashes, nothing lost")
    print(f"{took_s:.1f} s, {took_s / events * 1e6:.0f} us an event", file=sys.stderr)
    return 0


sys.exit(main())
