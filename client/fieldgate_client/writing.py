"""Write changes, each one request and sent once: what is there now, whether to go on, and what is there after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from fieldgate_client import output, requests
from fieldgate_client.asking import ask
from fieldgate_client.client import SiteClient
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item
from fieldgate_core.errors import ExceptionReplyError, FieldgateError, OutcomeUnknownError, TunnelLostError


class Change(NamedTuple):
    """One request: neighbouring items of one unit and table, and their registers (or coils) in wire order."""

    items: tuple[Item, ...]
    words: tuple[int, ...]

    def readings(self) -> list[Reading]:
        """Give the items with the values that they will have."""
        readings, at = [], 0
        for item in self.items:
            size = item.point.encoding.registers
            readings.append(Reading(item, item.point.decode(self.words[at : at + size])))
            at += size
        return readings


class Written(NamedTuple):
    """What became of one item: what was there before, what was written, and what was read back."""

    old: Reading
    new: Reading
    back: Reading

    @property
    def differs(self) -> bool:
        """True if something else was read back than was written."""
        return self.back.value is not None and self.back.value != self.new.value

    def record(self) -> dict[str, object]:
        """Give it as docs/client-output.schema.json describes: the value read back, with `old` and `written`."""
        old, written = (output.record(reading)["value"] for reading in (self.old, self.new))
        return {**output.record(self.back), "old": old, "written": written}


async def write(
    client: SiteClient, changes: Sequence[Change], confirm: Callable[[list[str]], Awaitable[None]]
) -> list[Written]:
    """Read, confirm, write each change in turn, and read back.

    `confirm` is given a line for each item, with its old and its new value, and raises what stops the writing. What may
    be written and not read is written all the same. Raises what `SiteClient` raises; a failure keeps the changes behind
    it from being sent, and its hint names those before it.
    """
    items = [item for change in changes for item in change.items]
    new = [reading for change in changes for reading in change.readings()]
    old = await ask(client, items)
    for reading in old:
        if reading.error is not None and not isinstance(reading.error, ExceptionReplyError):
            raise reading.error
    await confirm([line(before, after) for before, after in zip(old, new, strict=True)])
    for at, change in enumerate(changes):
        await _send(client, change, done=changes[:at])
    return [Written(*each) for each in zip(old, new, await _read_back(client, items), strict=True)]


async def _read_back(client: SiteClient, items: Sequence[Item]) -> list[Reading]:
    """Read what is there now; who stops here is told that it is written."""
    try:
        return await ask(client, items)
    except asyncio.CancelledError:
        stopped = TunnelLostError(str(client.url), "stopped before the values were read")
        return [Reading(item, None, stopped) for item in items]


def line(old: Reading, new: Reading) -> str:
    """Write an item's old and new value; "?" for an old one that cannot be read."""
    label = f"{new.item.label}:"
    return f"{label} \t{'?' if old.value is None else output.shown_value(old)} -> {output.shown_value(new)}"


def doubts(done: Sequence[Written]) -> list[str]:
    """Tell where something else was read than written, and what could not be read back."""
    shown = output.shown_value
    lines = [
        f"{one.new.item.label}: {shown(one.back)} was read back, and {shown(one.new)} was written"
        for one in done
        if one.differs
    ]
    return lines + [
        f"not read back: {error}" for error in dict.fromkeys(str(w.back.error) for w in done if w.back.error)
    ]


async def _send(client: SiteClient, change: Change, *, done: Sequence[Change]) -> None:
    first = change.items[0]
    table = first.point.table
    try:
        await client.write_cells(table, first.point.address, change.words, unit=first.unit)
    except asyncio.CancelledError:
        function = requests.write_function(table, len(change.words))
        raise _behind(done, OutcomeUnknownError(function, "stopped before its answer came")) from None
    except FieldgateError as error:
        raise _behind(done, error) from None


def _behind(done: Sequence[Change], error: FieldgateError) -> FieldgateError:
    """Have an error name what was written before it."""
    if done:
        names = ", ".join(item.label for one in done for item in one.items)
        error.hint = f"written before it: {names}; {error.hint}".removesuffix("; ")
    return error
