"""The values of the Python API: four tables that any thread may read and set, and what is called when they change."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import TypeVar

from fieldgate_core.modbus import ADDRESSES
from fieldgate_server.changes import runs
from fieldgate_server.server_info import ServerInfo
from fieldgate_server.tables import BitTable, RegisterTable

log = logging.getLogger("fieldgate.api")

_Value = TypeVar("_Value", bool, int)

_BITS = [tuple(bool(byte >> place & 1) for place in range(8)) for byte in range(256)]


@dataclass(frozen=True, slots=True)
class Tables:
    """The four tables in wire order. `lock` is held for every access, and never for longer than that."""

    coils: BitTable
    discrete: BitTable
    holding: RegisterTable
    input: RegisterTable
    lock: Lock = field(default_factory=Lock)


_NO_TABLES = Tables(BitTable(0, b""), BitTable(0, b""), RegisterTable(b""), RegisterTable(b""))


class DataBank:
    """Coils, discrete inputs, holding and input registers, by address from 0.

    Every method may be called from any thread; a set of several cells is seen whole or not at all. A get gives None
    and a set False if a cell is not there: an address below 0, no cell at all, or one beyond the table.
    """

    _tables = _NO_TABLES
    """What a subclass has that gets and sets by other means, and does not call `super().__init__()`."""

    def __init__(  # noqa: PLR0913
        self,
        coils_size: int = 0x10000,
        coils_default_value: bool = False,
        d_inputs_size: int = 0x10000,
        d_inputs_default_value: bool = False,
        h_regs_size: int = 0x10000,
        h_regs_default_value: int = 0,
        i_regs_size: int = 0x10000,
        i_regs_default_value: int = 0,
        virtual_mode: bool = False,
    ) -> None:
        """Make the tables; with `virtual_mode` they are empty, for a subclass that gets and sets by other means.

        Raises ValueError for a size outside 0 to 65536 or a register outside 0 to 65535.
        """
        sizes = coils_size, d_inputs_size, h_regs_size, i_regs_size
        for size in sizes:
            if not 0 <= size <= ADDRESSES:
                raise ValueError(f"a table has 0 to {ADDRESSES} cells, not {size}")
        coils, d_inputs, h_regs, i_regs = (0, 0, 0, 0) if virtual_mode else sizes
        self._tables = Tables(
            _bit_table(coils, coils_default_value),
            _bit_table(d_inputs, d_inputs_default_value),
            _register_table(h_regs, h_regs_default_value),
            _register_table(i_regs, i_regs_default_value),
        )

    def get_coils(self, address: int, number: int = 1, srv_info: ServerInfo | None = None) -> list[bool] | None:
        """Give `number` coils from `address`. `srv_info` is the request's, if one asks."""
        return self._bits(self._tables.coils, address, number)

    def set_coils(self, address: int, bit_list: Sequence[int], srv_info: ServerInfo | None = None) -> bool:
        """Set coils from `address`, each to the truth of its value.

        With `srv_info`, so when a request does it, `on_coils_change` follows.
        """
        new = [bool(value) for value in bit_list]
        old = self._set(self._tables.coils, address, len(new), pack_bits(new))
        if old is not None and srv_info is not None:
            _tell(self.on_coils_change, address, unpack_bits(old, len(new)), new, srv_info)
        return old is not None

    def get_discrete_inputs(
        self, address: int, number: int = 1, srv_info: ServerInfo | None = None
    ) -> list[bool] | None:
        """Give `number` discrete inputs from `address`. `srv_info` is the request's, if one asks."""
        return self._bits(self._tables.discrete, address, number)

    def set_discrete_inputs(self, address: int, bit_list: Sequence[int]) -> bool:
        """Set discrete inputs from `address`, each to the truth of its value."""
        new = list(bit_list)
        return self._set(self._tables.discrete, address, len(new), pack_bits(new)) is not None

    def get_holding_registers(
        self, address: int, number: int = 1, srv_info: ServerInfo | None = None
    ) -> list[int] | None:
        """Give `number` holding registers from `address`. `srv_info` is the request's, if one asks."""
        return self._words(self._tables.holding, address, number)

    def set_holding_registers(self, address: int, word_list: Sequence[int], srv_info: ServerInfo | None = None) -> bool:
        """Set holding registers from `address`; False too, and nothing set, if a value is no integer of 0 to 65535.

        With `srv_info`, so when a request does it, `on_holding_registers_change` follows.
        """
        new = list(word_list)
        old = self._set(self._tables.holding, address, len(new), pack_words(new))
        if old is not None and srv_info is not None:
            _tell(self.on_holding_registers_change, address, unpack_words(old), new, srv_info)
        return old is not None

    def get_input_registers(
        self, address: int, number: int = 1, srv_info: ServerInfo | None = None
    ) -> list[int] | None:
        """Give `number` input registers from `address`. `srv_info` is the request's, if one asks."""
        return self._words(self._tables.input, address, number)

    def set_input_registers(self, address: int, word_list: Sequence[int]) -> bool:
        """Set input registers from `address`; False too, and nothing set, if a value is no integer of 0 to 65535."""
        new = list(word_list)
        return self._set(self._tables.input, address, len(new), pack_words(new)) is not None

    def on_coils_change(self, address: int, from_value: list[bool], to_value: list[bool], srv_info: ServerInfo) -> None:
        """To be overridden: a request has changed the coils from `address`, which had and have these values.

        Called after the update, once for each run of cells that all changed. What it raises is logged, and does not
        change the answer: the cells are set. To refuse a write, override `DataHandler.write_coils`.
        """

    def on_holding_registers_change(
        self, address: int, from_value: list[int], to_value: list[int], srv_info: ServerInfo
    ) -> None:
        """To be overridden: a request has changed the holding registers from `address`; as `on_coils_change`."""

    @staticmethod
    def get_bits(*_args: object, **_kwargs: object) -> None:
        """To be overridden by subclasses that have a use for it; the server does not call it."""

    @staticmethod
    def set_bits(*_args: object, **_kwargs: object) -> None:
        """To be overridden by subclasses that have a use for it; the server does not call it."""

    @staticmethod
    def get_words(*_args: object, **_kwargs: object) -> None:
        """To be overridden by subclasses that have a use for it; the server does not call it."""

    @staticmethod
    def set_words(*_args: object, **_kwargs: object) -> None:
        """To be overridden by subclasses that have a use for it; the server does not call it."""

    def _bits(self, table: BitTable, address: int, number: int) -> list[bool] | None:
        data = self._get(table, address, number)
        return None if data is None else unpack_bits(data, number)

    def _words(self, table: RegisterTable, address: int, number: int) -> list[int] | None:
        data = self._get(table, address, number)
        return None if data is None else unpack_words(data)

    def _get(self, table: BitTable | RegisterTable, address: int, number: int) -> bytes | None:
        with self._tables.lock:
            return table.read(address, number) if _within(table, address, number) else None

    def _set(self, table: BitTable | RegisterTable, address: int, number: int, data: bytes | None) -> bytes | None:
        """Set cells and give what they held; None if that can't be done."""
        if data is None or not _within(table, address, number):
            return None
        with self._tables.lock:
            old = table.read(address, number)
            table.write(address, number, data)
            return old


def pack_bits(values: Iterable[object]) -> bytes:
    """Pack truth values as on the wire, the first in the lowest bit."""
    text = "".join("1" if value else "0" for value in values)
    return int(text[::-1] or "0", 2).to_bytes((len(text) + 7) >> 3, "little")


def unpack_bits(data: bytes, count: int) -> list[bool]:
    """Read the first `count` bits of the wire's bytes."""
    return list(chain.from_iterable(map(_BITS.__getitem__, data)))[:count]


def pack_words(values: Sequence[int]) -> bytes | None:
    """Pack registers as on the wire; None if one is no integer of 0 to 65535."""
    try:
        return struct.pack(f">{len(values)}H", *values)
    except struct.error:
        return None


def unpack_words(data: bytes) -> list[int]:
    """Read registers from the wire's bytes."""
    return list(struct.unpack(f">{len(data) // 2}H", data))


def _bit_table(size: int, value: object) -> BitTable:
    return BitTable(size, (b"\xff" if value else b"\x00") * ((size + 7) >> 3))


def _register_table(size: int, value: int) -> RegisterTable:
    data = pack_words([value])
    if data is None:
        raise ValueError(f"a register is 0 to 65535, not {value!r}")
    return RegisterTable(data * size)


def _within(table: BitTable | RegisterTable, address: int, number: int) -> bool:
    return address >= 0 and number >= 1 and address + number <= table.size


def _tell(
    callback: Callable[[int, list[_Value], list[_Value], ServerInfo], None],
    address: int,
    old: list[_Value],
    new: list[_Value],
    srv_info: ServerInfo,
) -> None:
    for first, end in runs(old, new):
        try:
            callback(address + first, old[first:end], new[first:end], srv_info)
        except BaseException:  # the cells are set, whatever it raises
            log.exception("%r failed, after the update", callback)
