"""Cells by name: reads "holding 100-119, coils 7, input all, file 4 0-99"; pure."""

from __future__ import annotations

import re

from fieldgate_core.modbus import ADDRESSES, FILE_RECORDS, File, Space, Table
from fieldgate_server.layout import Cells

ALL_FILES = File(0)
"""Stands for every file where cells are granted; no file has this number."""
HINT = (
    f"a table ({', '.join(Table)}) and addresses from 0, or a file and records: "
    '"holding 100-119, coils 7, input all, file 4 0-99"'
)
_RANGE = re.compile(r"all|([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?")


def parse(text: str) -> list[Cells]:
    """Read cells; nothing for an empty text. Raises ValueError that names the part which names no cells."""
    return [_part(part.strip()) for part in text.split(",")] if text.strip() else []


def _part(text: str) -> Cells:
    word, _, rest = text.partition(" ")
    space: Space | None = None
    limit = ADDRESSES
    if word in list(Table):
        space = Table(word)
    elif word == "file":
        number, _, rest = rest.strip().partition(" ")
        rest = rest or "all"
        if number == rest == "all":
            return Cells(ALL_FILES, 0, ADDRESSES)
        if re.fullmatch("[0-9]{1,5}", number) and 1 <= int(number) < ADDRESSES:
            space, limit = File(int(number)), FILE_RECORDS
    match = _RANGE.fullmatch(rest.strip())
    if space is None or not match:
        raise ValueError(f"{text!r} names no cells")
    if not match[1]:
        # cells past the last one that there is count as covered: the unit answers for them
        return Cells(space, 0, ADDRESSES)
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < limit:
        raise ValueError(f"{text!r} is no range within 0 to {limit - 1}")
    return Cells(space, first, last - first + 1)
