"""Times as other programs write them. Pure: the calendar is arithmetic."""

import re

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d(?:\.\d{1,9})?))?)?(Z|[+-]\d\d:?\d\d)?")
# Of the year 5138: what is beyond is no time.
LATEST = 1e11


def seconds(value: object) -> float:
    """Return seconds since 1970 of an ISO time or a number; 0 when it is neither."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value <= LATEST else 0.0
    found = _ISO.fullmatch(value) if isinstance(value, str) and len(value) < 40 else None  # noqa: PLR2004 - the longest form
    if found is None:
        return 0.0
    year, month, day = (int(found[i]) for i in (1, 2, 3))
    hour, minute, second = (float(found[i] or 0) for i in (4, 5, 6))
    at = _days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - _offset(found[7])
    return round(at, 3) if 0 <= at <= LATEST else 0.0


def _days(year: int, month: int, day: int) -> int:
    """Return days since 1970 of a date in our calendar, counted from a March on, so that leap days come last."""
    year -= month <= 2  # noqa: PLR2004 - January and February belong to the year before
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _offset(zone: str | None) -> int:
    if zone in {None, "Z"}:
        return 0
    sign, digits = (-1 if zone[0] == "-" else 1), zone[1:].replace(":", "")
    return sign * (int(digits[:2]) * 3_600 + int(digits[2:]) * 60)
