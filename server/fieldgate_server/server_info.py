"""What the Python API tells user code about a request: who asks, the frames, and the errors of reading them; pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fieldgate_core.modbus import MAX_LENGTH_FIELD, MBAP_HEADER, MIN_LENGTH_FIELD, exception_pdu

_HEADER = struct.Struct(">HHHB")


class Error(Exception):
    """Base of the errors of `ModbusServer`."""


class NetworkError(Error):
    """The server cannot listen; the text says where and why."""


class DataFormatError(Error):
    """Bytes or values do not make the frame that they are meant to be."""


@dataclass(slots=True)
class ClientInfo:
    """The client's end of a connection: IP address and port number."""

    address: str = ""
    port: int = 0


@dataclass(slots=True)
class MBAP:
    """The header of a Modbus/TCP frame (MODBUS Messaging on TCP/IP V1.0b, 3.1.3)."""

    transaction_id: int = 0
    protocol_id: int = 0
    length: int = 0
    unit_id: int = 0

    @property
    def raw(self) -> bytes:
        """The header's 7 bytes. Raises DataFormatError for a field out of its range, and on setting for bad bytes."""
        try:
            return _HEADER.pack(self.transaction_id, self.protocol_id, self.length, self.unit_id)
        except struct.error as error:
            raise DataFormatError(f"{self}: {error}") from None

    @raw.setter
    def raw(self, value: bytes) -> None:
        if len(value) != MBAP_HEADER:
            raise DataFormatError(f"a header has {MBAP_HEADER} bytes, not {len(value)}")
        transaction_id, protocol_id, length, unit_id = _HEADER.unpack(value)
        if protocol_id:
            raise DataFormatError(f"protocol id {protocol_id}, not 0")
        if not MIN_LENGTH_FIELD <= length <= MAX_LENGTH_FIELD:
            raise DataFormatError(f"length {length}, not {MIN_LENGTH_FIELD} to {MAX_LENGTH_FIELD}")
        self.transaction_id, self.protocol_id, self.length, self.unit_id = transaction_id, protocol_id, length, unit_id


@dataclass(slots=True)
class PDU:
    """A protocol data unit: `raw` holds the function code and what follows it."""

    raw: bytes = b""

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def func_code(self) -> int:
        """The function code, of an exception with its bit 7. Raises DataFormatError if the PDU is empty."""
        return self._byte(0)

    @property
    def is_except(self) -> bool:
        """True for an exception reply. Raises DataFormatError if the PDU is empty."""
        return self.func_code > 0x7F

    @property
    def except_code(self) -> int:
        """The exception code of an exception reply. Raises DataFormatError if there is none."""
        return self._byte(1)

    def _byte(self, index: int) -> int:
        if index >= len(self.raw):
            raise DataFormatError(f"a PDU of {len(self.raw)} bytes has no byte {index}")
        return self.raw[index]

    def clear(self) -> None:
        """Empty it."""
        self.raw = b""

    def build_except(self, func_code: int, exp_status: int) -> PDU:
        """Become the exception reply to a function, with an exception code; gives itself.

        Raises DataFormatError if one of them is no byte.
        """
        try:
            self.raw = exception_pdu(func_code, exp_status)
        except ValueError:
            raise DataFormatError(f"no exception reply: function {func_code}, code {exp_status}") from None
        return self

    def add_pack(self, fmt: str, *args: Any) -> None:
        """Append values in a format of the struct module. Raises DataFormatError if they don't fit it."""
        try:
            self.raw += struct.pack(fmt, *args)
        except struct.error as error:
            raise DataFormatError(f"values {args} in format {fmt}: {error}") from None

    def unpack(self, fmt: str, from_byte: int | None = None, to_byte: int | None = None) -> tuple[Any, ...]:
        """Read values in a format of the struct module. Raises DataFormatError if the bytes don't fit it."""
        try:
            return struct.unpack(fmt, self.raw[from_byte:to_byte])
        except struct.error as error:
            raise DataFormatError(f"bytes {from_byte} to {to_byte} in format {fmt}: {error}") from None


@dataclass(slots=True)
class Frame:
    """A header and its PDU."""

    mbap: MBAP = field(default_factory=MBAP)
    pdu: PDU = field(default_factory=PDU)

    @property
    def raw(self) -> bytes:
        """The frame's bytes; brings the header's length up to date. Raises DataFormatError as `MBAP.raw` does."""
        self.mbap.length = 1 + len(self.pdu)
        return self.mbap.raw + self.pdu.raw


@dataclass(slots=True, eq=False)
class ServerInfo(Mapping[str, Any]):
    """What is known of a request: read it by attribute, or as a mapping by the attribute's name (`.get()` too).

    `host` and `port` are where the server listens; `identity`, `role` and `door` are who is asking, as the trail
    writes it ("unix:1000", "owner", "loopback").
    """

    host: str = ""
    port: int = 0
    client: ClientInfo = field(default_factory=ClientInfo)
    recv_frame: Frame = field(default_factory=Frame)
    identity: str = ""
    role: str = ""
    door: str = ""

    @property
    def client_addr(self) -> str:
        """The client's IP address."""
        return self.client.address

    @property
    def client_port(self) -> int:
        """The client's port number."""
        return self.client.port

    @property
    def unit_id(self) -> int:
        """The unit identifier, as it was asked."""
        return self.recv_frame.mbap.unit_id

    @property
    def transaction_id(self) -> int:
        """The transaction identifier of the request."""
        return self.recv_frame.mbap.transaction_id

    def __getitem__(self, key: str) -> Any:
        if key not in _NAMES:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = (
    "host", "port", "client", "client_addr", "client_port", "recv_frame", "unit_id", "transaction_id",
    "identity", "role", "door",
)  # fmt: skip


@dataclass(slots=True)
class SessionData:
    """What an external engine works on: it reads `request` and fills `response.pdu`."""

    srv_info: ServerInfo = field(default_factory=ServerInfo)
    response: Frame = field(default_factory=Frame)

    @property
    def request(self) -> Frame:
        """The request's frame."""
        return self.srv_info.recv_frame

    @property
    def client(self) -> ClientInfo:
        """The client's end of the connection."""
        return self.srv_info.client

    @property
    def client_addr(self) -> str:
        """The client's IP address."""
        return self.srv_info.client_addr

    @property
    def unit_id(self) -> int:
        """The unit identifier, as it was asked."""
        return self.srv_info.unit_id

    @property
    def transaction_id(self) -> int:
        """The transaction identifier of the request."""
        return self.srv_info.transaction_id
