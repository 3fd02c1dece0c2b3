"""Big bodies in parts: whole or not at all, a bounded window, bounded memory."""

import zlib
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.errors import BadMessage
from protocol.limits import BODY_BYTES, FRAME_BYTES, PART_BYTES, WHOLE_BYTES
from protocol.parts import INCOMING, STALL_S, WINDOW, Courier, is_part


def nowhere(frame: bytes) -> None:
    """Lose it."""


class Wire:
    """Two couriers and what is on the way between them."""

    def __init__(self) -> None:
        self.there: deque[bytes] = deque()
        self.back: deque[bytes] = deque()
        self.arrived: list[bytes] = []
        self.sender = Courier(self.there.append, self.arrived.append)
        self.receiver = Courier(self.back.append, self.arrived.append)

    def run(self, now_s: float = 0) -> None:
        while self.there or self.back:
            while self.there:
                frame = self.there.popleft()
                if is_part(frame):
                    self.receiver.receive(frame, now_s)
                else:
                    self.arrived.append(frame)
            while self.back:
                self.sender.receive(self.back.popleft(), now_s)


@given(st.lists(st.integers(0, 4 * PART_BYTES), max_size=4))
def test_every_body_arrives_whole_whatever_its_size(sizes):
    wire = Wire()
    bodies = [bytes([0x80 + n]) * size for n, size in enumerate(sizes)]
    for body in bodies:
        wire.sender.post(body, 0)
    wire.run()

    assert sorted(wire.arrived) == sorted(bodies)
    assert wire.sender.is_idle
    assert wire.receiver.is_idle


def test_a_message_up_to_the_bound_travels_as_it_is_and_one_above_in_parts_that_fit_a_frame():
    wire = Wire()
    wire.sender.post(b"x" * WHOLE_BYTES, 0)
    wire.sender.post(b"y" * (WHOLE_BYTES + 1), 0)

    assert wire.there[0] == b"x" * WHOLE_BYTES
    assert [is_part(frame) for frame in wire.there] == [False, True, True]
    assert max(map(len, wire.there)) < FRAME_BYTES


def test_messages_are_never_taken_for_parts():
    assert not is_part(encode(m.ClientBye()))
    assert not is_part(b"")
    assert is_part(encode(m.PartAck(transfer=1, n=0)))


def test_no_more_than_the_window_is_on_the_way_and_a_small_message_passes():
    wire = Wire()
    wire.sender.post(b"x" * (10 * PART_BYTES), 0)
    wire.sender.post(b"small", 0)

    assert len([frame for frame in wire.there if is_part(frame)]) == WINDOW
    assert wire.there[-1] == b"small"


def test_a_damaged_part_gives_up_its_transfer_and_the_next_one_works():
    wire = Wire()
    wire.sender.post(b"x" * (2 * PART_BYTES), 0)
    damaged = wire.there.popleft().replace(b"xxxx", b"xxyx", 1)

    with pytest.raises(BadMessage):
        wire.receiver.receive(damaged, 0)

    wire.there.clear()
    wire.sender.forget()
    wire.sender.post(b"z" * (2 * PART_BYTES), 0)
    wire.run()

    assert wire.arrived == [b"z" * (2 * PART_BYTES)]


def test_a_part_out_of_order_is_refused():
    wire = Wire()
    wire.sender.post(b"x" * (3 * PART_BYTES), 0)
    first, _, third = wire.there
    wire.receiver.receive(first, 0)

    with pytest.raises(BadMessage):
        wire.receiver.receive(third, 0)


def test_a_body_that_never_ends_is_given_up_at_the_bound():
    receiver = Courier(nowhere, nowhere)
    data = b"x" * PART_BYTES

    def send(n: int) -> None:
        receiver.receive(encode(m.Part(transfer=1, n=n, last=False, crc=zlib.crc32(data), data=data)), 0)

    for n in range(BODY_BYTES // PART_BYTES):
        send(n)
    with pytest.raises(BadMessage):
        send(BODY_BYTES // PART_BYTES)
    assert receiver.is_idle


def test_a_peer_holds_no_more_than_two_unfinished_bodies():
    delivered: list[bytes] = []
    receiver = Courier(nowhere, delivered.append)
    for transfer in range(INCOMING + 1):
        receiver.receive(encode(m.Part(transfer=transfer, n=0, last=False, crc=0x8CDC1683, data=b"x")), transfer)
    for transfer in range(INCOMING + 1):
        receiver.receive(encode(m.Part(transfer=transfer, n=1, last=True, crc=0x8CDC1683, data=b"x")), 10)

    assert delivered == [b"xx"] * INCOMING  # the oldest was given up


def test_what_stands_still_is_given_up():
    wire = Wire()
    wire.sender.post(b"x" * (9 * PART_BYTES), 0)
    wire.receiver.receive(wire.there[0], 0)
    for courier in (wire.sender, wire.receiver):
        courier.expire(STALL_S)
        assert not courier.is_idle
        courier.expire(STALL_S + 0.1)
        assert courier.is_idle


def test_garbage_in_the_place_of_a_part_is_refused():
    for garbage in (b"\x90", b"\x91\xa4PART", b"\x9f\xff\xff", encode(m.PartAck(transfer=1, n=0, v=1))[:-1]):
        with pytest.raises(BadMessage):
            Courier(nowhere, nowhere).receive(garbage, 0)


def test_an_ack_of_nothing_is_ignored():
    courier = Courier(nowhere, nowhere)
    courier.receive(encode(m.PartAck(transfer=5, n=3)), 0)

    assert courier.is_idle
    assert Decoder(m.Part | m.PartAck).decode(encode(m.PartAck(transfer=5, n=3))).n == 3
