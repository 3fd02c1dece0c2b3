"""Servers of tools as a worker is told of them. Their keys are read at each turn and travel on the socket alone."""

from collections.abc import Mapping
from pathlib import Path

from protocol.mcp_settings import McpSettings
from protocol.messages import McpServer, ToolRule

KEY_BYTES = 16 << 10


def servers_of(configured: Mapping[str, McpSettings], private: Mapping[str, str]) -> list[McpServer]:
    """Return every server that is configured, with what it needs, or with what is missing.

    Args:
        configured: by name.
        private: the part of the environment that only the coordinator sees.
    """
    return [_server(name, settings, private) for name, settings in sorted(configured.items())]


def _server(name: str, settings: McpSettings, private: Mapping[str, str]) -> McpServer:
    missing = [key for key in settings.pass_env if key not in private]
    why = f"{missing[0]} is not in the coordinator's environment" if missing else None
    api_key = None
    if settings.api_key_env:
        api_key = private.get(settings.api_key_env)
        why = None if api_key else f"{settings.api_key_env} is not in the coordinator's environment"
    elif settings.api_key_file:
        try:
            with Path(settings.api_key_file).expanduser().open("rb") as file:
                api_key = file.read(KEY_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = f"its key file cannot be read: {error}"
    return McpServer(
        name=name,
        command=settings.command,
        url=settings.url,
        secrets={key: private[key] for key in settings.pass_env if key in private},
        api_key=api_key,
        rule=ToolRule(rule=settings.rule, allow=settings.allow, ask=settings.ask, deny=settings.deny),
        start_s=settings.start_s,
        idle_s=settings.idle_s,
        missing=why,
    )
