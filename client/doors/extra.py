"""What a door needs beyond the core's install: a library each, imported only when the door is used."""

import importlib.util
import sys

from protocol.errors import ChatCoordError

# By extra: the modules that must be there, and what pip is told to bring them.
NEEDS = {
    "acp": (("acp",), ("agent-client-protocol>=0.12.1",)),
    "http": (("starlette", "uvicorn"), ("starlette>=1.0.0", "uvicorn>=0.40.0")),
    "mcp": (("mcp",), ("mcp>=2.3",)),
}


class ExtraMissing(ChatCoordError):
    """A library that this door needs is not installed."""

    code = "extra.missing"


def require(extra: str) -> None:
    """Go on only when everything is there.

    Raises:
        ExtraMissing: names what brings it.
    """
    modules, brings = NEEDS[extra]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        words = " ".join(f"'{name}'" for name in brings)
        hint = f"Run: {sys.executable} -m pip install {words}"
        raise ExtraMissing(f"This needs {' and '.join(missing)}, which is not installed.", hint=hint)
