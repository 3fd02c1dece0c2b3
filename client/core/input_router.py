"""What a typed line means. Pure; the same for every terminal.

A command begins with a slash in column 0; an unknown one is an error with a suggestion, never a prompt. ``//`` sends a
text that begins with a slash, ``@name text`` sends to another session.
"""

import difflib
from dataclasses import dataclass

COMMANDS = {
    "new": "/new [debug|planning|development|review] [NAME]  a new session, and switch to it",
    "sessions": "/sessions [--waiting|--all]  the list",
    "switch": "/switch NAME|NUMBER|ID|-  (or /s) another session; - is the previous one",
    "next": "/next  the next session that needs you",
    "inbox": "/inbox  everything that waits for you, in all sessions",
    "approve": "/approve [ASK]  say yes; without ASK to what this session asks",
    "deny": "/deny [ASK] [WHY]  say no; without ASK to what this session asks",
    "answer": "/answer [ASK] TEXT  answer a question; without ASK that of this session",
    "cancel": "/cancel  end this session's turn now; what it said is kept",
    "retry": "/retry  run the last turn again, if it did not complete",
    "close": "/close [NAME]  end a session; its history is kept",
    "rename": "/rename NEW  another name for this session",
    "hibernate": "/hibernate [NAME]  put a session to sleep; nothing is lost",
    "wake": "/wake [NAME]  give a session that sleeps a worker",
    "pin": "/pin [NAME]  keep a session awake, or not any more",
    "fork": "/fork [SEQ]  a new session that begins with this conversation (through that message), and switch to it",
    "edit": "/edit [#SEQ] TEXT  ask again in other words: in a fork, TEXT instead of the last prompt (or that one)",
    "search": "/search TEXT  look for words in every conversation",
    "export": "/export [FILE]  write this conversation into a file: .md, .json or .html",
    "type": "/type [debug|planning|development|review]  show this session's type, or change it",
    "model": "/model [NAME]  show this session's model, or have another one answer from the next turn on",
    "temperature": "/temperature [T|default]  show how freely this session's model chooses, or change it",
    "session-name": "/session-name [NEW]  show this session's name, or change it",
    "kill": "/kill NAME  kill a session's worker; its conversation is kept",
    "inspect": "/inspect [NAME] [--stacks]  everything about a session and its worker",
    "top": "/top  what the workers use",
    "logs": "/logs  the last lines of this session's log",
    "status": "/status  the coordinator at a glance",
    "help": "/help  this list",
    "quit": "/quit  leave the terminal; sessions go on",
    "shutdown": "/shutdown  stop the coordinator, for every terminal; asks first",
}
ALIASES = {"s": "switch"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the text behind it."""

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Say:
    """A prompt for the session that is looked at."""

    text: str


@dataclass(frozen=True, slots=True)
class SayTo:
    """A prompt for another session."""

    session: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A slash and a word that is no command."""

    word: str
    suggestion: str | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty line."""


Meaning = Command | Say | SayTo | Unknown | Nothing


def route(line: str) -> Meaning:
    """Return what the line means."""
    text = line.rstrip("\r\n")
    if not text.strip():
        return Nothing()
    if text.startswith("//"):
        return Say(text[1:])
    if text.startswith("/"):
        return _command(text[1:])
    if text.startswith("@"):
        words = text[1:].split(None, 1)
        if len(words) > 1 and not text[1].isspace():
            return SayTo(words[0], words[1].rstrip())
    return Say(text)


def _command(text: str) -> Command | Unknown:
    word = text.split(None, 1)[0] if text.strip() and not text[0].isspace() else ""
    name = ALIASES.get(word, word)
    if name in COMMANDS:
        return Command(name, text[len(word) :].strip())
    close = difflib.get_close_matches(word, [*COMMANDS, *ALIASES], n=1)
    return Unknown(word, close[0] if close else None)
