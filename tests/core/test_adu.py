"""Framing: any cutting of a stream gives the same frames; a violation ends it after the good ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_core.adu import Framer, reply

pdus = st.binary(min_size=1, max_size=253)
requests = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255), pdus)


def wire(transaction: int, unit: int, pdu: bytes) -> bytes:
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


@given(st.lists(requests, max_size=20), st.data())
def test_any_cutting_gives_the_same_frames_in_order(asked: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(wire(*request) for request in asked)
    framer = Framer()
    got = []
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        framer.feed(stream[position : position + size])
        position += size
        limit = data.draw(st.integers(1, 5))
        while frames := framer.take(limit):
            assert len(frames) <= limit
            got += frames
    assert [(int.from_bytes(head[:2], "big"), unit, pdu) for head, unit, pdu in got] == asked
    assert framer.violation is None


@given(requests)
def test_a_reply_repeats_head_and_unit(request: tuple[int, int, bytes]) -> None:
    framer = Framer()
    framer.feed(wire(*request))
    [(head, unit, pdu)] = framer.take(1)
    assert reply(head, unit, pdu) == wire(*request)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"\0\x09\0\x01\0\x06", "protocol id 1"),
        (b"\0\x09\x01\0\0\x06", "protocol id 256"),
        (b"\0\x09\0\0\0\0", "length 0"),
        (b"\0\x09\0\0\0\x01", "length 1"),
        (b"\0\x09\0\0\0\xff", "length 255"),
        (b"\0\x09\0\0\x01\x2c", "length 300"),
    ],
)
def test_a_violation_is_seen_at_once_and_nothing_after_it_is_read(bad: bytes, says: str) -> None:
    good = wire(1, 1, b"\x03\0\0\0\x01")
    framer = Framer()
    framer.feed(good + bad + good)
    assert len(framer.take(64)) == 1
    assert framer.violation is not None
    assert says in framer.violation
    framer.feed(good)
    assert framer.take(64) == []


@given(st.binary(max_size=600))
def test_no_bytes_make_it_fail_or_hold_more_than_one_frame(junk: bytes) -> None:
    framer = Framer()
    for byte in junk:
        framer.feed(bytes([byte]))
        framer.take(64)
    assert framer.violation is not None or len(framer._buffer) <= 260
