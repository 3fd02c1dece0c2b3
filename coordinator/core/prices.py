"""Tokens and, where prices are configured, money. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.settings import ModelSettings
from protocol.views import ModelSpent, SessionSpent, Spent, UsageReport

MILLION = 1_000_000
# Sessions of one report; what others cost is in its total.
SESSIONS = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """What the turns of one session with one model took."""

    session: str
    name: str
    model: str
    turns: int
    input_tokens: int
    output_tokens: int


def report(lines: list[Line], models: Mapping[str, ModelSettings], since: float | None) -> UsageReport:
    """Return what was spent, the dearest sessions first.

    Args:
        lines: a session has one for each model.
        models: with their prices.
        since: what the lines were asked from, in seconds since 1970.
    """
    by_session: dict[str, list[ModelSpent]] = {}
    names = {line.session: line.name for line in lines}
    for line in lines:
        by_session.setdefault(line.session, []).append(_priced(line, models.get(line.model)))
    sessions = [_session(key, names[key], spent) for key, spent in by_session.items()]
    sessions.sort(key=lambda s: (-(s.cost or 0.0), -(s.input_tokens + s.output_tokens), s.name))
    total = _sum(sessions)
    return UsageReport(since=since, sessions=sessions[:SESSIONS], total=total, more=len(sessions) > SESSIONS)


def _priced(line: Line, model: ModelSettings | None) -> ModelSpent:
    """Return a line with its price; a price that is not configured beside one that is counts as nothing."""
    prices = (None, None) if model is None else (model.input_price, model.output_price)
    cost = None
    if prices != (None, None):
        cost = (line.input_tokens * (prices[0] or 0.0) + line.output_tokens * (prices[1] or 0.0)) / MILLION
    return ModelSpent(
        model=line.model,
        turns=line.turns,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        cost=cost,
        unpriced_tokens=line.input_tokens + line.output_tokens if cost is None else 0,
    )


def _session(key: str, name: str, models: list[ModelSpent]) -> SessionSpent:
    spent = _sum(models)
    return SessionSpent(
        session=key,
        name=name,
        models=models,
        turns=spent.turns,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        cost=spent.cost,
        unpriced_tokens=spent.unpriced_tokens,
    )


def _sum(parts: Sequence[Spent]) -> Spent:
    costs = [part.cost for part in parts if part.cost is not None]
    return Spent(
        turns=sum(part.turns for part in parts),
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cost=round(sum(costs), 9) if costs else None,
        unpriced_tokens=sum(part.unpriced_tokens for part in parts),
    )
