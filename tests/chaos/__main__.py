"""``python -m tests.chaos --kills 1000 --seed 7``: prints the summary; exit 1 when a promise was broken."""

import argparse
import asyncio
import sys
import time

from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run, run_mutant


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None, help="the schedule (default: by the clock, and printed)")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break the product like this; ends when it is caught")
    given = parser.parse_args()
    if given.mutant:
        report = asyncio.run(run_mutant(given.mutant, given.kills))
        print(report)
        return 1 if report.faults else 0
    seed = int(time.time()) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    report = asyncio.run(run(seed, given.kills))
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
