"""The memory unit: tables, files and state of a unit that lives in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import unpack

from fieldgate_core.modbus import ADDRESSES, File, Space, Table
from fieldgate_server.changes import Change, Changes, runs
from fieldgate_server.device import Device
from fieldgate_server.functions import Function, Request
from fieldgate_server.layout import PACKED_REGISTERS, Cells, Layout, views
from fieldgate_server.spans import Spans
from fieldgate_server.tables import Bits, PackedBits, RegisterTable, unpack_bits
from fieldgate_server.units import Asker, Effect


class MemoryUnit:
    """Four tables in one of three layouts, file records, names and read-only cells."""

    __slots__ = (
        "_names",
        "_read_only",
        "changes",
        "coils",
        "device",
        "discrete",
        "files",
        "holding",
        "input",
        "layout",
        "number",
        "tables",
    )

    def __init__(  # noqa: PLR0913
        self,
        number: int,
        coils: Bits,
        discrete: Bits,
        holding: RegisterTable,
        input: RegisterTable,  # noqa: A002 - the field's word for the table
        *,
        layout: Layout = Layout.SEPARATE,
        files: Mapping[int, RegisterTable] | None = None,
        device: Device | None = None,
        read_only: Iterable[Cells] = (),
        names: Mapping[str, Cells] | None = None,
        changes: Changes | None = None,
    ) -> None:
        """In a shared layout `coils` and `discrete` are one table, `holding` and `input` another."""
        self.number = number
        self.coils = coils
        self.discrete = discrete
        self.holding = holding
        self.input = input
        self.tables: dict[Table, Bits | RegisterTable] = {
            Table.COILS: coils,
            Table.DISCRETE: discrete,
            Table.HOLDING: holding,
            Table.INPUT: input,
        }
        self.layout = layout
        self.files = files or {}
        self.device = device or Device()
        self.changes = Changes() if changes is None else changes
        fixed = [(view, "read-only") for cells in read_only for view in views(layout, cells)]
        self._read_only = _spans(fixed)
        self._names = _spans([(cells, name) for name, cells in (names or {}).items()])

    def size(self, space: Space) -> int:
        """Give how many cells a table has, or records a file; 0 for a file that is not there."""
        if isinstance(space, File):
            return self.files[space].size if space in self.files else 0
        return self._table(space).size

    def put(self, space: Space, start: int, values: bytes, by: str, *, quantity: int) -> None:
        """Set cells from within the server, read-only ones too: values in wire order; `by` names who does it.

        Raises ValueError if not all these cells exist.
        """
        cells = Cells(space, start, quantity)
        if not 0 <= start <= self.size(space) - quantity:
            raise ValueError(f"unit {self.number} has no {cells}")
        before = self._snapshot((cells,)) if self.changes.wanted else ()
        self._table(space).write(start, quantity, values)
        self._tell(before, by)

    def reading(self, function: Function, request: Request) -> tuple[Cells, ...]:
        """Name the cells that the request reads, in every table that shows them."""
        cells = function.reading(self, request)
        if self.layout is Layout.SEPARATE:
            return cells
        return tuple(view for named in cells for view in views(self.layout, named))

    def effects(self, function: Function, request: Request) -> list[Effect]:
        """Say what the request would write, in every table that shows it."""
        values = function.written(self, request)
        written = function.writing(request)
        if request.groups:
            return [Effect(cells, group.data) for cells, group in zip(written, request.groups, strict=True)]
        if self.layout is Layout.SEPARATE:
            return [Effect(cells, values) for cells in written]
        (cells,) = written
        registers = values
        if isinstance(self.coils, PackedBits) and cells.space is Table.COILS:
            there = min(cells.quantity, self.coils.size - cells.start)
            registers = self.coils.registers_after(cells.start, there, values)[1] if values and there > 0 else None
        return [
            Effect(view, registers if view.space in {Table.HOLDING, Table.INPUT} else None if view != cells else values)
            for view in views(self.layout, cells)
        ]

    def has(self, function: Function, request: Request) -> bool:
        """Tell whether every cell that the request reads or writes exists, and none to be written is read-only."""
        if not function.there(self, request):
            return False
        return not self._read_only or not any(self._fixed(cells) for cells in function.writing(request))

    def held(self, function: Function, request: Request) -> bytes | None:
        """Give the values that the cells to be written hold now."""
        return function.held(self, request)

    def names(self, cells: Cells) -> str | None:
        """Give the names of these cells, None if they have none."""
        if not self._names:
            return None
        found: dict[str, None] = {}
        for space, start, quantity in views(self.layout, cells):
            if space in self._names:
                found.update(dict.fromkeys(self._names[space].over(start, quantity)))
        return ", ".join(found) or None

    def perform(self, function: Function, request: Request, pdu: bytes, asker: Asker) -> bytes:
        """Carry out a request whose cells all exist; who subscribed to changes is told of them."""
        if not self.changes.wanted:
            return function.run(self, request, pdu)
        before = self._snapshot(function.writing(request))
        reply = function.run(self, request, pdu)
        self._tell(before, asker.identity.name)
        return reply

    def _fixed(self, cells: Cells) -> bool:
        spans = self._read_only.get(cells.space)
        return spans is not None and bool(spans.over(cells.start, cells.quantity))

    def _table(self, space: Space) -> Bits | RegisterTable:
        if isinstance(space, File):
            return self.files[space]
        return self.tables[space]

    def _snapshot(self, written: Iterable[Cells]) -> list[tuple[Cells, tuple[int, ...]]]:
        """Give what every table shows of these cells."""
        return [(view, self._values(view)) for cells in written for view in views(self.layout, cells)]

    def _values(self, cells: Cells) -> tuple[int, ...]:
        data = self._table(cells.space).read(cells.start, cells.quantity)
        if isinstance(cells.space, Table) and cells.space.is_bits:
            return unpack_bits(data, cells.quantity)
        return unpack(f">{cells.quantity}H", data)

    def _tell(self, before: Iterable[tuple[Cells, tuple[int, ...]]], by: str) -> None:
        for cells, old in before:
            new = self._values(cells)
            for start, end in runs(old, new):
                self.changes.tell(
                    Change(self.number, cells.space, cells.start + start, old[start:end], new[start:end], by)
                )


def overlaid_bits(registers: RegisterTable) -> PackedBits:
    """Give the coils of an overlaid unit: the bits of its first registers, 4096 at most."""
    return PackedBits(registers, min(registers.size, PACKED_REGISTERS) * (ADDRESSES // PACKED_REGISTERS))


def _spans(labelled: Iterable[tuple[Cells, str]]) -> dict[Space, Spans]:
    by_space: dict[Space, list[tuple[int, int, str]]] = {}
    for (space, start, quantity), label in labelled:
        by_space.setdefault(space, []).append((start, start + quantity, label))
    return {space: Spans(spans) for space, spans in by_space.items()}
