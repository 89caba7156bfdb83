"""The functions on file records: 20 and 21 (V1.1b3, 6.14 and 6.15); pure."""

from __future__ import annotations

from struct import Struct

from fieldgate_core.modbus import MAX_PDU, File, FunctionCode
from fieldgate_server.functions import Function, Group, Kind, Request, Storage
from fieldgate_server.layout import Cells

_HEAD = Struct(">BHHH")
"""Reference type, file number, record number, count of records."""
_REFERENCE = 6
_LEAST_READ, _MOST_READ = 0x07, 0xF5
_LEAST_WRITTEN, _MOST_WRITTEN = 0x09, 0xFB


def _group(head: tuple[int, int, int, int], data: bytes) -> Group:
    reference, file, record, count = head
    return Group(File(file), record, count, data, reference == _REFERENCE)


def _cells(request: Request) -> tuple[Cells, ...]:
    return tuple(Cells(group.file, group.start, group.quantity) for group in request.groups)


def _there(unit: Storage, request: Request) -> bool:
    for file, start, quantity, _, known in request.groups:
        records = unit.files.get(file)
        if not known or records is None or start + quantity > records.size:
            return False
    return True


class ReadFile(Function):
    """FC20: several runs of records in one reply."""

    def parse(self, pdu: bytes) -> Request | None:
        size = len(pdu) - 2
        if size < 0 or pdu[1] != size or size % _HEAD.size or not _LEAST_READ <= size <= _MOST_READ:
            return None
        groups = tuple(_group(head, b"") for head in _HEAD.iter_unpack(pdu[2:]))
        reply = sum(2 + 2 * group.quantity for group in groups)
        if reply > MAX_PDU - 2 or not all(group.quantity for group in groups):
            return None
        return Request(0, 0, 0, 0, b"", groups)

    def reading(self, unit: Storage, request: Request) -> tuple[Cells, ...]:
        return _cells(request)

    def there(self, unit: Storage, request: Request) -> bool:
        return _there(unit, request)

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        body = b""
        for file, start, quantity, _, _ in request.groups:
            data = unit.files[file].read(start, quantity)
            body += b"%c%c%b" % (1 + len(data), _REFERENCE, data)
        return b"%c%c%b" % (self.code, len(body), body)


class WriteFile(Function):
    """FC21: several runs of records, all of them or none."""

    def parse(self, pdu: bytes) -> Request | None:
        size = len(pdu) - 2
        if size < 0 or pdu[1] != size or not _LEAST_WRITTEN <= size <= _MOST_WRITTEN:
            return None
        groups = []
        at = 2
        while at < len(pdu):
            if at + _HEAD.size > len(pdu):
                return None
            head = _HEAD.unpack_from(pdu, at)
            at += _HEAD.size
            data = pdu[at : at + 2 * head[3]]
            at += 2 * head[3]
            if not data or at > len(pdu):
                return None
            groups.append(_group(head, data))
        return Request(0, 0, 0, 0, b"".join(group.data for group in groups), tuple(groups))

    def writing(self, request: Request) -> tuple[Cells, ...]:
        return _cells(request)

    def there(self, unit: Storage, request: Request) -> bool:
        return _there(unit, request)

    def held(self, unit: Storage, request: Request) -> bytes | None:
        return b"".join(unit.files[file].read(start, quantity) for file, start, quantity, _, _ in request.groups)

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        for file, start, quantity, data, _ in request.groups:
            unit.files[file].write(start, quantity, data)
        return pdu


FILES: tuple[Function, ...] = (
    ReadFile(FunctionCode.READ_FILE_RECORD, kind=Kind.READ),
    WriteFile(FunctionCode.WRITE_FILE_RECORD, kind=Kind.WRITE),
)
