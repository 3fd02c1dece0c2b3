"""The table ``[mcp.NAME]`` of the configuration: a server of tools that speaks the Model Context Protocol."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.errors import ConfigBad

# Its tools are called NAME__TOOL, and endpoints take 64 characters for both.
SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}")
_TOOLS = "names of its tools, with * and ?; the strictest that fits counts."


class McpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[mcp.NAME]``: a command that is started, or an address."""

    command: Annotated[
        list[str],
        Meta(description="A command, as a list of words, that is run in the session's folder and speaks over stdio."),
    ] = []
    url: Annotated[str, Meta(description="Address of a server that speaks over HTTP, instead of a command.")] = ""
    pass_env: Annotated[
        list[str],
        Meta(description="Variables of the coordinator that the command gets, such as a key; no other process does."),
    ] = []
    api_key_env: Annotated[
        str | None, Meta(description="Variable of the coordinator that holds the key for `url`.")
    ] = None
    api_key_file: Annotated[str | None, Meta(description="File that holds the key for `url`.")] = None
    rule: Annotated[Literal["allow", "ask", "deny"], Meta(description="What its tools may do.")] = "ask"
    allow: Annotated[list[str], Meta(description=f"Allowed without asking: {_TOOLS}")] = []
    ask: Annotated[list[str], Meta(description=f"Asked for: {_TOOLS}")] = []
    deny: Annotated[list[str], Meta(description=f"Never, and not shown to the model: {_TOOLS}")] = []
    start_s: Annotated[
        float, Meta(ge=0.1, le=300, description="A server that has not said what it can do by then is ended.")
    ] = 15.0
    idle_s: Annotated[
        float, Meta(ge=1, le=86_400, description="A server that no turn of its session used for so long is ended.")
    ] = 300.0


def check_name(source: str, name: str) -> None:
    """See to it that a server can have that name.

    Raises:
        ConfigBad: it cannot.
    """
    if not SERVER_NAME.fullmatch(name):
        hint = "Use letters, digits and '-', at most 32."
        raise ConfigBad(f"{source}: mcp.{name}: that is no name for a server.", hint=hint)


def check(where: str, found: McpSettings, *, has_address: bool) -> None:
    """See to it that a table says one way to its server.

    Args:
        where: what errors call it.
        found: the table.
        has_address: its url is an http or https address.

    Raises:
        ConfigBad: it does not.
    """
    if bool(found.command) == bool(found.url):
        raise ConfigBad(f"{where}: give command or url, one of them.", hint='command = ["npx", "-y", "the-server"]')
    if found.url and not has_address:
        raise ConfigBad(f"{where}.url is no http or https address.", hint=f"It is {found.url!r}.")
    if found.command and not all(word and "\0" not in word for word in found.command[:1]):
        raise ConfigBad(f"{where}.command has no name of a program.", hint='command = ["npx", "-y", "the-server"]')
    if found.command and (found.api_key_env or found.api_key_file):
        hint = "A command gets the variables that pass_env names."
        raise ConfigBad(f"{where}: api_key_env and api_key_file are for url.", hint=hint)
    if found.url and found.pass_env:
        hint = "An address gets the key of api_key_env or api_key_file."
        raise ConfigBad(f"{where}: pass_env is for a command.", hint=hint)
    if found.api_key_env and found.api_key_file:
        raise ConfigBad(f"{where}: api_key_env and api_key_file are both given.", hint="Give one of them.")
