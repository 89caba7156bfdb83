"""As few reads as possible for a set of points, within the limits of one request; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fieldgate_client.points import Point
from fieldgate_client.values import Value
from fieldgate_core.modbus import MAX_READ_BITS, MAX_READ_REGISTERS, AddressRange, Table, UnitId, unit_id


class Read(NamedTuple):
    """One request: the cells of a table of a unit, and the points that lie in them."""

    unit: UnitId
    table: Table
    range: AddressRange
    points: tuple[Point, ...]

    def values(self, words: Sequence[int]) -> dict[str, Value]:
        """Give the value of each point by its name, from what the request brought."""
        starts = {point.name: point.address - self.range.start for point in self.points}
        return {
            point.name: point.decode(words[starts[point.name] : starts[point.name] + point.encoding.registers])
            for point in self.points
        }


def plan(points: Iterable[Point], *, unit: int, gap: int = 0, most_registers: int = MAX_READ_REGISTERS) -> list[Read]:
    """Group points into the fewest reads; `unit` is that of points which name none.

    `gap` is the number of cells that nobody asked for and that a read may bring between two points (Telegraf's
    optimization_max_register_fill); with 0 no other cell is touched, for some devices refuse those.
    `most_registers` is what one request may ask for, where a device allows less than the 125 of the standard.
    """
    ordered = sorted(
        points, key=lambda point: (_unit(point, unit), point.table, point.address, point.encoding.registers)
    )
    reads: list[Read] = []
    for point in ordered:
        last = reads[-1] if reads else None
        if last is not None and (joined := _joined(last, point, _unit(point, unit), gap, most_registers)):
            reads[-1] = joined
        else:
            reads.append(Read(_unit(point, unit), point.table, point.cells, (point,)))
    return reads


def _unit(point: Point, default: int) -> UnitId:
    return unit_id(default if point.unit_id is None else point.unit_id)


def _joined(read: Read, point: Point, unit: UnitId, gap: int, most_registers: int) -> Read | None:
    """Add a point that begins no earlier than the read's points; None where it takes a read of its own."""
    if (read.unit, read.table) != (unit, point.table) or point.address - read.range.last - 1 > gap:
        return None
    count = max(read.range.last, point.cells.last) - read.range.start + 1
    if count > (MAX_READ_BITS if read.table.is_bits else most_registers):
        return None
    return Read(unit, read.table, AddressRange(read.range.start, count), (*read.points, point))
