"""Frames and messages: every kind comes back as it went, and nothing else gets in."""

import tracemalloc
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import launch, limits
from protocol import messages as m
from protocol.codec import Decoder, encode, request_of
from protocol.errors import BadMessage, UnsupportedKind, UnsupportedVersion
from protocol.limits import BODY_BYTES
from protocol.outbox import Record
from protocol.views import HistoryRow, Usage

UNIONS = {
    "client says": m.ClientSays,
    "to client": m.ToClient,
    "worker says": m.WorkerSays,
    "to worker": m.ToWorker,
    "outbox": Record,
    "to zygote": launch.ToZygote,
    "from zygote": launch.FromZygote,
}
KINDS = [
    pytest.param(union, kind, id=f"{name}: {kind.__name__}")
    for name, union in UNIONS.items()
    for kind in (get_args(union) or (union,))
]
CLIENT = Decoder(m.ClientSays)
RENAME = m.Rename(request=7, session="s", name="n")
FRAME = encode(RENAME)
FIELDS = {"v": 1, "kind": "RENAME", "request": 7, "session": "s", "name": "n"}
SIMPLE = {
    int: st.integers(-(1 << 63), (1 << 64) - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=20),
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def values(hint: Any) -> st.SearchStrategy:  # noqa: PLR0911 - one for each kind of type
    """Everything that a field of this type can hold."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    args = get_args(hint)
    origin = get_origin(hint)
    if origin is Annotated and args[0] is int:
        return st.integers(args[1].ge, args[1].le)
    least = 0
    if origin is Annotated:
        least = args[1].min_length or 0
        hint, origin, args = args[0], get_origin(args[0]), get_args(args[0])
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, args))
    if origin is tuple:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(values(args[0]), min_size=least, max_size=2)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    fields = {f.name: values(f.type) for f in msgspec.structs.fields(hint) if f.name != "v"}
    return st.builds(hint, **fields)


def frame_with(**changes: object) -> bytes:
    return msgpack.packb(FIELDS | changes)


def frame_with_raw(field: str, raw: bytes) -> bytes:
    """A valid message with one more field, whose value is given as bytes."""
    assert FRAME[0] == 0x80 | len(FIELDS)
    return bytes([FRAME[0] + 1]) + FRAME[1:] + msgpack.packb(field) + raw


def empty_lists(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count


def peak_bytes(deed: Callable[[], object]) -> int:
    """How much memory the deed took at its worst."""
    tracemalloc.start()
    try:
        deed()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- there and back


@pytest.mark.parametrize(("union", "kind"), KINDS)
@given(data=st.data())
@settings(max_examples=20)
def test_every_kind_comes_back_as_it_went(union, kind, data):
    message = data.draw(values(kind))

    assert Decoder(union).decode(encode(message)) == message


def test_every_kind_of_message_belongs_to_somebody_who_reads_it():
    classes = [c for module in (m, launch) for c in vars(module).values() if isinstance(c, type)]
    kinds = {c for c in classes if issubclass(c, m.Message) and not c.__subclasses__()}

    assert kinds == {kind.values[1] for kind in KINDS}


def test_a_frame_is_a_map_with_version_kind_and_fields():
    assert msgpack.unpackb(FRAME) == FIELDS


def test_a_frame_of_protocol_version_1_is_still_read():
    golden = bytes.fromhex("85a46b696e64a652454e414d45a17601a77265717565737407a773657373696f6ea173a46e616d65a16e")

    assert CLIENT.decode(golden) == RENAME


# ---- other versions, other kinds


@given(later=st.recursive(st.none() | st.integers(0, 9) | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_a_field_of_a_later_version_is_ignored(later):
    assert CLIENT.decode(frame_with(later=later)) == RENAME


def test_a_field_that_an_older_peer_does_not_send_has_its_default():
    frame = msgpack.packb({"v": 1, "kind": "ACK", "request": 7, "session": "s", "seq": 3})

    assert Decoder(m.ToClient).decode(frame) == m.Ack(request=7, session="s", seq=3, answered_by=None)


@pytest.mark.parametrize(
    "changes",
    [{}, {"kind": "LATER"}, {"session": 5}, {"name": None}],
    ids=["known kind", "unknown kind", "wrong type", "null"],
)
def test_a_newer_protocol_is_refused_by_its_version_whatever_else_it_holds(changes):
    with pytest.raises(UnsupportedVersion, match="version 2 of the protocol, this one 1"):
        CLIENT.decode(frame_with(v=2, **changes))


@pytest.mark.parametrize("kind", ["LATER", "", "rename", "Ж"])
def test_an_unknown_kind_is_refused_by_name(kind):
    with pytest.raises(UnsupportedKind) as caught:
        CLIENT.decode(frame_with(kind=kind))

    assert repr(kind) in caught.value.message


def test_a_very_long_kind_is_not_repeated_whole():
    with pytest.raises(UnsupportedKind) as caught:
        CLIENT.decode(frame_with(kind="K" * 100_000))

    assert len(caught.value.message) < 100


def test_a_worker_cannot_be_mistaken_for_a_client():
    hello = encode(m.Hello(session="s", epoch=1, token=b"t", pid=1))

    with pytest.raises(UnsupportedKind):
        CLIENT.decode(hello)


# ---- what is no message


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage):
    with pytest.raises(BadMessage):
        CLIENT.decode(garbage)


@pytest.mark.parametrize("size", range(len(FRAME)))
def test_a_truncated_frame_is_refused(size):
    with pytest.raises(BadMessage):
        CLIENT.decode(FRAME[:size])


def test_a_frame_with_a_tail_is_refused():
    with pytest.raises(BadMessage):
        CLIENT.decode(FRAME + b"\x00")


@pytest.mark.parametrize("other", [None, 5, "text", [], [FIELDS], {}])
def test_a_document_that_is_no_message_is_refused(other):
    with pytest.raises(BadMessage, match="no message of this protocol"):
        CLIENT.decode(msgpack.packb(other))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("session", 5), ("session", None), ("session", b"s"), ("name", ["n"]), ("name", {}), ("name", 1.5)],
)
def test_a_field_of_the_wrong_type_is_refused_and_named(field, wrong):
    with pytest.raises(BadMessage, match=rf"'RENAME' does not have the right form.*\$\.{field}"):
        CLIENT.decode(frame_with(**{field: wrong}))


def test_a_stop_reason_that_is_not_known_is_a_bad_field_and_not_an_unknown_kind():
    document = REPLY | {"v": 1, "kind": "REPLY", "text": "", "usage": {}, "stop_reason": "later"}

    with pytest.raises(BadMessage, match="stop_reason"):
        Decoder(m.WorkerSays).decode(msgpack.packb(document))


def test_a_missing_field_is_refused_and_named():
    frame = msgpack.packb({key: value for key, value in FIELDS.items() if key != "session"})

    with pytest.raises(BadMessage, match="session"):
        CLIENT.decode(frame)


@pytest.mark.parametrize("field", ["kind", "session"])
def test_text_that_is_not_utf8_is_refused(field):
    frame = FRAME.replace(msgpack.packb(FIELDS[field]), msgpack.packb("x" * len(FIELDS[field])))
    broken = frame.replace(b"x" * len(FIELDS[field]), b"\xff" * len(FIELDS[field]))

    with pytest.raises(BadMessage):
        CLIENT.decode(broken)


@given(place=st.integers(0, len(FRAME) - 1), byte=st.integers(0, 255))
@settings(max_examples=400)
def test_a_damaged_byte_gives_a_message_or_one_of_three_refusals(place, byte):
    damaged = FRAME[:place] + bytes([byte]) + FRAME[place + 1 :]
    try:
        outcome = CLIENT.decode(damaged)
    except (BadMessage, UnsupportedKind, UnsupportedVersion) as error:
        outcome = error

    assert isinstance(outcome, m.Message) or outcome.message.endswith(".")


def test_a_million_brackets_are_refused_without_a_crash():
    frame = frame_with_raw("later", b"\x91" * 1_000_000 + b"\x90")

    with pytest.raises(BadMessage):
        CLIENT.decode(frame)


# ---- sizes


def test_eight_megabytes_of_empty_lists_take_no_memory_where_they_are_unknown_and_none_where_they_are_wrong():
    unknown = frame_with_raw("later", empty_lists(8_000_000))
    in_place = FRAME.replace(msgpack.packb("n"), empty_lists(8_000_000))

    def refuse():
        with pytest.raises(BadMessage, match="name"):
            CLIENT.decode(in_place)

    assert peak_bytes(lambda: CLIENT.decode(unknown)) < 256 << 10
    assert peak_bytes(refuse) < 256 << 10


def test_a_frame_full_of_empty_lists_in_an_unknown_field_is_skipped_and_never_built():
    frame = frame_with_raw("later", empty_lists(1_000_000))

    assert CLIENT.decode(frame) == RENAME
    assert peak_bytes(lambda: CLIENT.decode(frame)) < 256 << 10


def test_a_frame_full_of_empty_lists_in_place_of_rows_is_refused_and_never_built():
    head = msgpack.packb({"v": 1, "kind": "HISTORYBACK", "more": False})
    frame = bytes([head[0] + 1]) + head[1:] + msgpack.packb("rows") + empty_lists(1_000_000)
    decoder = Decoder(m.ToWorker)

    def refuse():
        with pytest.raises(BadMessage, match=r"rows\[0\]|rows\[\.\.\.\]"):
            decoder.decode(frame)

    assert peak_bytes(refuse) < 256 << 10


def test_a_message_of_just_the_limit_passes_both_ways():
    room = BODY_BYTES - len(encode(m.Renamed(name="x" * 100_000))) + 100_000
    frame = encode(m.Renamed(name="x" * room))

    assert len(frame) == BODY_BYTES
    assert Decoder(m.ToWorker).decode(frame).name == "x" * room


def test_a_message_one_byte_over_the_limit_is_not_sent():
    room = BODY_BYTES - len(encode(m.Renamed(name="x" * 100_000))) + 100_000

    with pytest.raises(BadMessage, match=f"A Renamed of {BODY_BYTES + 1} bytes is over the limit of {BODY_BYTES}"):
        encode(m.Renamed(name="x" * (room + 1)))


def test_a_message_one_byte_over_the_limit_is_not_read():
    filler = BODY_BYTES + 1 - len(frame_with_raw("later", msgpack.packb(b"x" * 100_000))) + 100_000
    frame = frame_with_raw("later", msgpack.packb(b"x" * filler))

    assert len(frame) == BODY_BYTES + 1
    with pytest.raises(BadMessage, match=f"A message of {BODY_BYTES + 1} bytes is over the limit of {BODY_BYTES}"):
        CLIENT.decode(frame)


REPLY = {"session": "0" * 16, "epoch": 1, "seq": 1, "turn_id": "0" * 16, "stop_reason": "completed", "pieces": 1}
ROW = {"seq": 1, "role": "assistant", "turn_id": "0" * 16, "stop_reason": "completed", "at": 1.0}
LARGEST = [
    m.Submit(request=1, session="s" * 64, idem="0" * 16, text="x" * limits.PROMPT_BYTES, follow=True),
    m.Create(
        request=1,
        id="0" * 16,
        name="n" * 64,
        type="development",
        model="m" * 64,
        system="x" * limits.SYSTEM_BYTES,
        cwd="x" * limits.CWD_BYTES,
        env={"KEY": "x" * limits.ENV_BYTES},
    ),
    m.Reply(**REPLY, text="x" * limits.REPLY_BYTES, usage=Usage()),
    m.Delta(session="0" * 16, epoch=1, seq=1, turn_id="0" * 16, n=1, text="x" * limits.PIECE_BYTES),
    m.HistoryBack(rows=[HistoryRow(**ROW, text="x" * limits.REPLY_BYTES)], more=True),
]


@pytest.mark.parametrize("message", LARGEST, ids=lambda message: type(message).__name__)
def test_the_largest_of_each_kind_can_be_sent_and_all_but_replies_travel_whole(message):
    size = len(encode(message))

    assert size < BODY_BYTES
    assert size <= limits.WHOLE_BYTES or isinstance(message, (m.Reply, m.HistoryBack))


# ---- the number that a refusal carries


@pytest.mark.parametrize(
    "frame",
    [FRAME, frame_with(kind="LATER"), frame_with(v=2), frame_with(session=5)],
    ids=["good", "kind", "v", "form"],
)
def test_a_refusal_finds_the_request_that_it_answers(frame):
    assert request_of(frame) == 7


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        FRAME[:-1],
        encode(m.ClientBye()),
        frame_with(request="7"),
        frame_with(request=None),
        frame_with_raw("later", b"\x91" * 1_000_000 + b"\x90"),
        FRAME.replace(b"RENAME", b"\xff" * 6),
    ],
    ids=["empty", "garbage", "truncated", "no number", "text", "null", "a million brackets", "not utf-8"],
)
def test_a_frame_without_a_readable_number_has_none(frame):
    assert request_of(frame) is None


def test_the_number_of_an_oversized_frame_is_found_without_building_it():
    frame = frame_with_raw("later", empty_lists(8 << 20))

    assert request_of(frame) == 7
    assert peak_bytes(lambda: request_of(frame)) < 256 << 10
