"""The multiplexer: whoever asks sees their own replies and nobody else's, and learns each request's end once."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgate_core.adu import Framer, reply
from fieldgate_tunnel.mux import QUEUE, Answer, Failure, Mux, Request

READ, WRITE = b"\x03\0\0\0\x01", b"\x06\0\0\0\x07"
LATER = 100.0


class Client:
    """An asker that keeps what it was told, by the tag of the request."""

    def __init__(self) -> None:
        self.told: dict[bytes, bytes | Failure] = {}

    def answered(self, request: Request, answer: bytes | Failure) -> None:
        assert request.tag not in self.told
        self.told[request.tag] = answer

    def asks(self, mux: Mux, tag: int, pdu: bytes = READ, *, unit: int = 1, deadline: float = LATER) -> None:
        mux.ask(Request(self, tag.to_bytes(4, "big"), unit, pdu, deadline))


def tell(answers: list[Answer]) -> None:
    for request, answer in answers:
        assert request.asker is not None
        request.asker.answered(request, answer)


class Device:
    """The far end: takes frames in order, and answers each with a value that names its unit and address."""

    def __init__(self) -> None:
        self._framer = Framer()
        self.waiting: list[tuple[bytes, int, bytes]] = []
        self.seen: list[tuple[int, bytes]] = []

    def take(self, frames: list[bytes]) -> None:
        self._framer.feed(b"".join(frames))
        for frame in self._framer.take(10_000):
            self.waiting.append(frame)
            self.seen.append(frame[1:])

    def replies(self, count: int, *, turned: bool = False) -> bytes:
        now, self.waiting = self.waiting[:count], self.waiting[count:]
        return b"".join(reply(head, unit, self.value(unit, pdu)) for head, unit, pdu in (now[::-1] if turned else now))

    @staticmethod
    def value(unit: int, pdu: bytes) -> bytes:
        return bytes((pdu[0], 4, unit, *pdu[1:3], 0x55)) if pdu[0] == 3 else pdu


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(0, 200), st.booleans()),
        st.tuples(st.just("send")),
        st.tuples(st.just("reply"), st.integers(1, 5), st.booleans(), st.integers(1, 40)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("expire"), st.integers(0, 200)),
        st.tuples(st.just("lose"), st.booleans()),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(steps, st.integers(1, 8))
def test_every_client_sees_its_own_data_only_and_each_end_once(history: list[tuple[object, ...]], most: int) -> None:
    mux, device = Mux(most), Device()
    clients = [Client() for _ in range(4)]
    gone: set[int] = set()
    asked: dict[int, dict[bytes, Request]] = defaultdict(dict)
    sent: Counter[bytes] = Counter()
    serial = 0
    mux.connected()
    for step in history:
        match step:
            case ("ask", int(who), int(deadline), bool(writes)):
                if who in gone or mux.room(clients[who]) == 0:
                    continue
                # an address that no other request has, so that a reply tells whose it is
                serial += 1
                pdu = bytes((6 if writes else 3, *serial.to_bytes(2, "big"), 0, 1))
                request = Request(clients[who], serial.to_bytes(4, "big"), who + 1, pdu, float(deadline))
                asked[who][request.tag] = request
                mux.ask(request)
            case ("send",):
                frames = mux.to_send(0.0)
                device.take(frames)
                sent.update(frame[7:] for frame in frames)
            case ("reply", int(count), bool(turned), int(cut)):
                data = device.replies(count, turned=turned)
                for at in range(0, len(data), cut):
                    tell(mux.received(data[at : at + cut]))
            case ("leave", int(who)):
                mux.leave(clients[who])
                gone.add(who)
            case ("expire", int(now)):
                tell(mux.expire(float(now)))
            case ("lose", bool(keep)):
                tell(mux.lost(keep_reads=keep))
                mux.connected()
                device = Device()
    assert mux.fault is None
    assert max(sent.values(), default=0) <= 1, "nothing is sent twice"
    for who, client in enumerate(clients):
        for tag, answer in client.told.items():
            request = asked[who][tag]
            if isinstance(answer, bytes):
                assert answer == Device.value(who + 1, request.pdu)
            assert (sent[request.pdu] == 1) is (answer is not Failure.NOT_SENT)
        if who not in gone:
            # what has not ended is still owed, no more and no less
            assert len(client.told) + QUEUE - mux.room(client) == len(asked[who])


def test_askers_take_turns_and_keep_their_order() -> None:
    mux, device, one, two = Mux(100), Device(), Client(), Client()
    for number in range(4):
        one.asks(mux, number, bytes((3, 0, number, 0, 1)), unit=1)
    two.asks(mux, 9, unit=2)
    device.take(mux.to_send(0.0))
    assert [unit for unit, _ in device.seen] == [1, 2, 1, 1, 1]
    assert [pdu[2] for unit, pdu in device.seen if unit == 1] == [0, 1, 2, 3]


def test_no_more_than_its_bound_is_on_the_way_but_for_a_probe() -> None:
    mux, client, prober = Mux(2), Client(), Client()
    for number in range(5):
        client.asks(mux, number)
    assert len(mux.to_send(0.0)) == 2
    assert mux.to_send(0.0) == []
    prober.asks(mux, 0)
    assert len(mux.to_send(0.0, prober)) == 1
    assert mux.room(client) == QUEUE - 5


def test_a_late_reply_is_discarded_and_its_id_is_not_used_again_meanwhile() -> None:
    mux, device, client = Mux(), Device(), Client()
    client.asks(mux, 1, WRITE, deadline=1.0)
    device.take(mux.to_send(0.0))
    tell(mux.expire(2.0))
    assert client.told == {b"\0\0\0\1": Failure.NO_REPLY}
    mux._next = 0
    client.asks(mux, 2)
    device.take(mux.to_send(2.0))
    assert {head[:2] for head, _, _ in device.waiting} == {b"\0\0", b"\0\1"}
    assert mux.received(device.replies(1)) == []
    assert mux.discarded == 1
    tell(mux.received(device.replies(1)))
    assert client.told[b"\0\0\0\2"] == Device.value(1, READ)


def test_ids_of_requests_without_replies_are_remembered_within_bounds() -> None:
    mux, client = Mux(), Client()
    for number in range(70_000):
        client.asks(mux, number, deadline=1.0)
        assert len(mux.to_send(0.0)) == 1
        tell(mux.expire(1.0))
    assert len(mux._abandoned) == 4096


@pytest.mark.parametrize(
    "bad",
    [
        b"\0\0\0\1\0\5\1\3\2\0\0",  # protocol id 1
        b"\0\0\0\0\0\0",  # length 0
        b"\0\0\0\0\0\5\2\3\2\0\0",  # another unit
        b"\0\0\0\0\0\5\1\4\2\0\0",  # another function
        b"\0\0\0\0\0\4\1\x83\2\2",  # an exception that is longer than one
    ],
)
def test_what_is_no_reply_to_its_request_is_a_fault_and_ends_the_reading(bad: bytes) -> None:
    mux, client = Mux(), Client()
    client.asks(mux, 1)
    client.asks(mux, 2)
    [_, _] = mux.to_send(0.0)
    good = reply(b"\0\1\0\0", 1, b"\3\2\0\0")
    assert mux.received(bad + good) == []
    assert mux.fault is not None
    assert mux.received(good) == []
    tell(mux.lost(keep_reads=True))
    assert set(client.told.values()) == {Failure.NO_REPLY}


def test_an_exception_that_has_lost_its_function_gets_it_back() -> None:
    mux, client = Mux(), Client()
    client.asks(mux, 1)
    mux.to_send(0.0)
    tell(mux.received(reply(b"\0\0\0\0", 1, b"\x80\1")))
    assert client.told == {b"\0\0\0\1": b"\x83\1"}


def test_a_loss_refuses_writes_that_wait_and_keeps_reads_where_asked() -> None:
    mux, client = Mux(1), Client()
    client.asks(mux, 1, WRITE)
    client.asks(mux, 2, WRITE)
    client.asks(mux, 3, READ)
    mux.to_send(0.0)
    assert mux.unknown_writes == 1
    tell(mux.lost(keep_reads=True))
    assert client.told == {b"\0\0\0\1": Failure.NO_REPLY, b"\0\0\0\2": Failure.NOT_SENT}
    tell(mux.lost(keep_reads=False))
    assert client.told[b"\0\0\0\3"] is Failure.NOT_SENT
    assert mux.room(client) == QUEUE


def test_who_has_left_still_counts_for_the_writes_whose_outcome_nobody_knows() -> None:
    mux, client = Mux(), Client()
    client.asks(mux, 1, WRITE)
    mux.to_send(0.0)
    mux.leave(client)
    assert mux.unknown_writes == 1
    assert mux.lost(keep_reads=False) == []


def test_who_leaves_and_comes_again_is_told_nothing_of_before() -> None:
    mux, device, client = Mux(), Device(), Client()
    client.asks(mux, 1)
    device.take(mux.to_send(0.0))
    mux.leave(client)
    client.asks(mux, 2, bytes.fromhex("0300070001"))
    device.take(mux.to_send(0.0))
    tell(mux.received(device.replies(2)))
    assert client.told == {b"\0\0\0\2": Device.value(1, bytes.fromhex("0300070001"))}
    assert mux.room(client) == QUEUE


def test_nothing_is_sent_after_its_deadline_though_nobody_has_ended_it_yet() -> None:
    mux, device, client, gone = Mux(), Device(), Client(), Client()
    client.asks(mux, 1, WRITE, deadline=5.0)
    client.asks(mux, 2, WRITE, deadline=6.0)
    gone.asks(mux, 3, WRITE, deadline=5.0)
    device.take(mux.to_send(5.0))
    assert device.seen == [(1, WRITE)]
    assert mux.next_deadline == 5.0
    mux.leave(gone)
    tell(mux.expire(5.0))
    assert client.told == {b"\0\0\0\1": Failure.NOT_SENT}
    assert gone.told == {}
    tell(mux.received(device.replies(1)))
    assert client.told[b"\0\0\0\2"] == WRITE
    assert mux.room(client) == QUEUE


def test_what_was_too_late_to_be_sent_is_told_so_also_when_the_connection_is_lost() -> None:
    mux, client = Mux(), Client()
    client.asks(mux, 1, WRITE, deadline=5.0)
    assert mux.to_send(6.0) == []
    tell(mux.lost(keep_reads=True))
    assert client.told == {b"\0\0\0\1": Failure.NOT_SENT}
