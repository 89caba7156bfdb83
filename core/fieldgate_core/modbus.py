"""Names and limits of the Modbus application protocol (V1.1b3) and its TCP framing, as types and constants."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NewType

MAX_PDU = 253
"""Largest protocol data unit, function code included (V1.1b3, section 4.1)."""
MBAP_HEADER = 7
"""Bytes before the PDU in a TCP frame: transaction, protocol, length, unit."""
MIN_LENGTH_FIELD = 2
"""Unit identifier and a function code: the least that the length field may count."""
MAX_LENGTH_FIELD = 1 + MAX_PDU

MAX_READ_BITS = 2000
MAX_READ_REGISTERS = 125
MAX_WRITE_BITS = 1968
MAX_WRITE_REGISTERS = 123
MAX_READ_WRITE_READ = 125
MAX_READ_WRITE_WRITE = 121
MAX_FIFO = 31
"""Values in a queue that function 24 gives (V1.1b3, 6.18)."""
FILE_RECORDS = 10000
"""Records of one file: 0 to 9999 (V1.1b3, 6.14)."""
ADDRESSES = 65536
"""Addresses of one table: 0 to 65535."""

COIL_ON = 0xFF00
COIL_OFF = 0x0000

UnitId = NewType("UnitId", int)
"""A unit identifier, 0 to 255; 0 and 255 name the server's default unit."""

DEFAULT_UNIT_ALIASES = (0, 255)
MODBUS_PORT = 502


def unit_id(number: int) -> UnitId:
    """Check that a number is a unit identifier. Raises ValueError outside 0 to 255."""
    if not 0 <= number <= 255:
        raise ValueError(f"a unit identifier is 0 to 255, not {number}")
    return UnitId(number)


class FunctionCode(IntEnum):
    """Public function codes that fieldgate knows by name."""

    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    READ_EXCEPTION_STATUS = 7
    DIAGNOSTICS = 8
    GET_COMM_EVENT_COUNTER = 11
    GET_COMM_EVENT_LOG = 12
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16
    REPORT_SERVER_ID = 17
    READ_FILE_RECORD = 20
    WRITE_FILE_RECORD = 21
    MASK_WRITE_REGISTER = 22
    READ_WRITE_MULTIPLE_REGISTERS = 23
    READ_FIFO_QUEUE = 24
    ENCAPSULATED_INTERFACE = 43


WRITE_FUNCTIONS = frozenset({5, 6, 15, 16, 21, 22, 23})
"""Functions that change cells; none of them is ever sent twice."""


class ExceptionCode(IntEnum):
    """Exception codes (V1.1b3, section 7)."""

    ILLEGAL_FUNCTION = 0x01
    ILLEGAL_DATA_ADDRESS = 0x02
    ILLEGAL_DATA_VALUE = 0x03
    SERVER_DEVICE_FAILURE = 0x04
    ACKNOWLEDGE = 0x05
    SERVER_DEVICE_BUSY = 0x06
    NEGATIVE_ACKNOWLEDGE = 0x07
    MEMORY_PARITY_ERROR = 0x08
    GATEWAY_PATH_UNAVAILABLE = 0x0A
    GATEWAY_TARGET_FAILED = 0x0B


def exception_meaning(code: int) -> str:
    """Name an exception code in words, "illegal data address" for 2."""
    try:
        return ExceptionCode(code).name.replace("_", " ").lower()
    except ValueError:
        return "unknown exception"


def exception_pdu(function: int, code: int) -> bytes:
    """Build an exception reply: function with bit 7 set, then the code (V1.1b3, section 7)."""
    return bytes((function | 0x80, code))


class Table(StrEnum):
    """The four tables, by the word that policy, settings and commands use."""

    COILS = "coils"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def is_bits(self) -> bool:
        """True for the two tables of single bits."""
        return self in _BITS


_BITS = frozenset({Table.COILS, Table.DISCRETE})


class File(int):
    """A file number, 1 to 65535, of functions 20 and 21; its records are registers. Written "file 4"."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"file {int(self)}"


Space = Table | File
"""What cells are counted in: a table or a file."""


class AddressRange:
    """`count` addresses from `start`, all within 0 to 65535. Raises ValueError if they are not."""

    __slots__ = ("count", "start")

    def __init__(self, start: int, count: int) -> None:
        if not (0 <= start < ADDRESSES and 1 <= count <= ADDRESSES - start):
            raise ValueError(f"{count} addresses from {start} do not lie within 0 to 65535")
        self.start = start
        self.count = count

    @property
    def last(self) -> int:
        """The last address of the range."""
        return self.start + self.count - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddressRange) and (self.start, self.count) == (other.start, other.count)

    def __hash__(self) -> int:
        return hash((self.start, self.count))

    def __repr__(self) -> str:
        return f"AddressRange({self.start}, {self.count})"

    def __str__(self) -> str:
        return str(self.start) if self.count == 1 else f"{self.start}-{self.last}"
