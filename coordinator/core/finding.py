"""Questions over all sessions that wake none: where something was said, and what was spent."""

from collections.abc import Iterator

from coordinator.core.effects import Effect, SendFound, SendUsage
from coordinator.core.world import World
from protocol.errors import ValueIllegal
from protocol.limits import SEARCH_BYTES, SEARCH_WORDS
from protocol.messages import GetUsage, Search


def search(world: World, peer: bytes, order: Search, now_s: float) -> Iterator[Effect]:
    """Look for words.

    Raises:
        ValueIllegal: there is nothing to look for, or too much.
    """
    del world, now_s
    size, words = len(order.text.encode(errors="replace")), len(order.text.split())
    if size > SEARCH_BYTES:
        raise ValueIllegal(f"A search of {size} bytes is too long; {SEARCH_BYTES} are allowed.", hint="Shorten it.")
    if words > SEARCH_WORDS:
        raise ValueIllegal(f"A search for {words} words is too long; {SEARCH_WORDS} are allowed.", hint="Shorten it.")
    if not any(c.isalnum() for c in order.text):
        raise ValueIllegal("There is no word in it to look for.", hint="Give a word, or the beginning of one.")
    yield SendFound(peer, order.request, order.text, order.limit)


def usage(world: World, peer: bytes, order: GetUsage, now_s: float) -> Iterator[Effect]:
    """Sum up what was spent."""
    del now_s
    session = None if order.session is None else world.find(order.session).id
    yield SendUsage(peer, order.request, session, order.since)
