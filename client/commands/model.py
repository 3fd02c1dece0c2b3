"""``chat-coord model``."""

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Any

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.config_file import set_values
from client.model_ready import pull_with_progress
from client.model_store import require_engine
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say, table
from protocol import messages as m
from protocol.embedded import GGUF_BYTES, GGUF_MAGIC, MODEL, has_engine, is_there, model_path
from protocol.errors import ModelNotInstalled, ModelUnknown
from protocol.extras import is_installed
from protocol.limits import MOST_TEMPERATURE
from protocol.paths import Home, find_running
from protocol.settings import ModelSettings, load_settings


@click.group(
    epilog=more_help(
        "chat-coord model list",
        "chat-coord model use gpt",
        "chat-coord model set research gpt",
        codes="0 done, 1 no such model or the download failed, 78 bad configuration.",
    )
)
def command() -> None:
    """List, choose and download models, which needs no coordinator; and change that of a session."""


@command.command(
    "list",
    epilog=more_help(
        "chat-coord model list",
        "chat-coord model list --json | jq -r '.[] | select(.ready).name'",
        codes="0 done, 78 bad configuration.",
    ),
)
@home_option
@json_option
@click.pass_context
def list_models(context: click.Context, *, as_json: bool) -> None:
    """Show the models of the configuration, and the embedded one.

    Tools: whether it is offered tools; the embedded model cannot use them. Ready: its key is in this environment or its
    key file can be read; a local one is downloaded, with its engine. No endpoint is asked.
    """
    home = home_of(context)
    settings = load_settings(home.config)
    documents = [
        _document(home, name, model, is_default=name == settings.default_model)
        for name, model in settings.all_models().items()
    ]
    if as_json:
        dump(documents)
        return
    rows = [
        (
            ">" if d["default"] else "",
            d["name"],
            d["provider"],
            d["model"],
            d["base_url"] or "",
            "yes" if d["tools"] else "no",
            "yes" if d["ready"] else "no",
        )
        for d in documents
    ]
    say(table([("", "NAME", "PROVIDER", "MODEL", "ADDRESS", "TOOLS", "READY"), *rows]))


@command.command(
    "use",
    epilog=more_help(
        "chat-coord model use gpt",
        "chat-coord model use ~/models/Qwen3-4B-Q4_K_M.gguf",
        codes="0 done, 1 no such model, 78 bad configuration; then nothing was changed.",
    ),
)
@click.argument("name", metavar="NAME|FILE.gguf")
@home_option
@json_option
@click.pass_context
def use(context: click.Context, *, name: str, as_json: bool) -> None:
    """Make NAME the model of new sessions that name none. Sessions that are there keep theirs.

    A FILE.gguf is any model for llama.cpp that you have: it is entered into the configuration under its own name and
    served on this machine, as the embedded one is. It stays where it is.
    """
    home = home_of(context)
    changes: list[tuple[str, str]] = []
    if name.endswith(".gguf"):
        name, changes = _own_file(Path(name).expanduser().absolute())
    elif name not in (models := load_settings(home.config).all_models()):
        raise ModelUnknown(f"There is no model {name!r}.", hint=f"Models: {', '.join(sorted(models))}.")
    warnings = set_values(home, [*changes, ("default_model", name)])
    if as_json:
        chosen = load_settings(home.config).all_models()[name]
        dump(_document(home, name, chosen, is_default=not warnings))
    else:
        say(f"default_model is {name} now, in {home.config}.")
    for warning in warnings:
        say(warning, to_error=True)
    if find_running(home) is not None:
        say("Hint: restart the coordinator to make it so: `chat-coord stop`, then `chat-coord start`.", to_error=True)


@command.command(
    "set",
    epilog=more_help(
        "chat-coord model set research gpt",
        "chat-coord model set research --temperature 0.2",
        "chat-coord model set research --temperature default",
        codes="0 done, 1 no such session or model, 2 wrong usage, 3 no coordinator runs.",
    ),
)
@session_argument
@click.argument("model", required=False)
@click.option("--temperature", metavar="T|default", help="From 0 to 2, or that of the model.")
@home_option
@json_option
@click.pass_context
def set_model(context: click.Context, *, name: str, model: str | None, temperature: str | None, as_json: bool) -> None:
    """Have another MODEL answer in session NAME, or the same one more or less freely, from the next turn on."""
    if model is None and temperature is None:
        raise click.UsageError("Say a MODEL, or --temperature.", context)
    degrees = None if temperature is None else _degrees(context, temperature)
    session = None
    if model is not None:
        chosen = model
        session = run(
            ask_session(home_of(context), lambda n: m.Mark(request=n, session=name, mark="model", value=chosen))
        )
    if temperature is not None:
        order = functools.partial(m.Mark, session=name, mark="temperature", value=degrees)
        session = run(ask_session(home_of(context), lambda n: order(request=n)))
    assert session is not None  # noqa: S101 - one of both was said
    how = "" if session.temperature is None else f", with temperature {session.temperature:g}"
    sentence = f"From the next turn on, {session.model} answers in {session.name!r}{how}."
    show_session(session, as_json=as_json, sentence=sentence)


def _degrees(context: click.Context, text: str) -> float | None:
    """Return the temperature that was typed; None for the model's own."""
    if text == "default":
        return None
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= MOST_TEMPERATURE:
            return float(text)
    raise click.UsageError(f"--temperature is a number from 0 to {MOST_TEMPERATURE:g}, or: default.", context)


@command.command(
    "pull",
    epilog=more_help("chat-coord model pull", codes="0 it is there, 1 the download failed."),
)
@home_option
@json_option
@click.pass_context
def pull(context: click.Context, *, as_json: bool) -> None:
    """Download the embedded model, check it, and put it into place; 93 MB, once."""
    home = home_of(context)
    is_new = pull_with_progress(home)
    path = model_path(home)
    if as_json:
        dump({"name": "embedded", "path": str(path), "bytes": GGUF_BYTES, "downloaded": is_new})
    else:
        say(f"The embedded model is {'now' if is_new else 'already'} at {path}.")


def _own_file(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return the name for a model file of the user's own, and what to write into the configuration.

    Raises:
        ModelNotInstalled: it is no model file.
    """
    try:
        with path.open("rb") as file:
            is_model = file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    except OSError as error:
        raise ModelNotInstalled(f"{path} cannot be read: {error.strerror}.", hint="Give the path of a file.") from error
    if not is_model:
        raise ModelNotInstalled(f"{path} is no GGUF file.", hint="Give a model for llama.cpp.")
    require_engine()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "local"
    return name, [(f"models.{name}.provider", "local"), (f"models.{name}.model", str(path))]


def _document(home: Home, name: str, model: ModelSettings, *, is_default: bool) -> dict[str, Any]:
    is_local = model.provider == "local"
    return {
        "name": name,
        "provider": model.provider,
        "model": model.model or MODEL,
        "base_url": None if is_local else model.base_url,
        "default": is_default,
        "tools": model.has_tools,
        "ready": has_engine() and is_there(home, model) if is_local else _has_key(model),
    }


def _has_key(model: ModelSettings) -> bool:
    if not is_installed(model.provider):
        return False
    if model.api_key_env:
        return model.api_key_env in os.environ
    return model.api_key_file is None or os.access(Path(model.api_key_file).expanduser(), os.R_OK)
