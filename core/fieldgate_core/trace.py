"""The text of one Modbus/TCP frame: its bytes in hex and its fields by name, for any bytes whatever; pure.

The fields' names are those that Wireshark shows; addresses are those of the wire, and count from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, cycle
from typing import NamedTuple

from fieldgate_core.logs import printable
from fieldgate_core.modbus import MAX_LENGTH_FIELD, MBAP_HEADER, MIN_LENGTH_FIELD, exception_meaning

Values = dict[str, int]
"""The numbers of the fields read so far, by the fields' names; of a reply also those of its request."""
Show = Callable[[str, bytes, Values], list[str]]
"""Gives the lines of a field from its name, its bytes and the numbers read so far."""


def text(frame: bytes, *, reply: bool, request: bytes = b"", peer: str = "") -> str:
    """Write a frame as a line in hex and a line for each field, without a newline at its end. Never raises.

    `request` is the frame that a reply answers: it tells the addresses of a reply's values, and is left aside if
    transaction or function are others. `peer` stands before the direction. A field that is cut short and what no
    field accounts for are shown as "Data".
    """
    who = f"{printable(peer)} " if peer else ""
    title = f"{who}{'reply' if reply else 'request'}: {frame.hex(' ')}"
    values: Values = {}
    if reply and (request[:2], request[7:8]) == (frame[:2], frame[7:8]):
        _read(request, reply=False, values=values)
    return "\n".join((title, *(f"  {line}" for line in _read(frame, reply=reply, values=values))))


class Tracer:
    """Shows the frames of one connection as text: requests, which come whole, and replies, which come cut anywhere."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._asked: dict[bytes, bytes] = {}
        self._buffer = b""

    def request(self, frame: bytes) -> None:
        """Show a request; the reply to its transaction is read in its light."""
        self._asked[frame[:2]] = frame
        self._show(text(frame, reply=False))

    def received(self, data: bytes) -> None:
        """Show the replies that are whole with these bytes; what cannot become one is shown as it is, at once."""
        self._buffer += data
        while len(self._buffer) >= MBAP_HEADER - 1:
            length = int.from_bytes(self._buffer[4:6])
            size = MBAP_HEADER - 1 + length
            if any(self._buffer[2:4]) or not MIN_LENGTH_FIELD <= length <= MAX_LENGTH_FIELD:
                size = len(self._buffer)
            if size > len(self._buffer):
                break
            self._take(size)

    def ended(self) -> None:
        """Show the bytes of a reply that never became whole."""
        if self._buffer:
            self._take(len(self._buffer))

    def _take(self, size: int) -> None:
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        self._show(text(frame, reply=True, request=self._asked.pop(frame[:2], b"")))


def _read(frame: bytes, *, reply: bool, values: Values) -> list[str]:
    """Give the lines of a frame's fields, and put their numbers into `values`."""
    layout = _layout(frame[MBAP_HEADER:], reply=reply)
    lines: list[str] = []
    rest = frame
    for field in chain(_HEADER, (_ANSWERED if reply else _ASKED,), layout.once, cycle(layout.each)):
        size = field.size + (field.times * values[field.of] if field.of else 0)
        if not 0 <= size <= len(rest):
            break
        raw, rest = rest[:size], rest[size:]
        values[field.name] = int.from_bytes(raw)
        lines += field.show(field.name, raw, values) if raw else []
    return lines + (_hex("Data", rest, values) if rest else [])


# how a field is shown


def _line(name: str, shown: object, raw: bytes) -> str:
    return f"{name}: {shown} ({raw.hex(' ')})"


def _hex(name: str, raw: bytes, _values: Values) -> list[str]:
    return [_line(name, raw.hex(), raw)]


def _decimal(name: str, raw: bytes, _values: Values) -> list[str]:
    return [_line(name, int.from_bytes(raw), raw)]


def _text(name: str, raw: bytes, _values: Values) -> list[str]:
    return [_line(name, printable(raw.decode("latin-1")), raw)]


def _named(meaning: Callable[[int], str]) -> Show:
    return lambda name, raw, _: [_line(name, f"{meaning(raw[0])} ({raw[0]})", raw)]


def _coil(name: str, raw: bytes, _values: Values) -> list[str]:
    parts = zip(("Data", "Padding"), (raw[:1], raw[1:]), strict=True)
    return [_line(name, raw.hex(), raw), *(_line(f"  {part}", f"0x{byte.hex()}", byte) for part, byte in parts)]


def _bit_values(name: str, raw: bytes, values: Values) -> list[str]:
    """Show bytes of bits, and below them each bit with its address, where addresses are known."""
    lines = [_line(name, raw.hex(), raw)]
    start, count = values.get(_START, 0), min(values.get(_BITS, 0), 8 * len(raw))
    for at in range(0, count, 8):
        bits = [raw[at // 8] >> place & 1 for place in range(min(8, count - at))]
        last = start + at + len(bits) - 1
        where = f"Bit {last}" if len(bits) == 1 else f"Bits {start + at}-{last}"
        lines.append(f"  {where}: {' '.join(map(str, bits))}")
    return lines


def _registers(start: str) -> Show:
    """Show a line for each register, with its address if the field `start` tells the first one's."""

    def show(name: str, raw: bytes, values: Values) -> list[str]:
        lines = []
        for place in range(len(raw) // 2):
            where = f"{name} {values[start] + place}" if start in values else name
            lines += _decimal(where, raw[2 * place : 2 * place + 2], values)
        return lines + (_hex("Data", raw[-1:], values) if len(raw) % 2 else [])

    return show


def _asked(code: int) -> str:
    return _FUNCTIONS[code].name if code in _FUNCTIONS else "Unknown"


def _answered(code: int) -> str:
    return f"{_asked(code & 0x7F)}, exception" if code & 0x80 else _asked(code)


class Field(NamedTuple):
    """A field of `size` bytes, and `times` the number that the field `of` holds; and how it is shown."""

    name: str
    size: int = 2
    show: Show = _decimal
    of: str = ""
    times: int = 1


class Layout(NamedTuple):
    """The fields of a PDU after its function code: those that come once, then those that repeat to its end."""

    once: tuple[Field, ...] = ()
    each: tuple[Field, ...] = ()


class Function(NamedTuple):
    """A function's name, and the layouts of its request and its reply."""

    name: str
    request: Layout
    reply: Layout


def _layout(pdu: bytes, *, reply: bool) -> Layout:
    code = pdu[0] if pdu else 0
    if reply and code & 0x80:
        return _EXCEPTION
    if code not in _FUNCTIONS:
        return _NONE
    if code == _ENCAPSULATED and pdu[1:2] != _READ_IDENTIFICATION:
        return Layout((_MEI,))
    return _FUNCTIONS[code].reply if reply else _FUNCTIONS[code].request


_START, _READ_START, _WRITE_START = "Reference Number", "Read Reference Number", "Write Reference Number"
_BYTES, _BITS, _WORDS = "Byte Count", "Bit Count", "Word Count"
_ENCAPSULATED = 43
_READ_IDENTIFICATION = b"\x0e"
_MEI_TYPES = {13: "CANopen General Reference", 14: "Read Device Identification"}

_HEADER = (
    Field("Transaction Identifier"),
    Field("Protocol Identifier"),
    Field("Length"),
    Field("Unit Identifier", 1),
)
_ASKED = Field("Function Code", 1, _named(_asked))
_ANSWERED = Field("Function Code", 1, _named(_answered))
_BYTE_COUNT = Field(_BYTES, 1)
_DATA = Field("Data", 0, _bit_values, of=_BYTES)
_REGISTERS = Field("Register", 0, _registers(_START), of=_BYTES)
_REGISTERS_READ = Field("Register", 0, _registers(_READ_START), of=_BYTES)
_REGISTERS_WRITTEN = Field("Register", 0, _registers(_WRITE_START), of=_BYTES)
_QUEUE = Field("Register", 0, _registers(""), of="FIFO Count", times=2)
_STATUS = (Field("Status", 2, _hex), Field("Event Count"))
_EVENTS = (Field("Message Count"), Field("Events", -6, _hex, of=_BYTES))
_RECORD = (Field("Reference Type", 1), Field("File Number"), Field("Record Number"), Field("Record Length"))
_RECORD_DATA = Field("Record Data", 0, _hex, of="Record Length", times=2)
_RESPONSE = (
    Field("File Response Length", 1),
    Field("Reference Type", 1),
    Field("Record Data", -1, _hex, of="File Response Length"),
)
_MEI = Field("MEI Type", 1, _named(lambda kind: _MEI_TYPES.get(kind, "Unknown")))
_DEVICE = (_MEI, Field("Read Device ID Code", 1))
_LEVEL = (Field("Conformity Level", 1, _hex), Field("More Follows", 1))
_OBJECTS = (Field("Next Object ID", 1), Field("Number of Objects", 1))
_OBJECT = (Field("Object ID", 1), Field("Object Length", 1), Field("Object Value", 0, _text, of="Object Length"))

_NONE = Layout()
_EXCEPTION = Layout((Field("Exception Code", 1, _named(exception_meaning)),))
_SOME_BITS = Layout((Field(_START), Field(_BITS)))
_BIT_DATA = Layout((_BYTE_COUNT, _DATA))
_SOME_WORDS = Layout((Field(_START), Field(_WORDS)))
_WORD_DATA = Layout((_BYTE_COUNT, _REGISTERS))
_ONE_COIL = Layout((Field(_START), Field("Data", 2, _coil)))
_ONE_REGISTER = Layout((Field(_START), Field("Register", 2, _registers(_START))))
_DIAGNOSTIC = Layout((Field("Diagnostic Code"),))
_FILE_WRITE = Layout((_BYTE_COUNT,), (*_RECORD, _RECORD_DATA))
_MASKS = Layout((Field(_START), Field("AND Mask", 2, _hex), Field("OR Mask", 2, _hex)))
_READ_WRITE = (Field(_READ_START), Field("Read Word Count"), Field(_WRITE_START), Field("Write Word Count"))

# V1.1b3, section 6; what a layout leaves over is "Data"
_FUNCTIONS = {
    1: Function("Read Coil", _SOME_BITS, _BIT_DATA),
    2: Function("Read Discrete Inputs", _SOME_BITS, _BIT_DATA),
    3: Function("Read Holding Registers", _SOME_WORDS, _WORD_DATA),
    4: Function("Read Input Registers", _SOME_WORDS, _WORD_DATA),
    5: Function("Write Single Coil", _ONE_COIL, _ONE_COIL),
    6: Function("Write Single Register", _ONE_REGISTER, _ONE_REGISTER),
    7: Function("Read Exception Status", _NONE, Layout((Field("Exception Status", 1, _hex),))),
    8: Function("Diagnostics", _DIAGNOSTIC, _DIAGNOSTIC),
    11: Function("Get Comm Event Counter", _NONE, Layout(_STATUS)),
    12: Function("Get Comm Event Log", _NONE, Layout((_BYTE_COUNT, *_STATUS, *_EVENTS))),
    15: Function("Write Multiple Coils", Layout((*_SOME_BITS.once, _BYTE_COUNT, _DATA)), _SOME_BITS),
    16: Function("Write Multiple Registers", Layout((*_SOME_WORDS.once, _BYTE_COUNT, _REGISTERS)), _SOME_WORDS),
    17: Function("Report Server ID", _NONE, Layout((_BYTE_COUNT,))),
    20: Function("Read File Record", Layout((_BYTE_COUNT,), _RECORD), Layout((_BYTE_COUNT,), _RESPONSE)),
    21: Function("Write File Record", _FILE_WRITE, _FILE_WRITE),
    22: Function("Mask Write Register", _MASKS, _MASKS),
    23: Function(
        "Read/Write Multiple Registers",
        Layout((*_READ_WRITE, _BYTE_COUNT, _REGISTERS_WRITTEN)),
        Layout((_BYTE_COUNT, _REGISTERS_READ)),
    ),
    24: Function(
        "Read FIFO Queue",
        Layout((Field("FIFO Pointer Address"),)),
        Layout((Field(_BYTES), Field("FIFO Count"), _QUEUE)),
    ),
    43: Function(
        "Encapsulated Interface Transport",
        Layout((*_DEVICE, Field("Object ID", 1))),
        Layout((*_DEVICE, *_LEVEL, *_OBJECTS), _OBJECT),
    ),
}
