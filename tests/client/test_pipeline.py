"""Requests in flight together: every reply goes to its own request, in any order, cut anywhere, late or not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgate_client.pipeline import MismatchError, Pipeline, Reply
from support.counts import rounds

READ = bytes.fromhex("0300000001")


def answer(frame: bytes, pdu: bytes) -> bytes:
    """Frame a reply to a request's frame."""
    return frame[:4] + (len(pdu) + 1).to_bytes(2) + frame[6:7] + pdu


class Wanted(NamedTuple):
    """A request and its reply; `late` ones are forgotten before the reply comes."""

    unit: int
    request: bytes
    reply: bytes
    late: bool


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    request = draw(st.binary(min_size=1, max_size=253).map(lambda pdu: bytes((pdu[0] % 127 + 1,)) + pdu[1:]))
    good = st.binary(max_size=252).map(lambda rest: request[:1] + rest)
    refused = st.integers(0, 255).map(lambda code: bytes((request[0] | 0x80, code)))
    # a PDU of a reply has a function and something after it
    reply = draw((good | refused).filter(lambda pdu: len(pdu) >= 1))
    return Wanted(draw(st.integers(0, 255)), request, reply, draw(st.booleans()))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.long
@settings(max_examples=rounds(60, 5000), deadline=None)
@given(st.data(), st.lists(wanted(), max_size=20), st.lists(st.integers(0, 10**6), max_size=30))
def test_every_reply_goes_to_its_request_and_late_ones_go_nowhere(
    data: st.DataObject, asked: list[Wanted], places: list[int]
) -> None:
    pipeline = Pipeline()
    sent = [pipeline.ask(one.unit, one.request) for one in asked]
    assert len({number for number, _ in sent}) == len(asked)
    for (number, _), one in zip(sent, asked, strict=True):
        if one.late:
            pipeline.forget(number)
    order = data.draw(st.permutations(range(len(asked))))
    stream = b"".join(answer(sent[at][1], asked[at].reply) for at in order)
    given_out = [reply for piece in cut(stream, places) for reply in pipeline.received(piece)]
    assert given_out == [Reply(sent[at][0], asked[at].reply) for at in order if not asked[at].late]


@pytest.mark.long
@settings(max_examples=rounds(60, 5000), deadline=None)
@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_any_bytes_are_replies_or_a_mismatch_and_nothing_else(noise: bytes, places: list[int]) -> None:
    pipeline = Pipeline()
    number, _ = pipeline.ask(1, READ)
    try:
        replies = [reply for piece in cut(noise, places) for reply in pipeline.received(piece)]
    except MismatchError:
        return
    assert all(reply.transaction == number and reply.pdu[0] & 0x7F == 3 for reply in replies)


def test_a_frame_is_transaction_protocol_length_unit_and_pdu() -> None:
    number, frame = Pipeline().ask(7, READ)
    assert frame == number.to_bytes(2) + bytes.fromhex("0000 0006 07") + READ


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: b"\xff\xff" + frame[2:], "transaction 65535, which was not asked"),
        (lambda frame: frame[:6] + b"\x02" + frame[7:], "unit 2 answered a request to unit 1"),
        (lambda frame: frame[:7] + b"\x04" + frame[8:], "function 3 was answered by function 4"),
        (
            lambda frame: frame[:4] + b"\0\x03" + frame[6:7] + b"\x84\x02",
            "function 3 was answered by an exception of f",
        ),
        (lambda frame: frame[:7] + b"\x83" + frame[8:], "function 3 was answered by function 131"),
        (lambda frame: frame[:2] + b"\0\x01" + frame[4:], "no Modbus/TCP frame"),
        (lambda frame: frame[:4] + b"\0\x01" + frame[6:], "no Modbus/TCP frame"),
        (lambda frame: frame[:4] + b"\0\xff" + frame[6:], "no Modbus/TCP frame"),
    ],
)
def test_a_reply_that_answers_nothing_is_a_mismatch(change: Callable[[bytes], bytes], says: str) -> None:
    pipeline = Pipeline()
    first, good = pipeline.ask(1, READ)
    _, frame = pipeline.ask(1, READ)
    reply = bytes.fromhex("03020011")
    received = pipeline.received(answer(good, reply) + change(answer(frame, reply)))
    assert next(received) == Reply(first, reply)
    with pytest.raises(MismatchError, match=says):
        next(received)


def test_a_reply_that_comes_twice_is_a_mismatch() -> None:
    pipeline = Pipeline()
    _, frame = pipeline.ask(1, READ)
    reply = answer(frame, bytes.fromhex("03020011"))
    assert len(list(pipeline.received(reply))) == 1
    with pytest.raises(MismatchError):
        list(pipeline.received(reply))


def test_a_late_reply_of_another_function_is_a_mismatch_too() -> None:
    pipeline = Pipeline()
    number, frame = pipeline.ask(1, READ)
    pipeline.forget(number)
    with pytest.raises(MismatchError):
        list(pipeline.received(answer(frame, bytes.fromhex("04020011"))))


def test_an_identifier_is_not_used_again_while_its_reply_may_come() -> None:
    pipeline = Pipeline()
    number, frame = pipeline.ask(1, READ)
    pipeline.forget(number)
    reply = bytes.fromhex("03020011")
    for _ in range(0x10000 + 5):
        other, asked = pipeline.ask(1, READ)
        assert other != number
        assert len(list(pipeline.received(answer(asked, reply)))) == 1
    assert list(pipeline.received(answer(frame, reply))) == []
    assert number in {pipeline.ask(1, READ)[0] for _ in range(0x10000)}


def test_when_every_identifier_waits_no_more_is_asked() -> None:
    pipeline = Pipeline()
    for _ in range(0x10000):
        number, _ = pipeline.ask(1, READ)
        pipeline.forget(number)
    with pytest.raises(MismatchError, match="no transaction identifier is free"):
        pipeline.ask(1, READ)
    pipeline.withdraw(number)
    assert pipeline.ask(1, READ)[0] == number


@pytest.mark.parametrize("size", [0, 254])
def test_a_request_of_no_possible_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 253 bytes"):
        Pipeline().ask(1, bytes(size))
