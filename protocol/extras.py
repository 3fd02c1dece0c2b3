"""What some models need beyond the core's install: an extra each, imported only where it is configured."""

import importlib.util
import sys

# By provider: the module that must be there, and what pip is told to bring it. ``mcp`` is for servers of tools.
MCP = "mcp"
EXTRAS = {"anthropic": ("anthropic", "pydantic-ai-slim[anthropic]"), MCP: ("mcp", "mcp>=2.3")}


def is_installed(provider: str) -> bool:
    """Say whether everything is there that a provider's models need."""
    return provider not in EXTRAS or importlib.util.find_spec(EXTRAS[provider][0]) is not None


def how_to_install(provider: str) -> str:
    """Return the command that brings what is missing."""
    return f"{sys.executable} -m pip install '{EXTRAS[provider][1]}'"
