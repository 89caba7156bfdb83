"""Random requests to a live server in each layout: every reply, and every cell afterwards, is what the oracle says."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldgate_core.modbus import File, Table
from fieldgate_server.app import App
from fieldgate_server.memory import MemoryUnit
from fieldgate_server.settings import ListenSettings, Settings
from fieldgate_server.unit_settings import FileSettings, TableSettings, UnitSettings
from fieldgate_server.units import Units
from support.counts import rounds
from support.oracle import Oracle, octets

pytestmark = pytest.mark.long

FILES = {1: 10, 4: 130, 65535: 3}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one unit's tables; where cells are shared, of those that have storage of their own."""

    layout: str
    holding: int
    coils: int = 0
    discrete: int = 0
    input: int = 0

    @property
    def ends(self) -> list[int]:
        """The sizes of its tables."""
        packed = 16 * min(self.holding, 4096) if self.layout == "overlaid" else 0
        return [size for size in (self.holding, self.coils, self.discrete, self.input, packed) if size]

    @property
    def edges(self) -> list[int]:
        """Addresses at which something begins or ends."""
        ends = {*self.ends, 4096, 65536}
        return sorted({at for end in ends for at in (end - 17, end - 1, end, end + 1) if 0 <= at <= 65535} | {0, 1})


SHAPES = {
    "separate": Shape("separate", 140, 2050, 30, 20),
    "unified": Shape("unified", 140, 2050),
    "overlaid": Shape("overlaid", 140),
    "overlaid, whole": Shape("overlaid", 65536),
}


def values(size: int, seed: int) -> list[int]:
    """Give registers of all kinds, every third one a count that a queue may have or may not."""
    return [at % 34 if at % 3 == 0 else (at * 40503 + seed) % 65536 for at in range(size)]


def bits(size: int, seed: int) -> list[int]:
    """Give bits without a period that a byte could hide."""
    return [(at * at + seed * at) // 7 % 2 for at in range(size)]


def oracle(shape: Shape) -> Oracle:
    holding, coils = values(shape.holding, 1), bits(shape.coils, 1)
    shared = shape.layout != "separate"
    return Oracle(
        holding,
        holding if shared else values(shape.input, 2),
        coils,
        coils if shared else bits(shape.discrete, 2),
        packed=shape.layout == "overlaid",
        files={number: values(records, number) for number, records in FILES.items()},
    )


def sizes(count: int) -> TableSettings | None:
    return TableSettings(count) if count else None


def unit(shape: Shape) -> MemoryUnit:
    return UnitSettings(
        layout=shape.layout,
        coils=sizes(shape.coils),
        discrete=sizes(shape.discrete),
        holding=sizes(shape.holding),
        input=sizes(shape.input),
        file=tuple(FileSettings(number, records) for number, records in FILES.items()),
    ).build()


def packed(some: list[int]) -> bytes:
    return sum(bit << at for at, bit in enumerate(some)).to_bytes((len(some) + 7) // 8, "little")


def contents(of: Oracle) -> dict[Table | File, tuple[int, bytes]]:
    """Give all that a unit stores, count and wire bytes."""
    tables: dict[Table | File, tuple[int, bytes]] = {
        Table.HOLDING: (len(of.holding), bytes(octets(of.holding))),
        Table.INPUT: (len(of.input), bytes(octets(of.input))),
    }
    if not of.packed:
        tables[Table.COILS] = len(of.coils), packed(of.coils)
        tables[Table.DISCRETE] = len(of.discrete), packed(of.discrete)
    return tables | {File(number): (len(some), bytes(octets(some))) for number, some in of.files.items()}


class Server:
    """A live server with one unit, and one connection to it for all examples."""

    def __init__(self, runner: asyncio.Runner, memory: MemoryUnit, reader: Any, writer: Any) -> None:
        self._runner = runner
        self._memory = memory
        self._reader = reader
        self._writer = writer

    def reset(self, start: Oracle) -> None:
        for space, (count, data) in contents(start).items():
            self._memory.put(space, 0, data, "the test", quantity=count)

    def stored(self, of: Oracle) -> dict[Table | File, tuple[int, bytes]]:
        found: dict[Table | File, tuple[int, bytes]] = {}
        for space in contents(of):
            table = self._memory._table(space)
            found[space] = table.size, table.read(0, table.size)
        return found

    def exchange(self, asked: list[bytes]) -> list[bytes]:
        """Send all frames in one segment, and give as many replies."""
        return self._runner.run(self._exchange(asked))

    async def _exchange(self, asked: list[bytes]) -> list[bytes]:
        self._writer.write(b"".join(asked))
        replies = []
        for _ in asked:
            head = await self._reader.readexactly(6)
            replies.append(head + await self._reader.readexactly(int.from_bytes(head[4:], "big")))
        return replies


@contextmanager
def serving(shape: Shape, loop: str) -> Iterator[Server]:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        memory = unit(shape)
        quick_start = Settings(listen=ListenSettings(port=0))
        app = App(quick_start, owner_rights=True, units=Units({1: memory}, default=1))
        running = app.running()
        runner.run(running.__aenter__())
        try:
            reader, writer = runner.run(_open(app.ports["modbus"]))
            try:
                yield Server(runner, memory, reader, writer)
            finally:
                runner.run(_close(writer))
        finally:
            runner.run(running.__aexit__(None, None, None))


async def _open(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


# what is asked

WORD = st.integers(0, 65535)
UNITS = st.sampled_from([1, 1, 1, 1, 1, 0, 255, 9])
NOT_SERVED = [0, 9, 10, 13, 14, 18, 19, 25, 40, 99, 127, 128, 131, 255]


def counts(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(1, 20), st.integers(1, most), st.sampled_from([1, most, most, 0, most + 1, 65535]))


@st.composite
def requests(draw: st.DrawFn, shape: Shape) -> bytes:
    """A request PDU: most are well-formed, and some of those are then cut, made longer, or given another byte."""
    function = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 20, 21, 22, 23, 24]))
    pdu = draw(MAKERS[function](shape))[:253]
    fate = draw(st.sampled_from(["as it is"] * 8 + ["cut", "longer", "another byte", "another function"]))
    if fate == "cut":
        pdu = pdu[: draw(st.integers(1, len(pdu)))]
    elif fate == "longer":
        pdu = (pdu + draw(st.binary(min_size=1, max_size=3)))[:253]
    elif fate == "another byte":
        at = draw(st.integers(1, len(pdu) - 1))
        pdu = pdu[:at] + draw(st.binary(min_size=1, max_size=1)) + pdu[at + 1 :]
    elif fate == "another function":
        pdu = bytes((draw(st.sampled_from(NOT_SERVED)),)) + pdu[1:]
    return pdu


def _address(draw: st.DrawFn, shape: Shape, count: int = 1) -> int:
    """An address: at an edge, so that the last cell is a table's last or the one after, within it, or anywhere."""
    how = draw(st.sampled_from(["edge", "last", "last", "one past", "within", "within", "anywhere"]))
    if how == "edge":
        return draw(st.sampled_from(shape.edges))
    if how == "anywhere":
        return draw(WORD)
    size = draw(st.sampled_from([*shape.ends, min(4096, *shape.ends)]))
    if how == "within":
        return draw(st.integers(0, size - 1))
    return max(0, size - count + (how == "one past")) % 65536


def _read(function: int, most: int) -> Callable[[Shape], st.SearchStrategy[bytes]]:
    @st.composite
    def make(draw: st.DrawFn, shape: Shape) -> bytes:
        count = draw(counts(most))
        return struct.pack(">BHH", function, _address(draw, shape, count), count)

    return make


@st.composite
def write_coil(draw: st.DrawFn, shape: Shape) -> bytes:
    value = draw(st.sampled_from([0xFF00, 0xFF00, 0, 1, 0xFFFF]))
    return struct.pack(">BHH", 5, _address(draw, shape), value)


@st.composite
def write_register(draw: st.DrawFn, shape: Shape) -> bytes:
    return struct.pack(">BHH", 6, _address(draw, shape), draw(st.one_of(st.integers(0, 33), WORD)))


@st.composite
def write_coils(draw: st.DrawFn, shape: Shape) -> bytes:
    count = draw(counts(1968))
    size = min((count + 7) // 8, 247)
    return struct.pack(">BHHB", 15, _address(draw, shape, count), count, size) + _data(draw, size)


@st.composite
def write_registers(draw: st.DrawFn, shape: Shape) -> bytes:
    count = draw(counts(123))
    size = min(2 * count, 246)
    return struct.pack(">BHHB", 16, _address(draw, shape, count), count, size) + _data(draw, size)


@st.composite
def mask_write(draw: st.DrawFn, shape: Shape) -> bytes:
    return struct.pack(">BHHH", 22, _address(draw, shape), draw(WORD), draw(WORD))


@st.composite
def write_and_read(draw: st.DrawFn, shape: Shape) -> bytes:
    reads, writes = draw(counts(125)), draw(counts(121))
    size = min(2 * writes, 242)
    head = struct.pack(">BHHH", 23, _address(draw, shape, reads), reads, _address(draw, shape, writes))
    return head + struct.pack(">HB", writes, size) + _data(draw, size)


@st.composite
def read_queue(draw: st.DrawFn, shape: Shape) -> bytes:
    return struct.pack(">BH", 24, _address(draw, shape))


@st.composite
def group(draw: st.DrawFn, most: int) -> tuple[bytes, int]:
    """One group of a file request, and its count of records."""
    file = draw(st.sampled_from([*FILES, 4, 4, 4, 4, 0, 2]))
    count = draw(st.one_of(st.integers(1, 4), st.integers(1, 20), counts(most)))
    records = FILES.get(file, 10)
    first = draw(st.sampled_from([0, 0, 1, *[max(0, records - count)] * 3, records - 1, records, 9999, 65535]))
    reference = draw(st.sampled_from([6] * 20 + [5, 0]))
    return struct.pack(">BHHH", reference, file, first, count), count


@st.composite
def read_files(draw: st.DrawFn, shape: Shape) -> bytes:
    body = b"".join(head for head, _ in draw(st.lists(group(124), min_size=1, max_size=4)))
    return bytes((20, len(body))) + body


@st.composite
def write_files(draw: st.DrawFn, shape: Shape) -> bytes:
    body = b""
    for head, count in draw(st.lists(group(30), min_size=1, max_size=4)):
        body += head + _data(draw, 2 * min(count, 122))
    body = body[:251]
    return bytes((21, len(body))) + body


def _data(draw: st.DrawFn, size: int) -> bytes:
    """Bytes that cost one draw, however many they are."""
    return draw(st.randoms(use_true_random=False)).randbytes(size) if size else b""


MAKERS: dict[int, Callable[[Shape], st.SearchStrategy[bytes]]] = {
    1: _read(1, 2000),
    2: _read(2, 2000),
    3: _read(3, 125),
    4: _read(4, 125),
    5: write_coil,
    6: write_register,
    15: write_coils,
    16: write_registers,
    20: read_files,
    21: write_files,
    22: mask_write,
    23: write_and_read,
    24: read_queue,
}


def expected(model: Oracle, unit_id: int, pdu: bytes) -> bytes:
    """Give the reply PDU: unit 9 is not there, which is said after a function that is not served."""
    if unit_id == 9 and pdu[0] in MAKERS:
        return bytes((pdu[0] | 0x80, 0x0A))
    return model.answer(pdu)


def frame(transaction: int, unit_id: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, 1 + len(pdu), unit_id) + pdu


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_live_server_answers_as_the_oracle_does(name: str, loop: str) -> None:
    shape = SHAPES[name]
    one = st.tuples(UNITS, requests(shape))
    several = st.lists(one, min_size=1, max_size=20)

    @settings(
        max_examples=rounds(25, 250),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(several | st.lists(one, min_size=20, max_size=80))
    def check(asked: list[tuple[int, bytes]]) -> None:
        model = oracle(shape)
        server.reset(model)
        wanted = [frame(at, to, expected(model, to, pdu)).hex(" ") for at, (to, pdu) in enumerate(asked)]
        got = server.exchange([frame(at, to, pdu) for at, (to, pdu) in enumerate(asked)])
        assert [reply.hex(" ") for reply in got] == wanted
        assert server.stored(model) == contents(model)

    with serving(shape, loop) as server:
        check()
