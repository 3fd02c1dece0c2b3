"""What some models need beyond the core's install: an extra each, imported only where it is configured."""

import importlib.util
import sys

# By provider: the module that must be there, and what pip is told to bring it. ``mcp`` is for servers of tools.
MCP = "mcp"
EXTRAS = {"anthropic": ("anthropic", "pydantic-ai-slim[anthropic]"), MCP: ("mcp", "mcp>=2.3")}


# By the key that needs it: the same for what operators' tools are told with.
FOR_KEYS = {
    "metrics_port": ("prometheus_client", "prometheus-client"),
    "trace_endpoint": ("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http"),
}


def is_there_for(key: str) -> bool:
    """Say whether everything is there that a key of the configuration needs."""
    try:
        return importlib.util.find_spec(FOR_KEYS[key][0]) is not None
    except ModuleNotFoundError:  # not even the package that it lies in
        return False


def how_to_install_for(key: str) -> str:
    """Return the command that brings what is missing."""
    return f"{sys.executable} -m pip install {FOR_KEYS[key][1]}"


def is_installed(provider: str) -> bool:
    """Say whether everything is there that a provider's models need."""
    return provider not in EXTRAS or importlib.util.find_spec(EXTRAS[provider][0]) is not None


def how_to_install(provider: str) -> str:
    """Return the command that brings what is missing."""
    return f"{sys.executable} -m pip install '{EXTRAS[provider][1]}'"
