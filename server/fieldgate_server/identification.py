"""The functions that say what a unit is: 17 and 43/14 (V1.1b3, 6.13 and 6.21); pure."""

from __future__ import annotations

from fieldgate_core.modbus import MAX_PDU, ExceptionCode, FunctionCode, exception_pdu
from fieldgate_server.diagnostics import NOTHING
from fieldgate_server.functions import Function, Kind, Request, Storage

READ_DEVICE_IDENTIFICATION = 14
VENDOR_NAME, PRODUCT_CODE, REVISION = 0, 1, 2
LONGEST_OBJECT = MAX_PDU - 9
"""Bytes of one object: it must fit into a reply with its head and its own id and length."""
_RUNNING = b"\xff"
_LAST = {1: 0x02, 2: 0x7F, 3: 0xFF}
"""The last object of each category: basic, regular, extended; each includes those before it."""
_ONE = 4
_INDIVIDUAL_TOO = 0x80
_HEAD = 7


class ReportServerId(Function):
    """FC17: the server id, else the product code, then that it runs: the last byte is what clients take for that."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING if len(pdu) == 1 else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        device = unit.device
        objects = dict(device.identification.items()) if device.identification else {}
        body = (device.server_id or objects.get(PRODUCT_CODE, b"")) + _RUNNING
        return b"%c%c%b" % (self.code, len(body), body)


class ReadDeviceIdentification(Function):
    """FC43/14: a category of objects from one object on, in as many replies as it takes, or one object."""

    def parse(self, pdu: bytes) -> Request | None:
        return NOTHING._replace(payload=pdu[2:]) if len(pdu) == 4 and pdu[2] in {*_LAST, _ONE} else None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        asked, first = request.payload
        objects = dict(sorted(unit.device.identification.items())) if unit.device.identification else {}
        level = next((level for level, last in _LAST.items() if max(objects, default=0) <= last), 3)
        if asked == _ONE:
            chosen = [first] if first in objects else []
        else:
            chosen = [key for key in objects if key <= _LAST[asked]]
            # a stream that is to start at an object that is not there starts again (V1.1b3, 6.21)
            chosen = chosen[chosen.index(first) :] if first in chosen else chosen
        if not chosen:
            return exception_pdu(self.code, ExceptionCode.ILLEGAL_DATA_ADDRESS)
        body, sent = b"", 0
        for key in chosen:
            value = objects[key]
            if _HEAD + len(body) + 2 + len(value) > MAX_PDU:
                break
            body += b"%c%c%b" % (key, len(value), value)
            sent += 1
        more, following = (0xFF, chosen[sent]) if sent < len(chosen) else (0, 0)
        head = bytes((self.code, READ_DEVICE_IDENTIFICATION, asked, level | _INDIVIDUAL_TOO, more, following, sent))
        return head + body


IDENTIFICATION: tuple[Function, ...] = (
    ReportServerId(FunctionCode.REPORT_SERVER_ID, kind=Kind.IDENTIFY),
    ReadDeviceIdentification(FunctionCode.ENCAPSULATED_INTERFACE, kind=Kind.IDENTIFY, sub=READ_DEVICE_IDENTIFICATION),
)
