"""A time in the past as a person says it: a date, or how long ago. Pure."""

import re

from client.core.foreign.times import seconds

UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,6})([mhdw])")


def since(text: str, now: float, utc_offset_s: int) -> float | None:
    """Return seconds since 1970 for ``7d``, ``2026-11-01`` or a whole ISO time; None when it is none of them.

    Args:
        text: what was said.
        now: the wall clock.
        utc_offset_s: of local time, which a date without a zone is in.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return max(0.0, now - int(ago[1]) * UNITS[ago[2]])
    at = seconds(text)
    if not at:
        return None
    is_local = not re.search(r"(Z|[+-]\d\d:?\d\d)$", text[10:])
    return max(0.0, at - utc_offset_s) if is_local else at
