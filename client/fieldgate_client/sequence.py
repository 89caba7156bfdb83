"""The demo sequence against any site: write, read back, compare, and put the old values back in every case."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from fieldgate_client.cells import Cells, to_read, to_write
from fieldgate_client.site import Site
from fieldgate_client.steps import Steps, WrongError, stdout
from fieldgate_core.errors import EXIT_OK, FieldgateError
from fieldgate_core.modbus import Table

if TYPE_CHECKING:
    from fieldgate_client import SiteClient

REGISTERS = 3
EXIT_WRONG = 1


class Places(NamedTuple):
    """The cells that the sequence plays with."""

    coil: Cells
    registers: Cells
    first: Cells
    inputs: Cells


class Old(NamedTuple):
    """What the cells held before."""

    coil: list[int]
    registers: list[int]


def places(unit: int, reference: int, *, base: int) -> Places:
    """Name the sequence's cells from a reference on. Raises ConfigError if they do not lie within a table."""
    some = [0] * REGISTERS
    return Places(
        coil=to_write(unit, Table.COILS, reference, [0], base=base),
        registers=to_write(unit, Table.HOLDING, reference, some, base=base),
        first=to_write(unit, Table.HOLDING, reference, [0], base=base),
        inputs=to_read(unit, Table.INPUT, reference, REGISTERS, base=base),
    )


async def play(site: Site, at: Places, say: Callable[[str], None] = stdout) -> int:
    """Play the sequence, and say a line for each step. Returns 0 only if every step came out right.

    Raises what the first failing step raised, after the old values were put back.
    """
    steps = Steps(say)
    # imports pymodbus and asyncssh, which is no part of the step
    tunnel = site.open()
    async with AsyncExitStack() as stack:
        with steps.step(f"open {site.url}"):
            client = await stack.enter_async_context(tunnel)
        with steps.step(f"look at {at.coil} and {at.registers}, to put them back") as step:
            old = Old(await _read(client, at.coil), await _read(client, at.registers))
            step.result = f"{_told(old.coil)}; {_told(old.registers)}"
        try:
            await _change(client, at, old, steps)
        except BaseException:
            with suppress(FieldgateError):
                await _put_back(site, at, old, steps)
            raise
    await _put_back(site, at, old, steps)
    return EXIT_WRONG if steps.failed else EXIT_OK


async def _change(client: SiteClient, at: Places, old: Old, steps: Steps) -> None:
    coil = [1 - old.coil[0]]
    # neighbours of the old values: whatever hangs on these registers hardly notices
    several = [value ^ 1 for value in old.registers]
    for cells, values in ((at.coil, coil), (at.first, several[:1]), (at.registers, several)):
        with steps.step(f"write {cells}") as step:
            step.result = _told(values)
            await _write(client, cells, values)
        with steps.step(f"read {cells} back") as step:
            _same(await _read(client, cells), values)
    with steps.step(f"read {at.inputs}") as step:
        step.result = _told(await _read(client, at.inputs))


async def _put_back(site: Site, at: Places, old: Old, steps: Steps) -> None:
    """Write the old values where others stand now; what fails for the coil does not keep the registers from theirs.

    Opens new tunnels, because the first one may be what failed. Raises the first failure, at the end.
    """
    failures: list[FieldgateError] = []
    for cells, values in ((at.coil, old.coil), (at.registers, old.registers)):
        try:
            with steps.step(f"put back {cells}") as step:
                step.result = _told(values)
                async with site.open() as client:
                    if await _read(client, cells) == values:
                        step.result = "nothing had changed"
                        continue
                    await _write(client, cells, values)
                    _same(await _read(client, cells), values)
        except FieldgateError as error:
            failures.append(error)
    if failures:
        raise failures[0]


async def _read(client: SiteClient, cells: Cells) -> list[int]:
    return await client.read_cells(cells.table, cells.range.start, cells.range.count, unit=cells.unit)


async def _write(client: SiteClient, cells: Cells, values: list[int]) -> None:
    await client.write_cells(cells.table, cells.range.start, values, unit=cells.unit)


def _same(values: list[int], written: list[int]) -> None:
    if values != written:
        raise WrongError(f"{_told(written)} was written, and {_told(values)} is there")


def _told(values: list[int]) -> str:
    return " ".join(map(str, values))
