"""The plain terminal in a real pseudo-terminal, and in a pipe."""

from collections.abc import Iterator

import pexpect
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.terminal]


@pytest.fixture
def terminal(product: Product) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        COMMAND, ["chat", "--plain"], env=product.environment, encoding="utf-8", timeout=60, dimensions=(40, 120)
    )
    yield child
    child.close(force=True)


def test_a_person_talks_makes_sessions_switches_and_leaves(terminal: pexpect.spawn, product: Product):
    terminal.expect("Session 'session-1', model scripted")
    terminal.expect("session-1> ")
    terminal.sendline("hello")
    terminal.expect("<hello>\r\n")
    terminal.expect("session-1> ")
    terminal.sendline("/new review second chat")
    terminal.expect("Session 'second chat' is new, type review")
    terminal.expect("second chat> ")
    terminal.sendline("/s session-1")
    terminal.expect(r"\[now in session-1\]")
    terminal.sendline("what did I say?")
    terminal.expect("<hello><what did I say\\?>")
    terminal.sendline("/s -")
    terminal.expect(r"\[now in second chat\]")
    terminal.sendline("/rename other")
    terminal.expect("is named 'other' now")
    terminal.sendline("/session-name")
    terminal.expect("other\r\n")
    terminal.sendline("/sessions")
    terminal.expect("NAME.*STATE.*session-1.*other")
    terminal.sendline("/close")
    terminal.expect("'other' is closed")
    terminal.expect(r"\[now in session-1\]")
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == 0
    assert [s["name"] for s in product.sessions()] == ["session-1"]  # the sessions go on without the terminal
    assert product.session("session-1")["messages"] == 4
    assert not product.session("session-1")["attached"]


def test_a_terminal_that_is_closed_in_the_middle_of_a_turn_ends_no_session(
    terminal: pexpect.spawn, product: Product, model: ModelServer
):
    terminal.expect("session-1> ")
    terminal.sendline("wait one")
    terminal.expect("first half, ")
    before = product.session("session-1")
    terminal.close(force=False)  # as the window does: SIGHUP
    wait_for(lambda: not terminal.isalive())
    model.gate.set()
    after = product.wait_session("session-1", lambda s: s["messages"] == 2 and not s["attached"])

    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
    assert product.json("history", "session-1")[1]["stop_reason"] == "completed"
    assert len(model.calls_of("wait one")) == 1


def test_what_came_while_a_session_was_in_the_background_is_shown_on_return(
    terminal: pexpect.spawn, model: ModelServer
):
    terminal.expect("session-1> ")
    terminal.sendline("wait")
    terminal.expect("first half, ")
    terminal.sendline("/new b")
    terminal.expect("b> ")
    model.gate.set()
    terminal.expect(r"\[session-1\] has an answer for you")
    terminal.sendline("/switch session-1")
    terminal.expect("first half, second half")
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)


def test_a_turn_that_runs_is_joined_in_the_middle(terminal: pexpect.spawn, model: ModelServer):
    terminal.expect("session-1> ")
    terminal.sendline("wait")
    terminal.expect("first half, ")
    terminal.sendline("/new b")
    terminal.expect("b> ")
    terminal.sendline("/s -")
    terminal.expect("first half, ")
    model.gate.set()
    terminal.expect("second half")
    terminal.expect("session-1> ")
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)


def test_errors_are_sentences_and_the_terminal_lives(terminal: pexpect.spawn):
    for typed, said in (
        ("/swich x", "no command /swich. Did you mean /switch"),
        ("/switch nobody", "There is no session 'nobody'."),
        ("/rename 123", "digits alone"),
        ("/sessions --foo", "not --foo"),
        ("@nobody hi", "There is no session 'nobody'."),
        ("status 500", "failed \\(HTTP 500\\)"),
        ("//slash", "</slash>|<status 500></slash>"),
    ):
        terminal.sendline(typed)
        terminal.expect(said)
    terminal.sendline("/help")
    terminal.expect("/session-name")
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)


def test_a_reply_cannot_steer_the_terminal(product: Product):
    evil = "raw a\x1b]52;c;AAAA\x07b\x9b2Jc\rd\u202ee"
    said = product.run("chat", stdin=f"{evil}\n")
    product.run("send", "session-1", evil)

    for shown in (said, product.run("history", "session-1"), product.run("send", "session-1", evil)):
        assert "a\ufffd]52;c;AAAA\ufffdb\ufffd2Jc\ufffdd\ufffde" in shown
        assert not set("\x1b\x07\x9b\u202e") & set(shown)


def test_next_goes_to_the_session_that_waits_and_shutdown_asks_first(terminal: pexpect.spawn, product: Product):
    terminal.expect("session-1> ")
    product.run("new", "b")
    product.run("send", "b", "hello", "--no-wait")
    terminal.expect(r"\[b\] has an answer for you")
    terminal.sendline("/next")
    terminal.expect(r"\[now in b\]")
    terminal.expect("<hello>")
    terminal.sendline("/next")
    terminal.expect("No other session waits for you")
    terminal.sendline("/status")
    terminal.expect("2 of 10 slots held")
    terminal.sendline("/logs")
    terminal.expect("Its log is empty|INFO|WARNING")
    terminal.sendline("/shutdown")
    terminal.expect("To do it: /shutdown yes")
    terminal.sendline("/shutdown yes")
    terminal.expect("The coordinator is stopping")
    terminal.expect(pexpect.EOF)
    wait_for(lambda: product.result("status").returncode == 3)


def test_a_pipe_waits_for_each_reply_before_the_next_line(product: Product, model: ModelServer):
    said = product.run("chat", stdin="one\n/new b\ntwo\n@session-1 three\n/s session-1\nfour")

    assert said.index("<one>") < said.index("'b' is new") < said.index("<two>") < said.index("Sent to session-1")
    assert said.rstrip().endswith("<one><three><four>")
    assert model.most_at_once <= 2


def test_a_line_that_is_too_long_is_refused_whole_and_no_piece_of_it_is_sent_or_obeyed(
    product: Product, model: ModelServer
):
    filler = "/quit " * (10_000_000 // 6)
    done = product.result("chat", stdin=f"{filler}\nhello\n{'y' * 262_144}\n{'y' * 262_145}\n{filler}")

    assert done.returncode == 0
    sizes = [len(filler), 262_145, len(filler)]
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Hint: ")]
    assert complaints == [f"The prompt has {size} bytes; 262144 are allowed." for size in sizes]
    assert [len(call.prompt) for call in model.chats] == [5, 262_144]


def test_a_line_that_the_terminal_cut_is_not_sent(terminal: pexpect.spawn, model: ModelServer):
    terminal.expect("session-1> ")
    for _ in range(10):
        terminal.send("z" * 500)
    terminal.sendline("")
    terminal.expect("The terminal cut that line at 4095 bytes, so it was not sent.")
    terminal.sendline("y" * 4_000)
    terminal.expect("<y{4000}>")
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)

    assert [len(call.prompt) for call in model.chats] == [4_000]
