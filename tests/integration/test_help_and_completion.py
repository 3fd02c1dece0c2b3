"""What a shell and a reader ask of the command line: help with examples, no colour, completion with live names."""

import os
import signal
import subprocess
import time
from pathlib import Path

import click
import pexpect
import pytest

from client.cli import COMMANDS, commands
from tests.support.product import COMMAND, Product

pytestmark = pytest.mark.integration

SHELLS = ["bash", "zsh", "fish"]


def complete(product: Product, *words: str, shell: str = "bash") -> list[str]:
    """What the shell's script asks when the last word is to be completed."""
    env = product.environment | {"_CHAT_COORD_COMPLETE": f"{shell}_complete"}
    line = " ".join(["chat-coord", *words])
    env |= {"COMP_WORDS": line, "COMP_CWORD": words[-1] if shell == "fish" else str(len(words))}
    done = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    if shell == "zsh":
        return done.stdout.splitlines()[1::3]
    values = [line.partition(",")[2] for line in done.stdout.splitlines() if line]
    return [value.partition("\t")[0] for value in values]


def every_command() -> list[list[str]]:
    """Return the words of every command, groups and what is in them."""
    found = [[]]
    for name in COMMANDS:
        found.append([name])
        command = commands.get_command(click.Context(commands), name)
        if isinstance(command, click.Group):
            found += [[name, inner] for inner in command.commands]
    return found


def test_every_help_has_examples_and_exit_codes():
    for words in every_command():
        helped = subprocess.run([COMMAND, *words, "--help"], capture_output=True, text=True, check=True).stdout

        assert "Examples:\n" in helped, words
        assert "Exit codes: " in helped, words
        assert f"    chat-coord {' '.join(words)}".rstrip() in helped or "| chat-coord" in helped or "eval" in helped


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize("words", [["--help"], ["nosuch"], ["config", "show"], ["doctor"], ["config", "set"]])
def test_no_colour_is_printed_in_a_terminal(fresh: Product, words: list[str], variables: dict[str, str]):
    terminal = pexpect.spawn(COMMAND, words, env=fresh.environment | {"TERM": "xterm-256color"} | variables, timeout=60)
    out = terminal.read()
    terminal.close()

    assert out
    assert b"\x1b" not in out


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_is_one_that_its_shell_understands(fresh: Product, shell: str):
    script = fresh.run("completion", shell)

    assert "_CHAT_COORD_COMPLETE" in script
    assert f"{shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_commands_and_options_are_completed_without_a_coordinator(fresh: Product):
    assert complete(fresh, "se") == ["send", "sessions", "search"]
    assert set(COMMANDS) <= set(complete(fresh, ""))
    assert complete(fresh, "config", "s") == ["set", "show"]
    assert "--no-wait" in complete(fresh, "send", "--no")
    assert complete(fresh, "send", "") == []
    assert not fresh.home.exists()


def test_names_of_sessions_are_completed_live(product: Product):
    for name in ("research", "report", "my chat"):
        product.run("new", name)

    for shell in SHELLS:
        assert sorted(complete(product, "send", "re", shell=shell)) == ["report", "research"]
    for command in ("chat", "history", "switch", "rename", "close", "logs"):
        assert complete(product, command, "resea") == ["research"]
    assert complete(product, "send", "my") == ["my\\\\ chat"]
    assert complete(product, "send", "my", shell="zsh") == ["my chat"]
    assert complete(product, "rename", "research", "re") == []

    product.run("close", "report")

    assert complete(product, "send", "re") == ["research"]


def test_bash_puts_a_name_with_a_blank_into_the_line_as_one_word(product: Product):
    product.run("new", "my chat")
    script = product.run("completion", "bash")
    ask = f"{script}\nCOMP_WORDS=(chat-coord send my); COMP_CWORD=2; _chat_coord_completion chat-coord\n"
    ask += 'printf "%s|" "${COMPREPLY[@]}"'
    env = product.environment | {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "my\\ chat|"


def test_a_coordinator_that_does_not_answer_does_not_hold_the_shell_up(product: Product):
    product.run("start")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()

        assert complete(product, "send", "") == []
        assert time.monotonic() - began_s < 5
    finally:
        os.kill(pid, signal.SIGCONT)
