"""``python -m tests.crowd --seconds 120 --kills 100``: sixty sessions, ten slots, five permits."""

import argparse
import asyncio
import random
import sys

from tests.crowd.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crowd", description=__doc__)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--cap", type=int, default=10, help="max_active_sessions")
    parser.add_argument("--permits", type=int, default=5, help="max_concurrent_api_calls")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs of workers that hold permits, and coordinators")
    parser.add_argument("--seed", type=int, help="random when not given")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    seen = asyncio.run(
        run(
            seed=seed,
            sessions=given.sessions,
            cap=given.cap,
            permits=given.permits,
            seconds=given.seconds,
            kills=given.kills,
        )
    )
    print(seen)
    return 0 if seen.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
