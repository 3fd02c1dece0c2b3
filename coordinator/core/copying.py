"""Sessions that begin with a conversation: forked from another one, or imported. None of this wakes anything.

A fork copies finished turns within the store. An import hands its messages over in parts, which the store keeps aside,
and becomes a session in one change: there is never half of one, whoever dies in between.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import get_args

from coordinator.core.effects import Commit, Effect, InsertFork, InsertImported, SendClient, StageRows
from coordinator.core.events import Outcome
from coordinator.core.lifecycle import Residency
from coordinator.core.naming import normal_group, normal_name
from coordinator.core.restarts import RestartBudget
from coordinator.core.showing import refusal, session_view
from coordinator.core.world import Session, World
from protocol import messages as m
from protocol.errors import CoordinatorStopping, IdTaken, NameIllegal, NameTaken, SessionClosed, ValueIllegal
from protocol.ids import is_id
from protocol.limits import (
    CWD_BYTES,
    ENV_BYTES,
    IMPORT_ROWS,
    MOST_TEMPERATURE,
    NAME_CHARS,
    ORIGIN_CHARS,
    REPLY_BYTES,
    SYSTEM_BYTES,
)
from protocol.views import SESSION_TYPES, Exported, HistoryRow, ParentView, StopReason

# What our own exports are known by when they come back.
OURS = "chat-coord:"
STOPS = frozenset(get_args(StopReason))
# In seconds since 1970: far beyond every clock, and what arithmetic still bears.
LATEST = 1e12


def outline(world: World, peer: bytes, order: m.Outline, now_s: float) -> Iterator[Effect]:
    """Show what an export says of a session beside its messages."""
    del now_s
    session = world.find(order.session)
    exported = Exported(
        id=session.id,
        name=session.name,
        type=session.type,
        model=session.model,
        cwd=session.cwd,
        closed=session.is_closed,
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        messages=[],
        system=session.system,
        archived=session.is_archived,
        parent=session.parent,
        origin=foreign(session.origin),
        group=session.group,
        template=session.template,
        temperature=session.temperature,
    )
    yield SendClient(peer, m.Outlined(request=order.request, session=exported))


def foreign(origin: str | None) -> str | None:
    """Return what a session was imported from when that was another program."""
    return None if origin is None or origin.startswith(OURS) else origin


# ---- fork


def fork(world: World, peer: bytes, order: m.Fork, now_s: float) -> Iterator[Effect]:
    """Order a copy of a session's finished turns; the answer waits for the commit.

    Raises:
        ChatCoordError: it cannot be; nothing changed.
    """
    known = world.sessions.get(order.id)
    if known is not None:
        if known.is_committed:
            yield _answer(world, peer, order.request, known)
        return
    source = world.find(order.session)
    _check_new(world, order.id)
    if source.is_deleting:
        raise SessionClosed(f"The session {source.name!r} is being deleted.")
    if order.name is None:
        name = _free_name(world, source.name, "-fork")
    else:
        name = normal_name(order.name, world.settings.name_max_length)
        if world.roll.owner_of(name) is not None:
            raise NameTaken(f"There is a session named {name!r} already.")
    at = world.wall_s(now_s)
    session = Session(
        id=order.id,
        name=name,
        number=world.roll.free_number(),
        type=source.type,
        model=source.model,
        temperature=source.temperature,
        system=source.system,
        cwd=source.cwd,
        env=source.env,
        created_at=at,
        last_active_at=at,
        used_s=now_s,
        restarts=_restarts(world),
        is_committed=False,
        group=source.group,
        template=source.template,
    )
    world.add(session)
    yield Commit(InsertFork(session.id, source.id, order.at_seq, name, session.number, at, peer, order.request))


def on_inserted(
    world: World, session: Session, change: InsertFork | InsertImported, outcome: Outcome
) -> Iterator[Effect]:
    """The new session is durable with its conversation, or cannot be."""
    if outcome.refusal:
        world.remove(session)
        error = ValueIllegal(f"{outcome.refusal}.", hint="Nothing was made.")
        yield SendClient(change.peer, refusal(change.request, error))
        return
    session.is_committed = True
    session.token_sha256 = outcome.token_sha256
    session.epoch = session.worker_epoch = outcome.epoch
    if isinstance(change, InsertFork):
        session.messages = outcome.messages
        session.parent = ParentView(session=change.source, seq=outcome.parent_seq)
        if change.source in world.sessions:  # it may have got others while the fork was on its way
            source = world.sessions[change.source]
            session.type, session.model, session.temperature = source.type, source.model, source.temperature
    else:
        session.messages = change.messages
    world.moved[session.id] = (None, "forked" if isinstance(change, InsertFork) else "imported")
    yield _answer(world, change.peer, change.request, session)


# ---- import


def find_origin(world: World, peer: bytes, order: m.FindOrigin, now_s: float) -> Iterator[Effect]:
    """Say whether this was imported already."""
    del now_s
    found = _imported(world, order.origin)
    known = world.peers.get(peer)
    view = (
        None if found is None or not found.is_committed else session_view(world, found, known.client if known else None)
    )
    is_free = is_id(order.id) and order.id not in world.sessions
    yield SendClient(peer, m.OriginAnswer(request=order.request, session=view, id_is_free=is_free))


def _imported(world: World, origin: str) -> Session | None:
    return next((s for s in world.sessions.values() if s.origin == origin), None)


def stage(world: World, peer: bytes, order: m.ImportRows, now_s: float) -> Iterator[Effect]:
    """Keep a part of a conversation aside.

    Raises:
        ChatCoordError: it is none.
    """
    del now_s
    _check_new(world, order.batch)
    for row in order.rows:
        _check_row(row)
    yield Commit(StageRows(order.batch, tuple(order.rows), peer, order.request))


def take_in(world: World, peer: bytes, order: m.ImportSession, now_s: float) -> Iterator[Effect]:
    """Make a session of what was handed over; the answer waits for the commit.

    Raises:
        ChatCoordError: it cannot be; nothing changed.
    """
    # Whoever imported the same meanwhile was first.
    known = world.sessions.get(order.id) or _imported(world, order.origin)
    if known is not None:
        if known.is_committed:
            yield _answer(world, peer, order.request, known)
        return
    _check_new(world, order.id)
    _check_sizes(order)
    name = _free_name(world, order.name, "")
    model = order.model if order.model in world.settings.all_models() else world.settings.default_model
    session = Session(
        id=order.id,
        name=name,
        number=world.roll.free_number(),
        type=order.type if order.type in SESSION_TYPES else "development",
        model=str(model),
        system=order.system,
        cwd=order.cwd,
        env=order.env,
        created_at=order.created_at,
        last_active_at=order.last_active_at,
        used_s=now_s,
        restarts=_restarts(world),
        residency=Residency.STOPPED if order.closed else Residency.HIBERNATED,
        is_close_committed=order.closed,
        is_archived=order.archived,
        parent=order.parent,
        origin=order.origin,
        is_committed=False,
        group=_group(order.group),
        template=order.template if order.template in world.settings.templates else None,
        temperature=order.temperature if 0 <= (order.temperature or 0.0) <= MOST_TEMPERATURE else None,
    )
    world.add(session)
    yield Commit(
        InsertImported(
            session=session.id,
            batch=order.batch,
            name=name,
            number=session.number,
            type=session.type,
            model=session.model,
            system=session.system,
            cwd=session.cwd,
            env=session.env,
            created_at=session.created_at,
            last_active_at=session.last_active_at,
            closed=order.closed,
            archived=order.archived,
            parent=session.parent,
            origin=order.origin,
            messages=order.messages,
            peer=peer,
            request=order.request,
            group=session.group,
            template=session.template,
            temperature=session.temperature,
        )
    )


def _group(text: str | None) -> str | None:
    with contextlib.suppress(ValueIllegal, NameIllegal):
        return None if text is None else normal_group(text)
    return None


def _check_row(row: HistoryRow) -> None:
    is_prompt = row.role == "user" and row.reply_to is None
    is_reply = row.role == "assistant" and row.reply_to is not None and row.stop_reason in STOPS
    if not (is_prompt or is_reply) or not 0 < row.seq <= IMPORT_ROWS:
        raise ValueIllegal(f"Message {row.seq} is neither a prompt nor a reply to one.", hint="Nothing was imported.")
    if not 0 <= row.at <= LATEST:
        raise ValueIllegal(f"Message {row.seq} has no possible time.", hint="Nothing was imported.")
    if len(row.text.encode()) > REPLY_BYTES:
        raise ValueIllegal(f"Message {row.seq} is larger than {REPLY_BYTES} bytes.", hint="Nothing was imported.")


def _check_sizes(order: m.ImportSession) -> None:
    sizes = (
        ("system prompt", len((order.system or "").encode()), SYSTEM_BYTES),
        ("working directory", len(order.cwd.encode()), CWD_BYTES),
        ("environment", sum(len(k.encode()) + len(v.encode()) for k, v in order.env.items()), ENV_BYTES),
        ("origin", len(order.origin), ORIGIN_CHARS),
        ("conversation", order.messages, IMPORT_ROWS),
    )
    if not (0 <= order.created_at <= LATEST and 0 <= order.last_active_at <= LATEST):
        raise ValueIllegal("The session has no possible time.", hint="Nothing was imported.")
    for what, size, limit in sizes:
        if size > limit:
            raise ValueIllegal(f"The {what} has a size of {size}; {limit} are allowed.", hint="Nothing was imported.")


def _check_new(world: World, session: str) -> None:
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and takes no new sessions.")
    if not is_id(session):
        raise IdTaken("That is no identifier for a session.")
    world.check_writable()


def _restarts(world: World) -> RestartBudget:
    return RestartBudget(world.settings.restart_limit, world.settings.restart_window_s)


def _free_name(world: World, text: str, end: str) -> str:
    """Return a name that nobody has: the text with that end, else with a number behind; ``session`` when it is none."""
    try:
        base = normal_name(text)
    except NameIllegal:
        base = "session"
    ends = itertools.chain((end,), (f"{end}-{i}" for i in itertools.count(2)))
    names = (base[: NAME_CHARS - len(e)].rstrip(" ") + e for e in ends)
    return next(name for name in names if world.roll.owner_of(name) is None)


def _answer(world: World, peer: bytes, request: int, session: Session) -> SendClient:
    known = world.peers.get(peer)
    view = session_view(world, session, known.client if known else None)
    return SendClient(peer, m.SessionAnswer(request=request, session=view))
