"""``python -m tests.chaos --kills 1000 --seed 7``: a chaos run by hand, with its summary."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.attack import run_mutant
from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs in this run")
    parser.add_argument("--seed", type=int, help="decides whom, when and what; random when not given")
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--drain", type=float, default=120, help="seconds that a quiet barrier may take")
    parser.add_argument("--keep", action="store_true", help="keep the home")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break the product like this; ends when it is caught")
    given = parser.parse_args()
    if given.mutant is not None:
        caught = asyncio.run(run_mutant(given.mutant, given.kills))
        print(caught)
        return 1 if caught.faults else 0
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="cc-chaos-"))
    report = run(
        folder,
        seed=seed,
        kills=given.kills,
        sessions=given.sessions,
        clients=given.clients,
        drain_s=given.drain,
    )
    print(report)
    if report.violations:
        print(f"The home is kept: {folder}")
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
