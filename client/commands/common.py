"""What commands share: the home, the run of a coroutine, and how a session is printed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from client.asking import connected
from client.output import dump, say
from protocol import messages as m
from protocol.paths import Home, find_home
from protocol.views import SessionView

T = TypeVar("T")


def home_of(context: click.Context) -> Home:
    """Return the home that this call is about."""
    return find_home(context.find_root().obj)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(coroutine)


async def ask_session(home: Home, order: Callable[[int], m.Request], *, start: bool = False) -> SessionView:
    """Send a request that is answered with its session, and return that.

    Args:
        home: whose coordinator.
        order: makes the request from its number.
        start: start the coordinator when none runs.
    """
    async with connected(home, start=start) as connection:
        answer = await connection.ask(order(connection.number()), m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - such a request is always answered with its session
    return answer.session


def show_session(session: SessionView, *, as_json: bool, sentence: str) -> None:
    """Print a session object for programs, or a sentence for people."""
    if as_json:
        dump(session)
    else:
        say(sentence)
