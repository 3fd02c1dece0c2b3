"""The full-screen terminal as a person has it: the real command in a pseudo-terminal, seen through pyte."""

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

ALT_W, CTRL_Q, ESC = b"\x1bw", b"\x11", b"\x1b"
WISH = 'use {"tool": "run_command", "arguments": {"command": "echo some words > made.txt"}}'
ENDED = b"\x1b[?1049l"


class Person:
    """Somebody before a terminal."""

    def __init__(self, product: Product, *words: str, size: tuple[int, int] = (80, 24), **variables: str) -> None:
        width, height = size
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = product.environment | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | variables
        environment |= {"COLUMNS": "80", "LINES": "24"}  # some shells export them
        self.child = pexpect.spawn(COMMAND, list(words), env=environment, dimensions=(height, width), timeout=60)

    def look(self) -> str:
        try:
            while True:
                data = self.child.read_nonblocking(65_536, timeout=0.02)
                self.raw += data
                # pyte prints the end of two sequences of the kitty keyboard that it does not know.
                self._stream.feed(data.replace(b"\x1b[<u", b"").replace(b"\x1b[>1u", b""))
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass
        return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, condition: Callable[[str], object], within_s: float = 30) -> str:
        end_s = time.monotonic() + within_s
        while True:
            shown = self.look()
            if condition(shown):
                return shown
            assert time.monotonic() < end_s, shown

    def sees(self, *words: str) -> str:
        return self.until(lambda shown: all(word in shown for word in words))

    def keys(self, keys: bytes | str) -> None:
        data = keys.encode() if isinstance(keys, str) else keys
        os.set_blocking(self.child.child_fd, False)
        while data:
            try:
                data = data[os.write(self.child.child_fd, data[:65_536]) :]
            except BlockingIOError:
                self.look()
        os.set_blocking(self.child.child_fd, True)

    def resize(self, width: int, height: int) -> None:
        self.screen.resize(height, width)
        ioctl(self.child.child_fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def leaves(self) -> None:
        self.keys(CTRL_Q)
        self.until(lambda _: ENDED in self.raw and not self.child.isalive())
        assert self.child.exitstatus == 0


@pytest.fixture
def person(product: Product) -> Iterator[Person]:
    for name in ("research", "code"):
        product.run("new", name)
        product.live(name)
    found = Person(product, "chat", "research")
    yield found
    found.child.close(force=True)


def test_one_streams_in_the_background_the_indicator_tells_alt_w_goes_there_and_the_draft_is_kept(
    person: Person, product: Product, model: ModelServer
):
    person.sees("research  development", "2 o code", "^Q leave")
    person.keys("wait\r")
    person.sees("first half,", "1 ~ research")
    person.keys(b"\x1b2")
    person.sees("code  development")
    person.keys("hello\r")
    person.sees("<hello>")
    person.keys("a draft of\nmine")
    person.sees("> a draft of", "mine")
    assert "first half" not in person.look()
    model.gate.set()
    person.sees("* [research] unread")
    person.until(lambda _: person.screen.title == "1 awaiting input - chat-coord")

    person.keys(ALT_W)
    shown = person.sees("first half, second half", "research  development")

    assert "a draft" not in shown
    assert "[research]" not in shown.splitlines()[0]
    person.keys("/s -\r")
    person.sees("code  development", "> a draft of", "mine")
    # Another terminal has the draft too: it is in the store.
    person.leaves()
    again = Person(product, "chat", "code", NO_COLOR="1")
    again.sees("> a draft of", "mine", "<hello>")
    assert b"38;2;" in person.raw
    assert b"38;2;255" not in again.raw  # greys alone
    again.leaves()
    assert product.session("code")["messages"] == 2
    assert not product.session("code")["attached"]


def test_whatever_comes_the_terminal_lives_and_the_leave_key_works(
    person: Person, product: Product, model: ModelServer
):
    person.sees("research  development")
    person.keys(b"\x1b[200~" + b"z" * 10_000_000 + b"\x1b[201~")
    person.sees("The paste has 10000000 bytes; 262144 are", "allowed")
    person.keys(b"\xff\xfe\x00a\r")
    person.sees("<\ufffd\ufffda>")
    person.keys("raw a\x1b[200~\x1b]52;c;AAAA\x07\x9b2J\u202e\x1b[201~b\r")
    person.sees("]52;c;AAAA")
    assert b"\x1b]52" not in person.raw
    assert "\u202e".encode() not in person.raw
    person.keys("endless\r")
    person.sees("3;4;5")
    person.resize(10, 3)
    person.until(lambda shown: len(shown.splitlines()) <= 3 and ">" in shown)
    person.resize(150, 30)
    person.sees("1 ~ research", "Ctrl+Q leave", "Alt+1…9 session")
    os.kill(product.json("status")["pid"], signal.SIGKILL)  # in the middle of the stream
    person.sees("The coordinator has gone")
    person.keys("while it is gone")
    product.run("start")
    person.sees("the coordinator is back", "> while it is gone")
    person.keys(ESC)
    person.sees("[cancelled]", "1 o research")
    person.keys(b"\x1bOP")  # F1
    person.sees("Ctrl+J, Alt+Enter")
    person.leaves()
    assert product.session("research")["work"] == "idle"


def test_an_ask_is_shown_whole_and_answered_in_place(person: Person, product: Product, model: ModelServer):
    person.sees("research  development")
    product.run("send", "code", WISH, "--no-wait")
    person.sees("! [code] asks")
    person.keys(b"\x1bOQ")  # F2
    person.sees("[code] wants run_command", "echo some words > made.txt", "a approve")
    person.keys("a")
    person.sees("run_command of code: approved", "Nothing waits for you.")
    person.keys(ESC)
    wait_for((product.home.parent / "made.txt").exists)
    person.sees("* [code] unread")
    person.keys(ALT_W)
    person.sees("code  development")
    person.leaves()


def test_a_dumb_terminal_and_a_pipe_get_lines(product: Product):
    plain = Person(product, "chat", TERM="dumb")
    plain.sees("Session 'session-1', model scripted", "session-1>")
    plain.keys("/quit\n")
    plain.until(lambda _: not plain.child.isalive())

    assert b"\x1b" not in plain.raw
