"""What a check-up says of one thing, and how the safe findings are mended."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``fix`` is None when there is nothing to mend; ``fixed``: it was just mended."""

    name: str
    ok: bool
    finding: str
    fix: str | None = None
    fixed: bool = False


@dataclass(frozen=True)
class Looker:
    """How one thing is looked at, and how it is mended where that cannot harm. Mending raises OSError when it fails."""

    name: str
    look: Callable[[], Check]
    mend: Callable[[], None] | None = None


def ask(looker: Looker) -> Check:
    """Look; what cannot be looked at is a finding too."""
    try:
        return looker.look()
    except OSError as error:
        fix = "Check owner and mode of what is named."
        return Check(looker.name, False, f"This could not be looked at: {error}.", fix)


def ask_and_mend(looker: Looker) -> Check:
    """Look, mend what was found if that is safe, and look again."""
    before = ask(looker)
    if before.ok or looker.mend is None:
        return before
    try:
        looker.mend()
    except OSError as error:
        return msgspec.structs.replace(before, finding=f"{before.finding} It could not be mended: {error}.")
    after = ask(looker)
    if after.ok:
        return msgspec.structs.replace(after, finding=f"mended. Before: {before.finding}", fixed=True)
    return after
