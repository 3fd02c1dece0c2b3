"""``top`` in a real pseudo-terminal of 80 by 24, without colour; pyte shows what a person sees."""

import os
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl

import pexpect
import pyte
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.terminal]


class Person:
    """Somebody before a terminal."""

    def __init__(self, product: Product) -> None:
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = product.environment | {"TERM": "vt100", "NO_COLOR": "1", "COLUMNS": "80", "LINES": "24"}
        self.child = pexpect.spawn(COMMAND, ["top", "--every", "0.3"], env=environment, dimensions=(24, 80), timeout=60)

    def look(self) -> list[str]:
        try:
            while True:
                data = self.child.read_nonblocking(65_536, timeout=0.05)
                self.raw += data
                # pyte knows one screen only: going to the other one and back is looked for in the bytes.
                self._stream.feed(data)
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass
        return [line.rstrip() for line in self.screen.display]

    def wait(self, condition: Callable[[list[str]], bool], within_s: float = 60) -> list[str]:
        return wait_for(lambda: next((lines for lines in [self.look()] if condition(lines)), None), within_s)

    def sees(self, text: str) -> list[str]:
        return self.wait(lambda lines: any(text in line for line in lines))

    def key(self, key: str) -> None:
        self.child.send(key)


@pytest.fixture
def person(product: Product) -> Iterator[Person]:
    for name in ("alpha", "beta"):
        product.run("new", name)
        product.live(name)
    found = Person(product)
    yield found
    found.child.close(force=True)


def names(lines: list[str]) -> list[str]:
    return [word for line in lines for word in line.split() if word in {"alpha", "beta"} and "next" not in line]


def test_it_shows_sorts_chooses_and_leaves_the_terminal_as_it_was(person: Person, product: Product):
    lines = person.sees("beta")
    before = termios.tcgetattr(person.child.child_fd)
    assert lines[0].startswith("chat-coord top   2 of 10 slots")
    assert lines[-1].startswith("q quit")
    assert all(len(line) <= 80 for line in lines)
    person.key("n")
    lines = person.sees("sorted by name")
    assert names(lines) == ["alpha", "beta"]
    person.wait(lambda lines: any(line.startswith(">") and "alpha" in line for line in lines))
    person.key("\x1b[B")
    person.wait(lambda lines: any(line.startswith(">") and "beta" in line for line in lines))
    person.key("\x1b[A")
    person.wait(lambda lines: any(line.startswith(">") and "alpha" in line for line in lines))
    assert not before[3] & termios.ICANON
    person.key("q")
    person.wait(lambda _: not person.child.isalive())
    person.look()

    assert person.child.exitstatus == 0
    assert person.raw.count(b"\x1b[?1049h") == person.raw.count(b"\x1b[?1049l") == 1
    assert person.raw.rstrip().endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert b"\x1b[3" not in person.raw  # no colour


def test_keys_pin_hibernate_and_kill_and_a_kill_is_asked_for(person: Person, product: Product):
    person.sees("beta")
    person.key("n")
    person.wait(lambda lines: any(line.startswith(">") and "alpha" in line for line in lines))
    person.key("p")
    person.sees("alpha is pinned.")
    assert product.session("alpha")["pinned"]
    person.key("h")
    person.sees("cannot be hibernated: it is pinned")
    person.wait(lambda lines: any("alpha" in line and " pin " in line for line in lines))
    person.key("p")
    person.sees("alpha is not pinned any more.")
    person.key("k")
    person.sees("Kill the worker of alpha? y or n")
    person.key("n")
    person.sees("Not killed.")
    assert product.session("alpha")["residency"] == "live"
    person.key("k")
    person.sees("y or n")
    person.key("y")
    person.sees("The worker of 'alpha' is dead")
    assert product.session("alpha")["exit_card"]["reason"] == "killed by hand"
    person.wait(lambda lines: names(lines) == ["beta"])
    person.key("h")
    person.sees("beta sleeps.")
    assert product.session("beta")["residency"] == "hibernated"
    person.key("q")


def test_a_window_that_changes_its_size_is_drawn_anew_and_nothing_is_wrapped(person: Person):
    person.sees("beta")
    for height, width in ((10, 40), (30, 120), (3, 12)):
        person.screen.resize(height, width)
        ioctl(person.child.child_fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        os.kill(person.child.pid, signal.SIGWINCH)
        key = "q quit  up/down choose  h hibernate  p pin"[:width].rstrip()
        head = "chat-coord top"[:width].rstrip()
        # What was drawn for the size before may still stand while the new drawing is on its way.
        assert person.wait(lambda lines, head=head, key=key: lines[0].startswith(head) and lines[-1].startswith(key))
    person.key("q")
    person.wait(lambda _: not person.child.isalive())

    assert person.child.exitstatus == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_gives_the_terminal_back(person: Person, number: int):
    person.sees("beta")
    os.kill(person.child.pid, number)
    person.wait(lambda _: not person.child.isalive())
    person.look()

    assert person.raw.count(b"\x1b[?1049l") == 1


def test_it_stays_when_the_coordinator_goes_and_shows_the_next_one(person: Person, product: Product):
    person.sees("beta")
    product.run("restart")
    product.run("new", "gamma")

    person.sees("gamma")
    person.key("q")


def test_a_key_cancels_the_turn_of_the_chosen_session(person: Person, product: Product, model: ModelServer):
    person.sees("beta")
    person.key("n")
    product.run("send", "alpha", "wait", "--no-wait")
    person.wait(lambda lines: any(line.startswith(">") and "running" in line for line in lines))
    wait_for(lambda: model.at_once)
    person.key("x")
    person.sees("The turn of alpha is over: cancelled.")
    assert product.json("history", "alpha")[1]["stop_reason"] == "cancelled"
    person.key("q")


def test_pieces_a_second_are_drawn_while_a_model_answers(person: Person, product: Product, model: ModelServer):
    person.sees("beta")
    product.run("send", "alpha", "wait", "--no-wait")
    person.wait(lambda lines: any("alpha" in line and "running" in line and "held" in line for line in lines))
    model.gate.set()
    person.wait(lambda lines: any("alpha" in line and "unread" in line for line in lines))
    time.sleep(0.1)
    person.key("q")
