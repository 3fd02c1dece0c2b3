"""What commands share: the home, the run of a coroutine, and how a session is printed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from client.output import dump, say
from protocol.paths import Home, find_home
from protocol.views import SessionView

T = TypeVar("T")


def home_of(context: click.Context) -> Home:
    """Return the home that this call is about."""
    return find_home(context.find_root().obj)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(coroutine)


def show_session(session: SessionView, *, as_json: bool, sentence: str) -> None:
    """Print a session object for programs, or a sentence for people."""
    if as_json:
        dump(session)
    else:
        say(sentence)
