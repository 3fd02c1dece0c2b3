"""Permits: one for each HTTP request to a model, so that all sessions together stay within the limits. Pure.

A holder is a worker's process. It makes one request at a time and counts them, so whatever it says of call n says that
all before n are over: messages may be lost, doubled and late. A permit comes back from its holder, or when that is dead
(``bury``); nothing here ever expires. A grant is not written down: after a restart every adopted worker counts as a
holder until it has said in this boot what it holds (``adopt``, ``settle``). Who waits is in one line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import ceil
from typing import Literal

from coordinator.core.gates import Gate, Window

# So many requests of sessions that a person looks at may pass the first of the others at a provider.
PATIENCE = 4
# The call of a holder that an earlier coordinator may have granted.
UNKNOWN = 0
# How much the newest request counts in the average of how long permits are held.
NEWEST_SHARE = 0.3

Why = Literal["permit", "rate_limit", "budget"]


class Answer(Enum):
    """What becomes of a request for a permit."""

    HELD = "it has it already"
    QUEUED = "it is in line now"
    WAITING = "it is in line already"
    OVER = "that call is over"


@dataclass(frozen=True, slots=True)
class Limits:
    """A provider's limits; None: none of its own."""

    at_once: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(slots=True)
class Held:
    """A permit that is out."""

    call: int
    provider: str
    granted_s: float
    has_succeeded: bool = False
    waited_s: float | None = None


@dataclass(slots=True)
class Waiting:
    """A request in line. ``passed``: how many were let go before it although it could have gone."""

    call: int
    provider: str
    passed: int = 0
    asked_s: float = 0.0


@dataclass(slots=True)
class Pool:
    """A provider."""

    limits: Limits
    gate: Gate
    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)


class Governor:
    """Hands out permits.

    Args:
        limit: permits over all providers.
        limits: those of each provider.
    """

    def __init__(self, limit: int, limits: Mapping[str, Limits]) -> None:
        self.limit = limit
        self._pools = {provider: Pool(found, Gate(provider)) for provider, found in limits.items()}
        self._held: dict[str, Held] = {}
        self._line: dict[str, Waiting] = {}
        self._over: dict[str, int] = {}
        self._held_s: float | None = None

    # ---- holders

    def adopt(self, holder: str, provider: str) -> None:
        """A worker of an earlier coordinator lives: it may hold a permit."""
        self._held[holder] = Held(UNKNOWN, provider, 0.0)

    def settle(self, holder: str, over: int, holds: int = 0) -> bool:
        """A holder says in this boot that its calls up to ``over`` are over, and which one it holds (0: none).

        Returns:
            True when a permit is free by that.
        """
        self._over[holder] = over = max(over, self._over.get(holder, 0))
        held, waiting = self._held.get(holder), self._line.get(holder)
        if held is not None and held.call == UNKNOWN and holds > over:
            held.call = holds
        is_free = held is not None and held.call <= over
        if is_free:
            del self._held[holder]
        if waiting is not None and waiting.call <= over:
            del self._line[holder]
        return is_free

    def want(self, holder: str, provider: str, call: int, barred_s: float, now_s: float) -> Answer:
        """A holder asks for a permit, perhaps again."""
        if call <= self._over.get(holder, 0):
            return Answer.OVER
        self.settle(holder, call - 1)
        if holder in self._held:
            return Answer.HELD
        if barred_s > 0:
            self._pool(provider).gate.bar(barred_s, now_s)
        if holder in self._line:
            return Answer.WAITING
        self._line[holder] = Waiting(call, provider, asked_s=now_s)
        return Answer.QUEUED

    def give_back(self, holder: str, call: int, *, is_answered: bool, now_s: float) -> None:
        """A call is over, whether it was granted or not."""
        held = self._held.get(holder)
        if held is not None and held.call == call and call > self._over.get(holder, 0):
            if is_answered:
                self.succeed(holder)
            took_s = now_s - held.granted_s
            self._held_s = took_s if self._held_s is None else self._held_s + NEWEST_SHARE * (took_s - self._held_s)
        self.settle(holder, call)

    def refuse(self, holder: str, call: int, provider: str, retry_after_s: float | None, now_s: float) -> None:
        """The provider refused a call for its rate: its gate closes for everybody. Before it is given back."""
        if call > self._over.get(holder, 0):
            held = self._held.get(holder)
            self._pool(provider).gate.close(held.granted_s if held else now_s, retry_after_s, now_s)

    def succeed(self, holder: str) -> None:
        """The provider answers the call that is held; counted once."""
        held = self._held.get(holder)
        if held is not None and held.call != UNKNOWN and not held.has_succeeded:
            held.has_succeeded = True
            self._pool(held.provider).gate.succeed(held.granted_s, self._limit_of(held.provider))

    def bury(self, holder: str) -> None:
        """The process is dead: nothing of it is open."""
        for found in (self._held, self._line, self._over):
            found.pop(holder, None)

    def withdraw(self, holder: str) -> int | None:
        """Who is in line shall not go: return its call; None when it is not in line."""
        waiting = self._line.pop(holder, None)
        return None if waiting is None else waiting.call

    def count_tokens(self, provider: str, tokens: int, now_s: float) -> None:
        """So many tokens were spent."""
        self._pool(provider).tokens.add(tokens, now_s)

    # ---- the line

    def grant(self, foreground: frozenset[str], now_s: float) -> Iterator[tuple[str, int]]:
        """Let go whoever may, foreground first, and yield each holder with its call."""
        while self._line and len(self._held) < self.limit:
            providers = {waiting.provider for waiting in self._line.values()}
            open_ones = {provider for provider in providers if self._closed(provider, now_s) is None}
            able = [holder for holder, waiting in self._line.items() if waiting.provider in open_ones]
            if not able:
                return
            holder = next((h for h in able if self._goes_first(h, foreground)), able[0])
            if holder in foreground:
                self._pass(able, foreground)
            waiting = self._line.pop(holder)
            self._held[holder] = Held(waiting.call, waiting.provider, now_s, waited_s=now_s - waiting.asked_s)
            self._pool(waiting.provider).requests.add(1, now_s)
            yield holder, waiting.call

    def _goes_first(self, holder: str, foreground: frozenset[str]) -> bool:
        """Say whether it is looked at, or was passed often enough; both are served by arrival, then the others."""
        return holder in foreground or self._line[holder].passed >= PATIENCE

    def _pass(self, able: list[str], foreground: frozenset[str]) -> None:
        """One that is looked at goes: of the others, the first at each provider that could have gone is passed."""
        passed: set[str] = set()
        for holder in able:
            waiting = self._line[holder]
            if holder not in foreground and waiting.provider not in passed:
                passed.add(waiting.provider)
                waiting.passed += 1

    def _closed(self, provider: str, now_s: float) -> tuple[Why, float | None] | None:
        """Return why no request may go there now, and until when if that is known; None when one may."""
        pool = self._pool(provider)
        if now_s < pool.gate.until_s:
            return "rate_limit", pool.gate.until_s
        free_s = self._budget_free_s(pool, now_s)
        if free_s is not None:
            return "budget", free_s
        out = [held for held in self._held.values() if held.provider == provider]
        if pool.gate.allowed is not None:
            tried = sum(held.granted_s >= pool.gate.until_s for held in out)
            if tried >= pool.gate.allowed:
                return "rate_limit", None
        if len(self._held) >= self.limit or len(out) >= self._limit_of(provider):
            return "permit", None
        return None

    def _budget_free_s(self, pool: Pool, now_s: float) -> float | None:
        limits, frees = pool.limits, []
        if limits.requests_per_minute is not None:
            frees.append(pool.requests.free_s(limits.requests_per_minute, now_s))
        if limits.tokens_per_minute is not None:
            frees.append(pool.tokens.free_s(limits.tokens_per_minute, now_s))
        return max((s for s in frees if s is not None), default=None)

    def _limit_of(self, provider: str) -> int:
        return min(self.limit, self._pool(provider).limits.at_once or self.limit)

    def _pool(self, provider: str) -> Pool:
        return self._pools.setdefault(provider, Pool(Limits(), Gate(provider)))

    # ---- shown

    @property
    def in_use(self) -> int:
        """Permits that are out; of those that an earlier coordinator may have granted, no more than it had."""
        known = sum(held.call != UNKNOWN for held in self._held.values())
        return known + min(len(self._held) - known, max(0, self.limit - known))

    def waited(self, holder: str, now_s: float) -> tuple[bool, float | None]:
        """Return whether it holds a permit, and how long it waits for one or waited for this; None: it did not."""
        waiting, held = self._line.get(holder), self._held.get(holder)
        if waiting is not None:
            return held is not None, now_s - waiting.asked_s
        return held is not None, held.waited_s if held is not None else None

    def holds(self, holder: str, call: int) -> bool:
        """Say whether it holds a permit for that call."""
        held = self._held.get(holder)
        return held is not None and held.call == call

    def is_waiting(self, holder: str) -> bool:
        """Say whether it is in line."""
        return holder in self._line

    def is_over(self, holder: str, call: int) -> bool:
        """Say whether a call is known to be over."""
        return call <= self._over.get(holder, 0)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who is in line, by arrival."""
        return tuple(self._line)

    def place(
        self, holder: str, foreground: frozenset[str], now_s: float
    ) -> tuple[int, Why, float | None, float | None] | None:
        """Return position, why, until when (if known) and the expected wait in seconds; None when it is not in line."""
        if holder not in self._line:
            return None
        provider = self._line[holder].provider
        is_first = self._goes_first(holder, foreground)
        before = list(self._line).index(holder)
        ranks = [self._goes_first(other, foreground) for other in self._line]
        position = 1 + (sum(ranks[:before]) if is_first else sum(ranks) + before - sum(ranks[:before]))
        why, until_s = self._closed(provider, now_s) or ("permit", None)
        wait_s = None if until_s is None else until_s - now_s
        if self._held_s is not None:
            rounds = ceil(position / self._limit_of(provider)) - (until_s is not None)
            wait_s = (wait_s or 0.0) + rounds * self._held_s
        return position, why, until_s, wait_s

    def gates(self, now_s: float) -> Iterator[tuple[str, Why, float | None, int | None]]:
        """Yield the providers that take fewer requests than they might: why, until when, how many at once."""
        for provider, pool in self._pools.items():
            free_s = self._budget_free_s(pool, now_s)
            if now_s < pool.gate.until_s:
                yield provider, "rate_limit", pool.gate.until_s, 0
            elif free_s is not None:
                yield provider, "budget", free_s, 0
            elif pool.gate.allowed is not None:
                yield provider, "rate_limit", None, pool.gate.allowed

    def next_s(self, now_s: float) -> float | None:
        """Return when the first provider that somebody waits for opens by itself; None when none will."""
        found = [self._closed(provider, now_s) for provider in {waiting.provider for waiting in self._line.values()}]
        return min((f[1] for f in found if f is not None and f[1] is not None), default=None)
