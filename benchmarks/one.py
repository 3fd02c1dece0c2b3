"""Measure one row in a process of its own and print its JSON document: ``python -m benchmarks.one NAME ROUNDS``."""

import asyncio
import importlib
import json
import os
import signal
import sys

from benchmarks.measure import Comparison


async def _measured(name: str, rounds: int) -> list[Comparison]:
    """Run the row; SIGTERM and SIGINT end it in order, with everything that it started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    comparisons: list[Comparison] = await importlib.import_module(f"benchmarks.rows.{name}").run(rounds)
    return comparisons


def main() -> None:
    """Measure and print."""
    name, rounds = sys.argv[1], int(sys.argv[2])
    for key in [key for key in os.environ if key.startswith("CHAT_COORD_")]:
        del os.environ[key]
    comparisons = asyncio.run(_measured(name, rounds))
    print(json.dumps([comparison.document() for comparison in comparisons]))


if __name__ == "__main__":
    main()
