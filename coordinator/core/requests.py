"""What clients ask for: sessions made, found, shown, switched, renamed and closed."""

import itertools
from collections.abc import Callable, Iterator

from coordinator.core import (
    asks,
    cancelling,
    closing,
    copying,
    finding,
    hibernation,
    inspecting,
    marks,
    memory,
    prompts,
    steering,
    storage,
    workers,
)
from coordinator.core.effects import (
    Commit,
    Effect,
    InsertSession,
    MakeBackup,
    SaveActive,
    SaveName,
    SaveSeen,
    SendClient,
    SendHistory,
    SendStatus,
)
from coordinator.core.events import Outcome
from coordinator.core.governing import permits_view
from coordinator.core.hibernation import disturb
from coordinator.core.lifecycle import Residency
from coordinator.core.naming import UNNAMED, normal_group, normal_name
from coordinator.core.providers import check_model
from coordinator.core.residency import hand_over, wake
from coordinator.core.restarts import RestartBudget
from coordinator.core.showing import counts, session_view
from coordinator.core.world import COMMAND_LINE, Peer, Session, World
from protocol import messages as m
from protocol.errors import (
    ChatCoordError,
    CoordinatorStopping,
    DescriptorsShort,
    IdTaken,
    NameTaken,
    SessionClosed,
    SessionLimit,
    TemplateUnknown,
    ValueIllegal,
)
from protocol.ids import is_id
from protocol.limits import CWD_BYTES, ENV_BYTES, MOST_TEMPERATURE, PAGE_BYTES, PAGE_SESSIONS, SYSTEM_BYTES
from protocol.version import __version__
from protocol.views import SESSION_TYPES

DEFAULT_TYPE = "development"
# A client that has not been heard for this long is gone; it pings every 2 s.
CLIENT_SILENCE_S = 10.0


class HelloMissing(ChatCoordError):
    """A request came from a peer that has not said hello to this coordinator."""

    code = "protocol.hello_missing"
    hint = "Say hello first; after a restart of the coordinator, again."


def on_client(world: World, peer: bytes, message: m.ClientSays, pid: int, now_s: float) -> Iterator[Effect]:
    """Answer a client.

    Raises:
        ChatCoordError: the answer is no; nothing changed.
    """
    if world.has_left:
        return  # what it asks again is answered by the next coordinator
    if isinstance(message, m.ClientHello):
        known = world.peers.get(peer)
        world.peers[peer] = known or Peer(message.client, now_s, pid=message.pid)
        yield SendClient(peer, m.ClientWelcome(boot=world.boot, pid=pid, version=__version__))
        return
    if isinstance(message, m.ClientPing):
        if peer in world.peers:
            world.peers[peer].heard_s = now_s
        yield SendClient(peer, m.ClientPong(boot=world.boot if peer in world.peers else 0))
        return
    if isinstance(message, m.ClientBye):
        forget(world, peer, now_s)
        return
    if peer not in world.peers:
        raise HelloMissing("This coordinator does not know that client yet.")
    world.peers[peer].heard_s = now_s
    yield from _HANDLERS[type(message)](world, peer, message, now_s)


def forget(world: World, peer: bytes, now_s: float) -> None:
    """A client is gone; what only it looked at is its own no more."""
    gone = world.peers.pop(peer, None)
    if gone is not None:
        _look_away(world, gone, now_s)
    if (
        gone is not None
        and gone.client != COMMAND_LINE
        and not any(p.client == gone.client for p in world.peers.values())
    ):
        world.active.pop(gone.client, None)


def forget_silent(world: World, now_s: float) -> None:
    """Forget the clients that ended without a word."""
    for peer in [p for p, known in world.peers.items() if now_s - known.heard_s > CLIENT_SILENCE_S]:
        forget(world, peer, now_s)


# ---- create


def _create(world: World, peer: bytes, order: m.Create, now_s: float) -> Iterator[Effect]:
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and takes no new sessions.")
    existing = world.sessions.get(order.id)
    if existing is not None:
        if existing.is_committed:
            yield _answer(world, peer, order.request, existing)
        return
    world.check_writable()
    session = _checked(world, order, now_s)
    world.add(session)
    yield Commit(
        InsertSession(
            session=session.id,
            name=session.name,
            number=session.number,
            type=session.type,
            model=session.model,
            system=session.system,
            cwd=session.cwd,
            env=session.env,
            at=session.created_at,
            peer=peer,
            request=order.request,
            starts=session.residency is Residency.STARTING,
            group=session.group,
            template=session.template,
            is_named=session.is_named,
            temperature=session.temperature,
        )
    )


def _checked(world: World, order: m.Create, now_s: float) -> Session:
    """Return the session that the order describes, with its slot and name reserved."""
    if not is_id(order.id):
        raise IdTaken("That is no identifier for a session.")
    session_type = order.type or DEFAULT_TYPE
    if session_type not in SESSION_TYPES:
        raise ValueIllegal(f"There is no type {order.type[:32]!r}.", hint=f"Types are: {', '.join(SESSION_TYPES)}.")
    model = order.model or world.settings.default_model
    check_model(world.settings, model)
    if order.temperature is not None and not 0 <= order.temperature <= MOST_TEMPERATURE:
        hint = f"Allowed: a number from 0 to {MOST_TEMPERATURE}."
        raise ValueIllegal(f"A temperature cannot be {order.temperature}.", hint=hint)
    sizes = (
        ("system prompt", len((order.system or "").encode()), SYSTEM_BYTES),
        ("working directory", len(order.cwd.encode()), CWD_BYTES),
        ("environment", sum(len(k.encode()) + len(v.encode()) for k, v in order.env.items()), ENV_BYTES),
    )
    for what, size, limit in sizes:
        if size > limit:
            raise ValueIllegal(f"The {what} has {size} bytes; {limit} are allowed.", hint="Shorten it.")
    if order.template is not None and order.template not in world.settings.templates:
        hint = "A coordinator that runs knows the templates of its start: `chat-coord restart`."
        raise TemplateUnknown(f"There is no template {order.template[:64]!r}.", hint=hint)
    number = world.roll.free_number()
    name = _free_name(world, number) if order.name is None else _own_name(world, order.name, None)
    if not world.has_descriptors:
        used, most = world.descriptors_used, world.descriptors_limit or 0
        text = f"The coordinator has {used} of its {most} file descriptors open, too many for one more session."
        raise DescriptorsShort(text, used=used, limit=most)
    memory.check_room(world)
    has_slot = world.has_free_slot and not world.line
    if not has_slot and not order.queue:
        holders = [s.name for s in sorted(world.roll.holders, key=lambda s: s.number)]
        limit = world.settings.max_active_sessions
        raise SessionLimit(f"All {limit} slots are held, by: {', '.join(holders)}.", limit=limit, holders=holders)
    return Session(
        id=order.id,
        name=name,
        number=number,
        type=session_type,
        model=model,
        system=order.system,
        cwd=order.cwd,
        env=order.env,
        created_at=world.wall_s(now_s),
        last_active_at=world.wall_s(now_s),
        used_s=now_s,
        restarts=RestartBudget(world.settings.restart_limit, world.settings.restart_window_s),
        residency=Residency.STARTING if has_slot else Residency.HIBERNATED,
        is_committed=False,
        group=None if order.group is None else normal_group(order.group),
        template=order.template,
        is_named=order.name is not None,
        is_type_chosen=bool(order.type),
        temperature=order.temperature,
    )


def _free_name(world: World, number: int) -> str:
    return next(n for n in (f"{UNNAMED}{i}" for i in itertools.count(number)) if world.roll.owner_of(n) is None)


def _own_name(world: World, text: str, session: Session | None) -> str:
    name = normal_name(text, world.settings.name_max_length)
    owner = world.roll.owner_of(name)
    if owner is None or owner is session:
        return name
    if owner.is_closed:
        raise NameTaken(f"The session named {name!r} is still being closed.", hint="Try again.")
    raise NameTaken(f"There is a session named {name!r} already.")


def on_session_inserted(
    world: World, session: Session, change: InsertSession, outcome: Outcome, now_s: float
) -> Iterator[Effect]:
    """The new session is durable: answer, and make it the client's active one if it has none.

    A slot was kept for its worker, or it gets in line.
    """
    session.is_committed = True
    if change.starts:
        yield from workers.on_epoch(world, session, outcome, now_s)
    elif session.residency is Residency.HIBERNATED:
        session.token_sha256 = outcome.token_sha256
        yield from wake(world, session)
    world.moved[session.id] = (None, "created")
    known = world.peers.get(change.peer)
    client = known.client if known else COMMAND_LINE
    if client not in world.active:
        yield from _activate(world, client, session)
    yield _answer(world, change.peer, change.request, session)


# ---- find and show


def _answer(world: World, peer: bytes, request: int, session: Session | None) -> SendClient:
    known = world.peers.get(peer)
    view = None if session is None else session_view(world, session, known.client if known else None)
    return SendClient(peer, m.SessionAnswer(request=request, session=view))


def _get(world: World, peer: bytes, order: m.GetSession, now_s: float) -> Iterator[Effect]:
    del now_s
    if order.session is not None:
        yield _answer(world, peer, order.request, world.find(order.session))
        return
    active = world.active.get(world.peers[peer].client)
    yield _answer(world, peer, order.request, world.sessions.get(active) if active else None)


def _list(world: World, peer: bytes, order: m.ListSessions, now_s: float) -> Iterator[Effect]:
    del now_s
    group = None if order.group is None else normal_group(order.group)
    page = world.roll.page(
        order.offset, PAGE_SESSIONS + 1, waiting=order.waiting, everything=order.everything, group=group
    )
    client = world.peers[peer].client
    views = [session_view(world, s, client) for s in page[:PAGE_SESSIONS]]
    yield SendClient(peer, m.SessionsAnswer(request=order.request, sessions=views, more=len(page) > PAGE_SESSIONS))


def _fetch(world: World, peer: bytes, order: m.Fetch, now_s: float) -> Iterator[Effect]:
    del now_s
    session = world.find(order.session)
    if order.view:
        yield from _seen(world, session)
    yield SendHistory(peer, order.request, session.id, order.after_seq)


def _seen(world: World, session: Session) -> Iterator[Effect]:
    if session.unread:
        world.touch(session, "seen")
        session.unread = False
        session.waiting_since = None
        yield Commit(SaveSeen(session.id))


def _status(world: World, peer: bytes, order: m.GetStatus, now_s: float) -> Iterator[Effect]:
    yield SendStatus(peer, order.request, counts(world), permits_view(world, now_s), memory.overview(world))


# ---- change


def _activate(world: World, client: str, session: Session) -> Iterator[Effect]:
    world.active[client] = session.id
    if client == COMMAND_LINE:
        yield Commit(SaveActive(client, session.id))


def _switch(world: World, peer: bytes, order: m.Switch, now_s: float) -> Iterator[Effect]:
    del now_s
    session = world.find(order.session)
    if session.is_closed:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    yield from _activate(world, world.peers[peer].client, session)
    yield _answer(world, peer, order.request, session)


def _look_away(world: World, known: Peer, now_s: float) -> None:
    """What a person worked on until now was used until now."""
    left = world.sessions.get(known.attached or "")
    if left is not None and not known.observes:
        left.used_s = now_s
    known.attached, known.observes = None, False


def _attach(world: World, peer: bytes, order: m.Attach, now_s: float) -> Iterator[Effect]:
    known = world.peers[peer]
    session = None if order.session is None else world.find(order.session)
    _look_away(world, known, now_s)
    if session is None:
        yield SendClient(peer, m.Attached(request=order.request, session=None))
        return
    known.attached, known.observes = session.id, order.observes
    yield from _seen(world, session)
    if not order.observes and session.residency is not Residency.FAILED:
        session.used_s = now_s
        yield from disturb(world, session)
    turn = session.turn
    kept = "".join(turn.text).encode() if turn else b""
    said = kept[-PAGE_BYTES:]
    all_bytes = max(len(kept), turn.text_bytes) if turn else 0
    yield SendClient(
        peer,
        m.Attached(
            request=order.request,
            session=session_view(world, session, known.client),
            turn_id=turn.turn_id if turn else None,
            pieces=turn.pieces if turn else 0,
            text=said.decode(errors="ignore"),
            draft=session.draft,
            dropped=all_bytes - len(said),
        ),
    )


def _rename(world: World, peer: bytes, order: m.Rename, now_s: float) -> Iterator[Effect]:
    del now_s
    session = world.find(order.session)
    name = _own_name(world, order.name, session)
    world.check_writable()
    if session.renaming not in {None, name}:
        raise NameTaken(f"The session is just being renamed to {session.renaming!r}.", hint="Try again.")
    session.has_words_for_name = False
    session.renaming, session.is_named = name, True  # this comes after a name from its prompts that is on its way
    if session.holds_name:
        world.roll.reserve(name, session.id)
    yield Commit(SaveName(session.id, name, peer, order.request))


def on_renamed(world: World, session: Session, change: SaveName) -> Iterator[Effect]:
    """The name is durable: tell the worker, whose process is named after it, and the client."""
    before, session.name = session.name, change.name
    session.is_named = session.is_named or change.is_final is not None
    if change.is_auto:
        session.has_words_for_name = not change.is_final and session.renaming is None
        session.naming = None
    else:
        session.renaming = None
    world.roll.renamed(session, before)
    if session.peer is not None:
        yield workers.tell_name(session.peer, session)
    if not change.is_auto:
        yield _answer(world, change.peer, change.request, session)


def _close(world: World, peer: bytes, order: m.Close, now_s: float) -> Iterator[Effect]:
    session = world.find(order.session)
    if not session.is_closed:
        world.check_writable()
    yield from closing.close(world, session, (peer, order.request), now_s)


def _listen(world: World, peer: bytes, order: m.Listen, now_s: float) -> Iterator[Effect]:
    world.peers[peer].listens = True
    yield SendClient(peer, m.Done(request=order.request))
    if world.store_fault is not None:
        yield SendClient(peer, storage.state(world, now_s))


def _backup(world: World, peer: bytes, order: m.Backup, now_s: float) -> Iterator[Effect]:
    del world, now_s
    yield MakeBackup(peer, order.request, order.path)


def _shut_down(world: World, peer: bytes, order: m.ShutDown, now_s: float) -> Iterator[Effect]:
    del now_s
    yield SendClient(peer, m.Done(request=order.request))
    yield from workers.start_drain(world, is_urgent=order.now)


def _hand_over(world: World, peer: bytes, order: m.HandOver, now_s: float) -> Iterator[Effect]:
    del now_s
    world.check_writable()  # the next coordinator could not even count its start
    yield SendClient(peer, m.Done(request=order.request))
    yield from hand_over(world)


_HANDLERS: dict[type, Callable[..., Iterator[Effect]]] = {
    m.Create: _create,
    m.Submit: prompts.submit,
    m.Retry: prompts.retry,
    m.Fetch: _fetch,
    m.ListSessions: _list,
    m.GetSession: _get,
    m.Switch: _switch,
    m.Rename: _rename,
    m.Close: _close,
    m.Cancel: cancelling.cancel,
    m.ListAsks: asks.list_asks,
    m.Decide: asks.decide,
    m.Attach: _attach,
    m.Hibernate: hibernation.hibernate,
    m.Wake: hibernation.awaken,
    m.Mark: marks.mark,
    m.Delete: marks.delete,
    m.Fork: copying.fork,
    m.Outline: copying.outline,
    m.FindOrigin: copying.find_origin,
    m.ImportRows: copying.stage,
    m.ImportSession: copying.take_in,
    m.Search: finding.search,
    m.GetUsage: finding.usage,
    m.Listen: _listen,
    m.Backup: _backup,
    m.GetStatus: _status,
    m.Inspect: inspecting.inspect,
    m.GetTop: inspecting.top,
    m.Kill: steering.kill,
    m.RestartWorker: steering.restart,
    m.ShutDown: _shut_down,
    m.HandOver: _hand_over,
}
