"""May this path be touched? It is resolved first - links, ``..`` - so that the rule judges what would be opened."""

import fnmatch
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocol.messages import ToolRule

Rule = Literal["allow", "ask", "deny"]
PATH_BYTES = 4_096


class ArgumentBad(Exception):
    """An argument of a call cannot be used; the model is told this sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path as it was given, where it leads, and whether that is inside the session's working directory."""

    given: str
    path: Path
    is_inside: bool


def resolve(cwd: Path, given: str) -> Place:
    """Return where a path leads.

    Raises:
        ArgumentBad: it is no path.
    """
    if not given or "\0" in given:
        raise ArgumentBad("The path is empty or has a NUL character.")
    if len(os.fsencode(given)) > PATH_BYTES:
        raise ArgumentBad(f"The path has more than {PATH_BYTES} bytes.")
    try:
        path = Path(os.path.realpath(cwd / Path(given).expanduser()))
        inside = Path(os.path.realpath(cwd))
    except (OSError, RuntimeError, ValueError) as error:
        raise ArgumentBad(f"The path cannot be resolved: {error}.") from error
    return Place(given, path, path == inside or inside in path.parents)


def rule_for(rule: ToolRule, place: Place, cwd: Path) -> Rule:
    """Return what may be done: the strictest pattern that fits; else the rule inside the directory, and no outside."""
    for answer, patterns in (("deny", rule.deny), ("ask", rule.ask), ("allow", rule.allow)):
        if any(_fits(pattern, place.path, cwd) for pattern in patterns):
            return answer  # type: ignore[return-value]
    return rule.rule if place.is_inside else "deny"


def _fits(pattern: str, path: Path, cwd: Path) -> bool:
    whole = str(Path(os.path.realpath(cwd)) / Path(pattern).expanduser())
    return fnmatch.fnmatchcase(str(path), whole) or fnmatch.fnmatchcase(str(path), f"{whole.rstrip('/')}/*")
