"""A session's toolbox: what tools there are, whether a call may run, and running it under a journal.

The order is: check the arguments, resolve the path, apply the rule, perhaps ask. What was approved is what runs: the
digest of tool, arguments, working directory and resolved path is kept with the ask and compared before it runs.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from protocol.limits import ARGUMENTS_BYTES, COMMAND_BYTES
from protocol.messages import ToolRule
from protocol.views import AskKind
from workers.core.calls import QUESTION, Call, NeedsYes, Refusal, Tool
from workers.tools import command, fetch, files
from workers.tools.files import ToolFailed
from workers.tools.mcp_servers import Remote, Servers
from workers.tools.offered import TOOLS
from workers.tools.output import bounded
from workers.tools.rules import ArgumentBad, Place, resolve, rule_for

SHOWN_CHARS = 80


class Journal(Protocol):
    """What is told of calls while they run."""

    async def begin(self, call: Call, text: str) -> None:
        """Note durably that the tool is about to run, and show it."""
        ...

    def end(self, call: Call, state: str, text: str) -> None:
        """Note that it has run, and show it."""
        ...

    async def why_killed(self) -> str | None:
        """Return why the coordinator ended the tool; None when it did not."""
        ...

    async def holders(self, path: str) -> list[str]:
        """Say that a file is about to be written; returns who else wrote it lately."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """Where the tools of a session work: its folder, the mark of its processes, the time that a tool may take."""

    cwd: Path
    mark: str
    timeout_s: float


class Silence:
    """A journal for where nothing runs."""

    async def begin(self, call: Call, text: str) -> None:
        """Note nothing."""

    def end(self, call: Call, state: str, text: str) -> None:
        """Note nothing."""

    async def why_killed(self) -> str | None:
        """Know of no reason."""
        return None

    async def holders(self, path: str) -> list[str]:
        """Know of nobody."""
        del path
        return []


class Box:
    """The tools of one leg of a turn.

    Args:
        rules: of each tool that is offered.
        where: the session's.
        journal: told of every call.
        servers: of more tools; None: there are none.
    """

    def __init__(
        self, rules: dict[str, ToolRule], where: Where, journal: Journal, servers: Servers | None = None
    ) -> None:
        self._rules = {name: rule for name, rule in rules.items() if name in TOOLS}
        self._where = where
        self._journal = journal
        self._servers = servers
        self._remote: dict[str, Remote] = {} if servers is None else servers.tools()
        self._run: set[str] = set()

    @property
    def tools(self) -> list[Tool]:
        """Say what there is; what is always denied is not offered."""
        rules = self._rules
        ours = [TOOLS[name] for name in TOOLS if name in rules and (rules[name].rule != "deny" or rules[name].allow)]
        return ours + [remote.tool for remote in self._remote.values()]

    # ---- may it run?

    def judge(self, call: Call) -> NeedsYes | Refusal | None:
        """Say whether a call may run: None is yes."""
        try:
            place = self._checked(call)
        except ArgumentBad as error:
            return Refusal(str(error))
        if call.tool in self._remote:
            answer = self._remote[call.tool].rule
        else:
            rule = self._rules[call.tool]
            answer = rule.rule if place is None else rule_for(rule, place, self._where.cwd)
        if answer == "deny":
            what = f"{call.tool} of {place.path}" if place is not None else call.tool
            return Refusal(f"The rules of this installation do not allow {what}.")
        if answer == "allow":
            return None
        kind: AskKind = "question" if call.tool == QUESTION else "approval"
        return NeedsYes(self._argv(call, place), self._shown(call, place), self._digest(call, place), kind)

    def _checked(self, call: Call) -> Place | None:
        """Return the place that a call is about, None when it is about none; its arguments are what they should be."""
        if call.tool in self._remote:
            _check_size(len(_json(call).encode(errors="replace")))
            return None
        tool = TOOLS.get(call.tool)
        if tool is None or call.tool not in self._rules:
            missing = self._servers.why_missing(call.tool) if self._servers is not None else None
            raise ArgumentBad(missing or f"There is no tool {call.tool[:64]!r}.")
        names = list(tool.schema["properties"])
        arguments = dict(call.arguments)
        if set(arguments) != set(names) or not all(isinstance(value, str) for value in arguments.values()):
            raise ArgumentBad(f"{call.tool} takes these arguments, each a text: {', '.join(names)}.")
        _check_size(sum(len(value.encode(errors="replace")) for value in arguments.values()))
        if call.tool == "run_command":
            line = arguments["command"]
            if not line.strip() or "\0" in line or len(line.encode(errors="replace")) > COMMAND_BYTES:
                raise ArgumentBad(f"A command line has 1 to {COMMAND_BYTES} bytes and no NUL character.")
        if call.tool == "fetch_url":
            fetch.checked(arguments["url"])
        if call.tool == "search_text" and not arguments["pattern"]:
            raise ArgumentBad("The text to look for is empty.")
        if call.tool == QUESTION and not arguments["question"].strip():
            raise ArgumentBad("The question is empty.")
        return resolve(self._where.cwd, arguments["path"]) if "path" in arguments else None

    def _argv(self, call: Call, place: Place | None) -> list[str]:
        if call.tool in self._remote:
            return [call.tool, _json(call)]
        return _argv(call, place)

    def _shown(self, call: Call, place: Place | None) -> str:
        if call.tool in self._remote:
            remote = self._remote[call.tool]
            return f"{remote.name} of the MCP server {remote.origin}:\n{_json(call, indent=2)}"
        if call.tool == QUESTION:
            return str(call.arguments["question"])
        if call.tool == "run_command":
            return f"in {self._where.cwd}: {call.arguments['command']}"
        if call.tool == "write_file" and place is not None:
            text = str(call.arguments["text"])
            return f"write {len(text.encode(errors='replace'))} bytes to {place.path}:\n{text}"
        return f"{call.tool}: {place.path if place is not None else next(iter(call.arguments.values()))}"

    def _digest(self, call: Call, place: Place | None) -> str:
        facts = {
            "tool": call.tool,
            "arguments": dict(call.arguments),
            "cwd": str(self._where.cwd),
            "path": str(place.path) if place is not None else None,
        }
        if call.tool in self._remote:
            facts["origin"] = self._remote[call.tool].origin
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    # ---- run it

    async def run(self, call: Call, digest: str | None) -> str:
        """Run a call, once, and return what the model is told.

        Args:
            call: what the model wants.
            digest: of what a person approved; None when the rules allow it without.
        """
        try:
            place = self._checked(call)
        except ArgumentBad as error:
            return f"Error: {error}"
        if call.id in self._run:
            return "Error: a call with this id has run already."
        if digest is not None and digest != self._digest(call, place):
            self._journal.end(call, "denied", "it is not what was approved")
            return "Error: this is not what was approved (its path leads elsewhere now), so it was not run."
        self._run.add(call.id)
        await self._journal.begin(call, short(call))
        state, result = "failed", ""
        try:
            result = await self._do(call, place)
            state = "done"
        except ToolFailed as error:
            result = f"Error: {error}"
        finally:
            self._journal.end(call, state, _summary(call, state, result))
        return bounded(result)

    async def _do(self, call: Call, place: Place | None) -> str:
        where, given = self._where, call.arguments
        if call.tool in self._remote:
            remote = self._remote[call.tool]
            return await remote.connection.call(remote.name, dict(given), where.timeout_s)
        work: Awaitable[str]
        match call.tool:
            case "run_command":
                mark = f"{where.mark}.{call.id}"
                return await command.run_command(
                    given["command"], where.cwd, mark, where.timeout_s, self._journal.why_killed
                )
            case "fetch_url":
                return await fetch.fetch_url(given["url"], where.timeout_s)
        assert place is not None  # noqa: S101 - all others have a path
        match call.tool:
            case "read_file":
                work = files.read_file(place.path)
            case "list_directory":
                work = files.list_directory(place.path)
            case "search_text":
                work = files.search_text(given["pattern"], place.path)
            case _:
                work = self._write(place, given["text"])
        return await _within(work, where.timeout_s)

    async def _write(self, place: Place, text: str) -> str:
        holders = await self._journal.holders(str(place.path))
        done = files.write_file(place.path, text)
        if holders:
            done += f" Careful: the session {', '.join(repr(name) for name in holders)} wrote this file lately, too."
        return done


def _check_size(size: int) -> None:
    if size > ARGUMENTS_BYTES:
        raise ArgumentBad(f"The arguments have {size} bytes; {ARGUMENTS_BYTES} are allowed.")


def _json(call: Call, indent: int | None = None) -> str:
    return json.dumps(dict(call.arguments), ensure_ascii=False, indent=indent)


async def _within(work: Awaitable[str], timeout_s: float) -> str:
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        raise ToolFailed(f"It took longer than {timeout_s:g} s, which is tool_timeout_s.") from None


def _argv(call: Call, place: Place | None) -> list[str]:
    if call.tool == "run_command":
        return ["/bin/sh", "-c", str(call.arguments["command"])]
    if place is not None:
        return [call.tool, str(place.path)]
    return [call.tool, *map(str, call.arguments.values())]


def short(call: Call) -> str:
    """Return a call in a few words."""
    first = next(iter(call.arguments.values()), "")
    words = " ".join(str(first).split())
    return words if len(words) <= SHOWN_CHARS else words[: SHOWN_CHARS - 1] + "…"


def _summary(call: Call, state: str, result: str) -> str:
    lines = len(result.splitlines())
    return f"{short(call)} … {state}, {lines} {'line' if lines == 1 else 'lines'}"
