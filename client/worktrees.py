"""Git worktrees for sessions, below HOME/worktrees. What is in one is the user's: nothing here removes changes."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import WorktreeRefused
from protocol.paths import Home
from protocol.terminal_safe import clean_line

# A large repository takes its time to be checked out; a git that hangs is ended.
GIT_S = 120.0
# What would make git look at another repository than the one that is named.
LEADING_ASTRAY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


@dataclass(frozen=True, slots=True)
class Worktree:
    """One that was just added, on a branch that ``is_new`` or was there before."""

    path: Path
    branch: str
    is_new: bool
    repository: Path


def add(home: Home, folder: Path, branch: str, key: str, name: str | None) -> Worktree:
    """Check a branch out into a worktree of its own.

    Args:
        home: below whose worktrees it comes to lie.
        folder: somewhere in a repository.
        branch: one that is there or will be made from HEAD; "" makes one that is named after the session.
        key: the session's id.
        name: the session's name, if it was given one.

    Raises:
        WorktreeRefused: says why; nothing was changed.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise WorktreeRefused(f"{folder} lies in no git repository with files.", hint="Say which one: --cwd DIR.")
    repository = Path(top.stdout.removesuffix("\n"))
    wanted = branch or f"chat-coord/{_slug(name or '') or key[:8]}"
    if _git(repository, "check-ref-format", "--branch", wanted).returncode != 0:
        raise WorktreeRefused(f"{wanted!r} is no name for a branch.", hint="Say --worktree=BRANCH.")
    is_there = _git(repository, "show-ref", "--verify", "--quiet", f"refs/heads/{wanted}").returncode == 0
    if is_there and not branch:
        hint = f"Say --worktree={wanted} to go on with it, or name another."
        raise WorktreeRefused(f"There is a branch {wanted!r} already.", hint=hint)
    home.worktrees.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home.worktrees / f"{_slug(repository.name) or 'repository'}-{key[:8]}"
    new = [] if is_there else ["-b", wanted]
    added = _git(repository, "worktree", "add", *new, "--", str(path), wanted if is_there else "HEAD")
    if added.returncode != 0:
        raise WorktreeRefused(f"git made no worktree of {wanted!r}: {_reason(added)}.")
    return Worktree(path, wanted, is_new=not is_there, repository=repository)


def undo(worktree: Worktree) -> None:
    """Take back what ``add`` did: the session was refused, and nobody has worked there."""
    _git(worktree.repository, "worktree", "remove", "--force", "--", str(worktree.path))
    if worktree.is_new:
        _git(worktree.repository, "branch", "-D", "--", worktree.branch)


def of_session(home: Home, cwd: str) -> Path | None:
    """Return the worktree of ours that a folder lies in, if any."""
    try:
        parts = Path(cwd).relative_to(home.worktrees).parts
    except ValueError:
        return None
    path = home.worktrees / parts[0] if parts else None
    return path if path is not None and (path / ".git").is_file() else None


def remove(path: Path) -> str | None:
    """Remove a worktree in which nothing is that would be lost; its branch stays. Return why it is left, if so.

    Git itself refuses one with changes or new files. What git ignores goes with the folder.
    """
    try:
        if _git(path, "symbolic-ref", "--quiet", "HEAD").returncode != 0:
            return "it is on no branch, so its commits would be lost"
        common = _git(path, "rev-parse", "--git-common-dir")
        if common.returncode != 0:
            return _reason(common)
        repository = (path / common.stdout.removesuffix("\n")).resolve()
        removed = _git(repository, f"--git-dir={repository}", "worktree", "remove", "--", str(path))
    except WorktreeRefused as error:
        return error.message.rstrip(".")
    return None if removed.returncode == 0 else _reason(removed)


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in LEADING_ASTRAY}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_S,
            env=env | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
    except FileNotFoundError as error:
        raise WorktreeRefused("There is no git on the PATH.", hint="Install git, or leave --worktree out.") from error
    except subprocess.TimeoutExpired as error:
        raise WorktreeRefused(f"git {words[0]} took longer than {GIT_S:.0f} s.") from error
    except OSError as error:
        raise WorktreeRefused(f"git cannot be started: {error.strerror}.") from error


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    fatal = next((line for line in reversed(lines) if line.startswith(("fatal:", "error:"))), lines[-1])
    return clean_line(fatal.partition(": ")[2] or fatal).rstrip(".")


def _slug(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text).strip("-")
