"""What commands print for people."""

import time

from client.output import gate_words
from protocol.views import GateView


def test_a_gate_says_until_when_and_why_or_that_it_is_tried_again():
    soon = time.time() + 9.6
    words = [
        gate_words(GateView(provider="http://h/v1", why="rate_limit", until=soon, allowed=0)),
        gate_words(GateView(provider="http://h/v1", why="budget", until=soon, allowed=0)),
        gate_words(GateView(provider="http://h/v1", why="rate_limit", until=None, allowed=2)),
        gate_words(GateView(provider="http://h/v1", why="rate_limit", until=1.0, allowed=0)),
    ]

    assert words == [
        "http://h/v1 takes none for 10 s: it wants to be left alone",
        "http://h/v1 takes none for 10 s: its budget is spent",
        "http://h/v1 is tried again, 2 at once",
        "http://h/v1 takes none for 0 s: it wants to be left alone",
    ]
