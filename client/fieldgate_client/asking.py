"""Read items with as few requests as possible, all in flight together; what fails is told apart from what came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fieldgate_client.client import SiteClient
from fieldgate_client.grouping import Read, plan
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item
from fieldgate_client.values import Value
from fieldgate_core.errors import FieldgateError


async def ask(client: SiteClient, items: Sequence[Item]) -> list[Reading]:
    """Read items, in their order. Errors of single requests are in the readings; none is raised."""
    reads = [
        (unit, read)
        for unit in dict.fromkeys(item.unit for item in items)
        for read in plan((item.point for item in items if item.unit == unit), unit=unit)
    ]
    answers = await asyncio.gather(*(_read(client, read) for _, read in reads))
    found: dict[tuple[int, str], tuple[Value | None, FieldgateError | None]] = {}
    for (unit, read), answer in zip(reads, answers, strict=True):
        if isinstance(answer, FieldgateError):
            found |= {(unit, point.name): (None, answer) for point in read.points}
        else:
            found |= {(unit, name): (value, None) for name, value in read.values(answer).items()}
    return [Reading(item, *found[item.unit, item.point.name]) for item in items]


async def _read(client: SiteClient, read: Read) -> list[int] | FieldgateError:
    try:
        return await client.read_cells(read.table, read.range.start, read.range.count, unit=read.unit)
    except FieldgateError as error:
        return error
