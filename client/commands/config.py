"""``chat-coord config``."""

from typing import Any

import click

from client.commands.common import home_of
from client.config_file import Entry, entries, set_values
from client.options import home_option, json_option, more_help
from client.output import dump, say, table
from protocol.errors import ConfigBad
from protocol.paths import find_running
from protocol.settings import hint_of, table_key


@click.group(
    epilog=more_help(
        "chat-coord config show",
        "chat-coord config set max_active_sessions 20",
        codes="0 done, 2 wrong usage, 78 bad key or value, or a bad config.toml.",
    )
)
def command() -> None:
    """Show and change settings; needs no coordinator.

    A value comes from the first of: a command's own flag, the environment (CHAT_COORD_KEY), config.toml, the default.
    """


@command.command(
    "show",
    epilog=more_help(
        "chat-coord config show",
        "chat-coord config show --json | jq '.[] | select(.origin != \"default\")'",
        codes="0 done, 78 bad configuration.",
    ),
)
@home_option
@json_option
@click.pass_context
def show(context: click.Context, *, as_json: bool) -> None:
    """Show every key with its value, its origin, what is allowed, and what it does."""
    found = entries(home_of(context))
    if as_json:
        dump(found)
        return
    rows = [(e.key, as_text(e.value), e.origin, e.allowed, e.description) for e in found]
    say(table([("KEY", "VALUE", "ORIGIN", "ALLOWED", "WHAT IT DOES"), *rows]))


@command.command(
    "get",
    epilog=more_help(
        "chat-coord config get max_active_sessions",
        "chat-coord config get models.gpt.base_url",
        codes="0 done, 78 no such key, or a bad configuration.",
    ),
)
@click.argument("key")
@home_option
@json_option
@click.pass_context
def get(context: click.Context, *, key: str, as_json: bool) -> None:
    """Print the value of KEY that is in force."""
    entry = _entry(entries(home_of(context)), key)
    if as_json:
        dump(entry)
    else:
        say(as_text(entry.value))


@command.command(
    "set",
    epilog=more_help(
        "chat-coord config set max_active_sessions 20",
        "chat-coord config set pass_env HTTPS_PROXY,NO_PROXY",
        "chat-coord config set models.gpt.provider openai models.gpt.model gpt-5-mini \\",
        "      models.gpt.api_key_env OPENAI_API_KEY default_model gpt",
        "chat-coord config set models.gpt.api_key_env ''     # takes it out",
        codes="0 done, 2 wrong usage, 78 bad key or value; then nothing was changed.",
    ),
)
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE [KEY VALUE]...")
@home_option
@json_option
@click.pass_context
def change(context: click.Context, *, pairs: tuple[str, ...], as_json: bool) -> None:
    """Write values into config.toml, all or none; comments and order stay.

    They are checked before anything is written. A coordinator that runs takes them at its next start.
    """
    if len(pairs) % 2:
        raise click.UsageError("Give a value for each key.")
    home = home_of(context)
    chosen = list(zip(pairs[::2], pairs[1::2], strict=True))
    warnings = set_values(home, chosen)
    if as_json:
        dump([entry for entry in entries(home) if entry.key in dict(chosen)])
    else:
        for key, value in chosen:
            say(f"{key} is {value or 'not set'} now, in {home.config}.")
    for warning in warnings:
        say(warning, to_error=True)
    if find_running(home) is not None:
        say("Hint: restart the coordinator to make it so: `chat-coord stop`, then `chat-coord start`.", to_error=True)


def as_text(value: Any) -> str:
    """Return a value as it is given to ``config set``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value).removesuffix(".0")


def _entry(found: list[Entry], key: str) -> Entry:
    hint_of("config get", key)  # refuses what is in no schema
    for entry in found:
        if entry.key == key:
            return entry
    table, name, _ = table_key(key)
    if table != "models":
        raise ConfigBad(f"There is no table [{table}.{name}] in config.toml.", hint="The defaults are in the README.")
    raise ConfigBad(f"There is no model {name!r} in config.toml.", hint="See `chat-coord model list`.")
