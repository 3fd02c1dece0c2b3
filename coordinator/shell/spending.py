"""What turns cost, summed up by session and model. A reply of a store that did not note the model has its session's."""

import functools
import sqlite3
from collections.abc import Callable

from coordinator.core.prices import Line

QUERY = (
    "SELECT m.session, s.name, coalesce(m.model, s.model) AS model, count(*) AS turns,"
    " sum(m.input_tokens) AS input_tokens, sum(m.output_tokens) AS output_tokens"
    " FROM messages AS m JOIN sessions AS s ON s.id = m.session"
    " WHERE m.input_tokens + m.output_tokens > 0 AND m.at >= :since AND (:session IS NULL OR m.session = :session)"
    " GROUP BY 1, 3"
)


def spent(session: str | None, since: float | None) -> Callable[[sqlite3.Connection], list[Line]]:
    """Ask what one session, or each, has cost since a time in seconds since 1970."""
    return functools.partial(_spent, names={"session": session, "since": since or 0.0})


def _spent(db: sqlite3.Connection, *, names: dict[str, str | float | None]) -> list[Line]:
    return [Line(*row) for row in db.execute(QUERY, names)]
