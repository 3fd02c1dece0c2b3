"""What every driver does: read a line, do what it says, write a line. No third-party import, so it runs anywhere."""

import json
import sys
from collections.abc import Callable
from typing import Any


def serve(verbs: dict[str, Callable[..., Any]]) -> None:
    """Answer until standard input ends; what a verb prints by itself goes to standard error."""
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"answer": verbs[order.pop("do")](**order)}
        except Exception as error:  # noqa: BLE001 - whatever it was, the benchmark is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)
