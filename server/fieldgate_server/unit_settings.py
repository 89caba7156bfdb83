"""One `[[unit]]` of the settings, and the memory unit that it makes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata

from fieldgate_core.logs import printable
from fieldgate_core.modbus import ADDRESSES, DEFAULT_UNIT_ALIASES, FILE_RECORDS, File, unit_id
from fieldgate_server import cells
from fieldgate_server.changes import Changes
from fieldgate_server.device import Device
from fieldgate_server.identification import LONGEST_OBJECT, PRODUCT_CODE, REVISION, VENDOR_NAME
from fieldgate_server.layout import Cells, Layout
from fieldgate_server.memory import MemoryUnit, overlaid_bits
from fieldgate_server.simulation import Simulation
from fieldgate_server.simulation_settings import SimulateSettings
from fieldgate_server.tables import BitTable, RegisterTable, bits, registers

DEFAULT_SIZE = 100
"""Cells of a table in a separate layout that the settings do not size; elsewhere it is the whole address space."""
_STATUS_OUTPUTS = 8


@dataclass(frozen=True)
class TableSettings:
    """One table: its size, initial values (one for all, or a list for the first cells), and values at addresses."""

    size: int | None = None
    initial: tuple[int, ...] | int = 0
    at: dict[str, tuple[int, ...] | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size is not None and not 0 <= self.size <= ADDRESSES:
            raise ValueError(f"size {self.size} is not 0 to {ADDRESSES}")

    def registers(self, size: int) -> RegisterTable:
        """Make the table with `size` registers where none is given. Raises ValueError for values that do not fit."""
        table = registers(size if self.size is None else self.size, self.initial)
        for address, value in self._placed(table.size, 0xFFFF):
            table.write(address, 1, value.to_bytes(2, "big"))
        return table

    def bits(self, size: int) -> BitTable:
        """Make the table with `size` bits where none is given. Raises ValueError for values that do not fit."""
        table = bits(size if self.size is None else self.size, self.initial)
        for address, value in self._placed(table.size, 1):
            table.write(address, 1, value.to_bytes(1, "big"))
        return table

    def _placed(self, size: int, highest: int) -> Iterator[tuple[int, int]]:
        for key, placed in self.at.items():
            if not re.fullmatch("[0-9]{1,5}", key):
                raise ValueError(f"at: {key!r} is no address; they count from 0")
            for address, value in enumerate((placed,) if isinstance(placed, int) else placed, int(key)):
                if address >= size:
                    raise ValueError(f"at: there is no address {address} in a table of {size}")
                if not 0 <= value <= highest:
                    raise ValueError(f"at: value {value} of address {address} is not 0 to {highest}")
                yield address, value


@dataclass(frozen=True)
class FileSettings:
    """One file of records (functions 20 and 21): its number, how many records, initial values as for a table."""

    number: int
    records: int
    initial: tuple[int, ...] | int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.number < ADDRESSES:
            raise ValueError(f"number {self.number} is not 1 to {ADDRESSES - 1}")
        if not 1 <= self.records <= FILE_RECORDS:
            raise ValueError(f"records {self.records} is not 1 to {FILE_RECORDS}")


@dataclass(frozen=True)
class IdentificationSettings:
    """The objects of function 43/14 as text; what is not given is not there, but for the three basic ones."""

    vendor_name: str = "fieldgate"
    product_code: str = ""
    revision: str = ""
    vendor_url: str = ""
    product_name: str = ""
    model_name: str = ""
    user_application_name: str = ""
    objects: dict[str, str] = field(default_factory=dict)

    def build(self, unit: int) -> dict[int, bytes]:
        """Give the objects by id. Raises ValueError for text that is not ASCII or is too long, or a wrong id."""
        texts = {VENDOR_NAME: self.vendor_name, PRODUCT_CODE: self.product_code or f"unit-{unit}"}
        texts[REVISION] = self.revision or metadata.version("fieldgate")
        regular = (self.vendor_url, self.product_name, self.model_name, self.user_application_name)
        texts |= {number: text for number, text in enumerate(regular, REVISION + 1) if text}
        for key, text in self.objects.items():
            if not (re.fullmatch("[0-9]{1,3}", key) and 7 <= int(key) <= 255):
                raise ValueError(f"objects: {key!r} is no object id from 7 to 255 (those below have names)")
            texts[int(key)] = text
        for number, text in texts.items():
            if not text.isascii() or len(text) > LONGEST_OBJECT:
                raise ValueError(f"object {number}: must be ASCII text of at most {LONGEST_OBJECT} characters")
        return {number: text.encode() for number, text in texts.items()}


@dataclass(frozen=True)
class UnitSettings:
    """One memory unit: its tables and how they share their cells, files, names, identification, simulated values."""

    id: int = 1
    default: bool = False
    layout: str = Layout.SEPARATE
    coils: TableSettings | None = None
    discrete: TableSettings | None = None
    holding: TableSettings | None = None
    input: TableSettings | None = None
    file: tuple[FileSettings, ...] = ()
    read_only: str = ""
    names: dict[str, str] = field(default_factory=dict)
    identification: IdentificationSettings = field(default_factory=IdentificationSettings)
    server_id: str = ""
    exception_status: int | None = None
    simulate: tuple[SimulateSettings, ...] = ()

    def __post_init__(self) -> None:
        unit_id(self.id)
        if self.id in DEFAULT_UNIT_ALIASES:
            raise ValueError(f"id {self.id} is another name of the default unit; a unit's own id is 1 to 254")
        if self.layout not in list(Layout):
            raise ValueError(f"layout {self.layout!r} is none of {', '.join(Layout)}")
        if self.layout != Layout.SEPARATE and (self.discrete or self.input):
            raise ValueError(
                f"layout {self.layout}: discrete inputs are the coils, input registers the holding registers"
            )
        if self.layout == Layout.OVERLAID and self.coils:
            raise ValueError("layout overlaid: coils are bits of the holding registers; size and set those")
        self.simulation(self.build())

    def simulation(self, unit: MemoryUnit) -> Simulation:
        """Make the signals of the unit's simulated cells. Raises ConfigError for a recording, ValueError for cells."""
        return Simulation(unit, [one.build(self.id) for one in self.simulate])

    def build(self, changes: Changes | None = None) -> MemoryUnit:
        """Make the unit. Raises ValueError for what does not fit together."""
        layout = Layout(self.layout)
        shared = layout is not Layout.SEPARATE
        size = ADDRESSES if shared else DEFAULT_SIZE
        holding = self._registers("holding", size)
        coils = overlaid_bits(holding) if layout is Layout.OVERLAID else self._bits("coils", size)
        unit = MemoryUnit(
            self.id,
            coils,
            coils if shared else self._bits("discrete", size),
            holding,
            holding if shared else self._registers("input", size),
            layout=layout,
            files=self._files(),
            device=self._device(),
            read_only=_cells("read_only", self.read_only),
            names=self._names(),
            changes=changes,
        )
        for key, named in (("read_only", _cells("read_only", self.read_only)), ("names", self._names().values())):
            for one in named:
                if one.start + one.quantity > unit.size(one.space) and one.quantity < ADDRESSES:
                    raise ValueError(f"{key}: there is no {one} in a table of {unit.size(one.space)}")
        if self.exception_status is not None and not 0 <= self.exception_status <= unit.coils.size - _STATUS_OUTPUTS:
            raise ValueError(f"exception_status {self.exception_status}: there are not eight coils from there")
        return unit

    def _registers(self, table: str, size: int) -> RegisterTable:
        with _place(table):
            return (getattr(self, table) or TableSettings()).registers(size)

    def _bits(self, table: str, size: int) -> BitTable:
        with _place(table):
            return (getattr(self, table) or TableSettings()).bits(size)

    def _files(self) -> dict[int, RegisterTable]:
        numbers = [file.number for file in self.file]
        if len(set(numbers)) != len(numbers):
            raise ValueError("two files have the same number")
        files = {}
        for index, file in enumerate(self.file):
            with _place(f"file[{index}]"):
                files[file.number] = registers(file.records, file.initial)
        return files

    def _device(self) -> Device:
        objects = self.identification.build(self.id)
        if not self.server_id.isascii() or len(self.server_id) > LONGEST_OBJECT:
            raise ValueError(f"server_id must be ASCII text of at most {LONGEST_OBJECT} characters")
        return Device(objects, self.server_id.encode(), self.exception_status)

    def _names(self) -> dict[str, Cells]:
        named = {}
        for name, text in self.names.items():
            key = f"names.{printable(name)}"
            cells_of = _cells(key, text)
            if len(cells_of) != 1:
                raise ValueError(f'{key}: one run of cells, such as "holding 100-101"')
            named[name] = cells_of[0]
        return named


@contextlib.contextmanager
def _place(key: str) -> Iterator[None]:
    """Say of a fault which key it belongs to."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _cells(key: str, text: str) -> list[Cells]:
    try:
        found = cells.parse(text)
    except ValueError as error:
        raise ValueError(f'{key}: {error}; write a table and addresses from 0: "holding 0-9, coils 3"') from None
    if any(isinstance(one.space, File) for one in found):
        raise ValueError(f"{key}: {text!r}: a file is not meant here, only tables")
    return found
