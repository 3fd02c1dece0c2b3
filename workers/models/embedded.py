"""A local model's server: one process for all sessions, an OpenAI-compatible endpoint on loopback.

Started by the coordinator as ``python -m workers.models.embedded``. It reads its API key as the first line of standard
input, prints one JSON line with its address when it is ready, and leaves on SIGTERM, or by itself when its home has
been without a coordinator for a while.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import setproctitle
import xllamacpp

from protocol.paths import Home, read_discovery
from protocol.processes import is_running

CACHE_RAM_MIB = 256
ORPHAN_S = 900.0
WATCH_S = 10.0


def serve(model: Path, home: Home, slots: int, threads: int, window_tokens: int) -> None:
    """Load the model, announce the address, stay until told to leave or orphaned."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [sys.stdin.readline().strip()]
    params.n_parallel = slots
    params.kv_unified = True
    params.n_ctx = window_tokens
    params.cpuparams.n_threads = threads
    params.cache_ram_mib = CACHE_RAM_MIB
    params.cors_origins = ""
    params.ui = False
    params.offline = True
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201 - the announcement
    _watch(home)
    del server


def _watch(home: Home) -> None:
    """Return when SIGTERM came or no coordinator has run for ORPHAN_S."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    seen_s = time.monotonic()
    while time.monotonic() - seen_s < ORPHAN_S:
        time.sleep(WATCH_S)
        if _has_coordinator(home):
            seen_s = time.monotonic()


def _has_coordinator(home: Home) -> bool:
    found = read_discovery(home)
    return found is not None and is_running(found.pid, found.start_ticks)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description="A local model's server; started by the coordinator.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--window", type=int, required=True)
    given = parser.parse_args()
    setproctitle.setproctitle(f"chat-coord: model {given.model.stem}")
    serve(given.model, Home(given.home), given.slots, given.threads, given.window)


if __name__ == "__main__":
    main()
