"""Measure all rows, or some, and write the table: ``python -m benchmarks``."""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROWS = {
    "create": "a session, from the request to the first answer of its worker",
    "memory_idle": "the memory of an idle session",
    "memory_turn": "the memory of a session after its first streamed turn",
    "round_trip": "a ping, a request, and a prompt up to its acknowledgement",
    "first_piece": "from a prompt to the first piece of its reply",
    "doors": "a session and a first piece through `chat-coord acp`",
    "stream": "pieces per second",
    "ack": "a prompt up to its acknowledgement with 50 sessions",
    "command_line": "the start of the command line",
    "switch": "the full-screen terminal: another session is shown, and what five streams cost",
    "crash": "from SIGKILL to the news, and to serving again",
    "hibernate": "sessions put to sleep and woken",
    "restart": "the coordinator replaced, until every worker is back",
}
ROUNDS = 5
QUICK_ROUNDS = 3
ROW_S = 400.0
END_S = 30.0
# A row that fails is measured once more, and the report says so.
ATTEMPTS = 2
RESULTS = Path(__file__).with_name("results")


def _parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:<14}{what}" for name, what in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure chat-coord against the clock and against peers, both sides in turn.\n\nrows:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ROWS), help="only these rows")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the JSON document there as well")
    parser.add_argument("--results", metavar="FOLDER", type=Path, default=RESULTS, help="where the table is written")
    return parser


def _measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Run a row in a process of its own and return its document.

    Raises:
        RuntimeError: it failed, or took longer than ROW_S seconds.
    """
    command = [sys.executable, "-m", "benchmarks.one", name, str(rounds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    try:
        out, _ = process.communicate(timeout=ROW_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_S)
        process.kill()
        if isinstance(error, KeyboardInterrupt):
            raise
        raise RuntimeError(f"not done within {ROW_S:.0f} s") from None
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def _machine(load_at_start: float) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "processor": names[0] if names else platform.machine(),
        "memory_gib": pages / (1 << 30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": load_at_start,
        "load_at_end": os.getloadavg()[0],
    }


def main() -> int:
    """Measure what is asked for and write the table; the exit code is 1 when a row could not be measured."""
    given = _parser().parse_args()
    # Imported here, so that --help answers before anything is needed.
    from benchmarks import peers  # noqa: PLC0415
    from benchmarks.report import markdown  # noqa: PLC0415
    from protocol.version import __version__  # noqa: PLC0415

    print("Peers are installed once, into an environment of their own …", file=sys.stderr)
    peers.install()
    load_at_start = os.getloadavg()[0]
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    rows: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for name in given.only or ROWS:
        print(f"{name}: {ROWS[name]} …", file=sys.stderr)
        for attempt in range(ATTEMPTS):
            try:
                rows[name] = _measure(name, rounds)
                break
            except RuntimeError as error:
                print(f"{name}: {error}", file=sys.stderr)
                (failed if attempt + 1 == ATTEMPTS else repeated)[name] = str(error)
    document = {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "rounds": rounds,
        "machine": _machine(load_at_start),
        "versions": {"chat-coord": __version__} | peers.versions(),
        "rows": rows,
        "failed": failed,
        "repeated": repeated,
    }
    text = json.dumps(document, indent=1) + "\n"
    given.results.mkdir(parents=True, exist_ok=True)
    target = given.results / f"{document['date']}.md"
    target.write_text(markdown(document), encoding="utf-8")
    target.with_suffix(".json").write_text(text, encoding="utf-8")
    if given.json is not None:
        given.json.write_text(text, encoding="utf-8")
    print(markdown(document))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
