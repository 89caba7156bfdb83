"""What one role may do, compiled so that a request costs one look-up; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fieldgate_core.modbus import File, Space, Table
from fieldgate_server.catalogue import FUNCTIONS, WITH_SUB_CODES
from fieldgate_server.cells import ALL_FILES
from fieldgate_server.coverage import Coverage
from fieldgate_server.functions import Function, Kind, Request, Storage


class Right(NamedTuple):
    """The right to one function: the coverage of the table it reads and writes (None: no one table), and the grant."""

    function: Function
    read: Coverage | None
    write: Coverage | None
    acts: bool
    """It writes or controls, so it leaves its lines in the trail."""
    grant: str


class _TooShort(Function):
    """A request that ends before its sub-code: malformed, whatever it was to be."""

    def parse(self, pdu: bytes) -> Request | None:
        return None

    def run(self, unit: Storage, request: Request, pdu: bytes) -> bytes:
        raise AssertionError("a malformed request is never run")


class UnitRights:
    """What one role may do on one unit."""

    __slots__ = ("_sub_functions", "functions", "read", "write")

    def __init__(
        self, read: Mapping[Space, Coverage], write: Mapping[Space, Coverage], named: Mapping[str, str]
    ) -> None:
        """`named` are the functions that are granted by name or class, with the name of the grant."""
        self.read = read
        self.write = write
        self.functions: dict[int, Right] = {}
        """By function code; those with sub-codes are found by `sub_function`."""
        self._sub_functions: dict[int, dict[int, Right]] = {}
        for function in FUNCTIONS:
            right = self._right(function, named)
            if right is not None and function.sub is None:
                self.functions[function.code] = right
            elif right is not None:
                self._sub_functions.setdefault(function.code, {})[function.sub or 0] = right

    def _right(self, function: Function, named: Mapping[str, str]) -> Right | None:
        if function.kind in {Kind.IDENTIFY, Kind.DIAGNOSE, Kind.CONTROL}:
            grant = named.get(function.name)
            return Right(function, None, None, function.kind is Kind.CONTROL, grant) if grant else None
        on_files = function.reads is None and function.writes is None
        if on_files:
            granted = self.write if function.kind is Kind.WRITE else self.read
            return (
                Right(function, None, None, function.kind is Kind.WRITE, "")
                if any(isinstance(space, File) for space in granted)
                else None
            )
        read = self.read.get(function.reads) if function.reads else None
        write = self.write.get(function.writes) if function.writes else None
        if (function.reads and not read) or (function.writes and not write):
            return None
        return Right(function, read, write, function.writes is not None, "")

    def right(self, pdu: bytes) -> Right | None:
        """Give the right to the function of a request."""
        return self.functions.get(pdu[0]) or self.sub_function(pdu)

    def sub_function(self, pdu: bytes) -> Right | None:
        """Give the right to a function that has sub-codes; a request too short to show its own is malformed."""
        code = pdu[0]
        rights = self._sub_functions.get(code)
        if not rights:
            return None
        size = WITH_SUB_CODES[code]
        if len(pdu) < 1 + size:
            return Right(_TooShort(code), None, None, acts=False, grant="")
        return rights.get(int.from_bytes(pdu[1 : 1 + size], "big"))

    def readable(self, space: Space) -> Coverage | None:
        """Give which cells of a table or file may be read."""
        return _of(self.read, space)

    def writable(self, space: Space) -> Coverage | None:
        """Give which cells of a table or file may be written."""
        return _of(self.write, space)


def _of(granted: Mapping[Space, Coverage], space: Space) -> Coverage | None:
    if isinstance(space, Table):
        return granted.get(space)
    return granted.get(space) or granted.get(ALL_FILES)


class Rights:
    """What one role may do: rights by unit number, and what it may `manage`, with the name of the grant."""

    __slots__ = ("manage", "units")

    def __init__(self, units: Mapping[int, UnitRights], manage: Mapping[str, str] | None = None) -> None:
        self.units = units
        self.manage = manage or {}


NO_RIGHTS = Rights({})
