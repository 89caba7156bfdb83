"""Rights on cells that several tables show, on files and on the rare functions: who passes, who is a cell short."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_server.policy import OwnerPolicy
from fieldgate_server.unit_settings import FileSettings, TableSettings, UnitSettings
from support.bench import EVERYTHING, Bench, policy

FULL = '{ units = "1", read = "all", write = "all" }'


def bench_of(folder: Path, settings: UnitSettings, role: str) -> Bench:
    """A unit, and role "r" with these grants."""
    return Bench(folder, settings, {"r": role})


def unit(layout: str, *, read_only: str = "", size: int | None = None) -> UnitSettings:
    """Registers of 5; the coils of a unified unit are off. Coils 0 and 2 of an overlaid one are on, that is 5."""
    return UnitSettings(layout=layout, holding=TableSettings(size, 5), read_only=read_only)


# an overlaid unit: coil 17 is bit 1 of register 1, which is 5 and becomes 7

WRITE_COIL, COIL_DONE = "05 00 11 ff 00", "05 00 11 ff 00"
WRITERS = {
    "every table": (FULL, True),
    "just these cells": ('{ units = "1", write = "coils 17, discrete 17, holding 1, input 1" }', True),
    "the coil alone": ('{ units = "1", write = "coils 17" }', False),
    "not as a discrete input": ('{ units = "1", write = "coils 17, holding 1, input 1" }', False),
    "not as a register": ('{ units = "1", write = "coils 17, discrete 17, input 1" }', False),
    "not as an input register": ('{ units = "1", write = "coils 17, discrete 17, holding 1" }', False),
    "another register": ('{ units = "1", write = "coils 17, discrete 17, holding 0, input 0" }', False),
    "another coil": ('{ units = "1", write = "coils 16, discrete 17, holding 1, input 1" }', False),
    "another discrete input": ('{ units = "1", write = "coils 17, discrete 18, holding 1, input 1" }', False),
    "on another unit": ('{ units = "2", write = "all" }, { units = "1", write = "coils all" }', False),
    "reads only": ('{ units = "1", read = "all" }', False),
}


@pytest.mark.parametrize("who", WRITERS)
@pytest.mark.parametrize("asked", [WRITE_COIL, "0f 00 11 00 01 01 01"])
def test_an_overlaid_coil_is_written_by_who_may_write_its_register(tmp_path: Path, who: str, asked: str) -> None:
    grants, passes = WRITERS[who]
    bench = bench_of(tmp_path, unit("overlaid"), grants)
    function = asked[:2]
    assert bench.ask(asked, "r") == (asked[:14] if passes else f"{int(function, 16) | 0x80:02x} 01")
    assert bench.ask("03 00 01 00 01") == ("03 02 00 07" if passes else "03 02 00 05")
    assert ("outcome=done" in bench.trail()[-1]) is passes
    assert ("event=refused" in bench.trail()[-1]) is not passes


@pytest.mark.parametrize(
    ("limit", "asked", "answered", "register"),
    [
        ("0..7", "05 00 11 ff 00", "05 00 11 ff 00", "00 07"),
        ("0..6", "05 00 11 ff 00", "85 01", "00 05"),
        ("5..7", "05 00 10 00 00", "85 01", "00 05"),
        ("4..7", "05 00 10 00 00", "05 00 10 00 00", "00 04"),
        ("0..5", "05 00 10 ff 00", "05 00 10 ff 00", "00 05"),
        ("0..255", "0f 00 10 00 08 01 ff", "0f 00 10 00 08", "00 ff"),
        ("0..254", "0f 00 10 00 08 01 ff", "8f 01", "00 05"),
        ("0..5", "0f 00 13 00 0d 02 00 00", "0f 00 13 00 0d", "00 05"),
        ("0..4", "0f 00 13 00 0d 02 00 00", "8f 01", "00 05"),
        ("0..32767", "05 00 1f ff 00", "85 01", "00 05"),
        ("0..65535", "05 00 1f ff 00", "05 00 1f ff 00", "80 05"),
    ],
)
def test_a_limit_holds_for_the_register_that_results_from_a_coil(
    tmp_path: Path, limit: str, asked: str, answered: str, register: str
) -> None:
    limited = f'{{ units = "1", write = "holding 1", values = "{limit}" }}'
    bench = bench_of(
        tmp_path,
        unit("overlaid"),
        f'{{ units = "1", write = "coils all, discrete all, input 0-9, holding 2" }}, {limited}',
    )
    assert bench.ask(asked, "r") == answered
    assert bench.ask("03 00 01 00 01") == f"03 02 {register}"


def test_a_limit_holds_for_each_of_the_registers_that_result(tmp_path: Path) -> None:
    """Coils 15 to 32: bit 15 of register 0, all of register 1, bit 0 of register 2."""
    roles = {
        name: '{ units = "1", write = "coils all, discrete all, input all" }, '
        f'{{ units = "1", write = "holding 0", values = "0..{first}" }}, '
        f'{{ units = "1", write = "holding 1", values = "0..{second}" }}, '
        f'{{ units = "1", write = "holding 2", values = "0..{third}" }}'
        for name, first, second, third in (
            ("fits", 0x8005, 0xFFFF, 5),
            ("first", 0x8004, 0xFFFF, 5),
            ("second", 0x8005, 0xFFFE, 5),
            ("third", 0x8005, 0xFFFF, 4),
        )
    }
    bench = Bench(tmp_path, unit("overlaid"), roles)
    asked = "0f 00 0f 00 12 03 ff ff 03"
    for name in ("first", "second", "third"):
        assert bench.ask(asked, name) == "8f 01"
        assert bench.ask("03 00 00 00 03") == "03 06 00 05 00 05 00 05"
    assert bench.ask(asked, "fits") == "0f 00 0f 00 12"
    assert bench.ask("03 00 00 00 03") == "03 06 80 05 ff ff 00 05"


@pytest.mark.parametrize(
    ("limit", "asked", "answered"),
    [
        # registers 0 to 9 are 5; coil 152 is bit 8 of the last, coils from 160 on are not there
        ("0..255", "0f 00 98 00 0a 02 ff 03", "8f 01"),
        ("0..65535", "0f 00 98 00 0a 02 ff 03", "8f 02"),
        ("0..255", "0f 00 90 00 18 03 ff 00 ff", "8f 02"),
        ("0..254", "0f 00 90 00 18 03 ff 00 ff", "8f 01"),
        ("0..4", "0f 00 a0 00 08 01 ff", "8f 02"),
        ("0..4", "05 00 a0 ff 00", "85 02"),
        ("5..5", "0f 00 98 00 20 04 00 00 00 00", "8f 02"),
    ],
)
def test_registers_that_are_there_keep_their_limits_where_a_write_goes_past_the_end(
    tmp_path: Path, limit: str, asked: str, answered: str
) -> None:
    limited = f'{{ units = "1", write = "holding all", values = "{limit}" }}'
    grants = f'{limited}, {{ units = "1", write = "coils all, discrete all, input all" }}'
    bench = bench_of(tmp_path, unit("overlaid", size=10), grants)
    assert bench.ask(asked, "r") == answered
    assert bench.ask("03 00 09 00 01") == "03 02 00 05"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("0f 00 80 00 40 08 00 00 00 00 00 00 00 00", "8f 01"),
        ("0f 00 80 00 40 08 00 00 00 40 00 00 00 00", "8f 02"),
    ],
)
def test_a_typed_value_that_is_there_keeps_its_limit_too(tmp_path: Path, asked: str, answered: str) -> None:
    limited = '{ units = "1", write = "holding 8-13", values = "2..2", type = "float32 CDAB" }'
    grants = f'{limited}, {{ units = "1", write = "coils all, discrete all, input all" }}'
    assert bench_of(tmp_path, unit("overlaid", size=10), grants).ask(asked, "r") == answered


WRITES_OF_REGISTER_1 = [
    "06 00 01 00 07",
    "10 00 01 00 01 02 00 07",
    "16 00 01 00 00 00 07",
    "17 00 01 00 01 00 01 00 01 02 00 07",
]


@pytest.mark.parametrize("asked", WRITES_OF_REGISTER_1)
def test_an_overlaid_register_is_written_by_who_may_write_its_coils(tmp_path: Path, asked: str) -> None:
    read = '{ units = "1", read = "all" }'
    roles = {
        "every table": FULL,
        "just these cells": f'{read}, {{ units = "1", write = "holding 1, input 1, coils 16-31, discrete 16-31" }}',
        "the register alone": f'{read}, {{ units = "1", write = "holding 1" }}',
        "not as an input": f'{read}, {{ units = "1", write = "holding 1, coils 16-31, discrete 16-31" }}',
        "a coil short": f'{read}, {{ units = "1", write = "holding 1, input 1, coils 16-30, discrete 16-31" }}',
        "the first coil short": f'{read}, {{ units = "1", write = "holding 1, input 1, coils 17-31, discrete 16-31" }}',
        "a discrete short": f'{read}, {{ units = "1", write = "holding 1, input 1, coils 16-31, discrete 17-31" }}',
    }
    bench = Bench(tmp_path, unit("overlaid"), roles)
    refused = f"{int(asked[:2], 16) | 0x80:02x} 01"
    for role in roles:
        passes = role in {"every table", "just these cells"}
        assert (bench.ask(asked, role) != refused) is passes, role
        assert bench.ask("03 00 01 00 01") == ("03 02 00 07" if passes else "03 02 00 05"), role
        bench.ask("06 00 01 00 05")


def test_a_register_past_the_coils_needs_no_coils(tmp_path: Path) -> None:
    grants = (
        '{ units = "1", read = "holding 4095-4097, input 4095-4097", write = "holding 4095-4097, input 4095-4097" }'
    )
    bench = bench_of(tmp_path, unit("overlaid"), grants)
    assert bench.ask("06 10 00 00 09", "r") == "06 10 00 00 09"
    assert bench.ask("03 10 00 00 02", "r") == "03 04 00 09 00 05"
    assert bench.ask("06 0f ff 00 09", "r") == "86 01"
    assert bench.ask("10 0f ff 00 02 04 00 01 00 01", "r") == "90 01"
    assert bench.ask("03 0f ff 00 02", "r") == "83 01"
    both = f'{grants}, {{ units = "1", read = "coils 65520-65535, discrete 65520-65535" }}'
    bench = bench_of(tmp_path, unit("overlaid"), both)
    assert bench.ask("03 0f ff 00 02", "r") == "03 04 00 05 00 05"
    assert bench.ask("03 0f fe 00 02", "r") == "83 01"


READERS = [
    # what is asked, all that it needs, and the reply
    ("01 00 11 00 02", ["coils 17-18", "discrete 17-18", "holding 1", "input 1"], "01 01 02"),
    ("02 00 1f 00 02", ["coils 31-32", "discrete 31-32", "holding 1-2", "input 1-2"], "02 01 02"),
    ("03 00 01 00 02", ["holding 1-2", "input 1-2", "coils 16-47", "discrete 16-47"], "03 04 00 05 00 05"),
    ("04 00 01 00 01", ["holding 1", "input 1", "coils 16-31", "discrete 16-31"], "04 02 00 05"),
    ("18 00 05", ["holding 5-36", "input 5-36", "coils 80-591", "discrete 80-591"], "18 00 0c 00 05" + " 00 05" * 5),
]


@pytest.mark.parametrize(("asked", "needs", "answered"), READERS)
def test_an_overlaid_read_needs_every_table_that_shows_the_cells(
    tmp_path: Path, asked: str, needs: list[str], answered: str
) -> None:
    """With one cell less at either end of one table it is refused."""
    roles = {"all of them": needs}
    for at, cells in enumerate(needs):
        table, _, numbers = cells.partition(" ")
        first, _, last = numbers.partition("-")
        others = [*needs[:at], *needs[at + 1 :]]
        roles[f"no {table}"] = others
        if last:
            roles[f"{table} from one later"] = [*others, f"{table} {int(first) + 1}-{last}"]
            roles[f"{table} to one before"] = [*others, f"{table} {first}-{int(last) - 1}"]
        else:
            roles[f"other {table}"] = [*others, f"{table} {int(first) + 1}"]
    bench = Bench(
        tmp_path,
        unit("overlaid"),
        {role: f'{{ units = "1", read = "{", ".join(cells)}" }}' for role, cells in roles.items()},
    )
    for role in roles:
        wanted = answered if role == "all of them" else f"{int(asked[:2], 16) | 0x80:02x} 01"
        assert bench.ask(asked, role) == wanted, role


# a unified unit: coils are the discrete inputs, holding registers the input registers, and bits are no registers


@pytest.mark.parametrize(
    ("asked", "answered", "needs"),
    [
        ("05 00 11 ff 00", "05 00 11 ff 00", ["write coils 17", "write discrete 17"]),
        ("0f 00 11 00 02 01 03", "0f 00 11 00 02", ["write coils 17-18", "write discrete 17-18"]),
        ("06 00 11 00 09", "06 00 11 00 09", ["write holding 17", "write input 17"]),
        ("10 00 11 00 01 02 00 09", "10 00 11 00 01", ["write holding 17", "write input 17"]),
        ("01 00 11 00 01", "01 01 00", ["read coils 17", "read discrete 17"]),
        ("02 00 11 00 01", "02 01 00", ["read coils 17", "read discrete 17"]),
        ("03 00 11 00 01", "03 02 00 05", ["read holding 17", "read input 17"]),
        ("04 00 11 00 01", "04 02 00 05", ["read holding 17", "read input 17"]),
        (
            "16 00 11 ff ff 00 00",
            "16 00 11 ff ff 00 00",
            ["write holding 17", "write input 17", "read holding 17", "read input 17"],
        ),
        (
            "17 00 00 00 01 00 11 00 01 02 00 09",
            "17 02 00 05",
            ["write holding 17", "write input 17", "read holding 0", "read input 0"],
        ),
        ("18 00 10", "18 00 0c 00 05" + " 00 05" * 5, ["read holding 16-47", "read input 16-47"]),
    ],
)
def test_a_unified_cell_needs_both_tables_that_show_it(
    tmp_path: Path, asked: str, answered: str, needs: list[str]
) -> None:
    def written(rights: list[str]) -> str:
        grants = (f'{{ units = "1", {right.split()[0]} = "{right.partition(" ")[2]}" }}' for right in rights)
        return ", ".join(grants)

    roles = {f"without {right}": written([one for one in needs if one != right]) for right in needs}
    bench = Bench(tmp_path, unit("unified"), roles | {"both": written(needs)})
    for role in roles:
        assert bench.ask(asked, role) == f"{int(asked[:2], 16) | 0x80:02x} 01", role
    assert bench.ask(asked, "both") == answered


def test_a_limit_on_a_unified_register(tmp_path: Path) -> None:
    grants = '{ units = "1", write = "holding 0-9", values = "0..500" }, { units = "1", write = "input all" }'
    bench = bench_of(tmp_path, unit("unified"), grants)
    assert bench.ask("06 00 00 01 f4", "r") == "06 00 00 01 f4"
    assert bench.ask("06 00 00 01 f5", "r") == "86 01"
    assert bench.ask("04 00 00 00 01") == "04 02 01 f4"


# cells that are not there, and cells that may not be written


@pytest.mark.parametrize("asked", ["01 ff ff 00 02", "02 ff ff 00 02", "01 ff f0 07 d0"])
def test_coils_past_the_last_address_count_as_covered(tmp_path: Path, asked: str) -> None:
    """guard.md: in step 6 addresses past 65535 count as covered; step 7 answers them."""
    cells = "coils 65520-65535, discrete 65520-65535, holding 4095, input 4095"
    roles = {
        "all there is": f'{{ units = "1", read = "{cells}", write = "{cells}" }}',
        "no register": '{ units = "1", read = "coils all, discrete all, input all" }',
    }
    bench = Bench(tmp_path, unit("overlaid"), roles)
    refusal = f"{int(asked[:2], 16) | 0x80:02x}"
    assert bench.ask(asked) == f"{refusal} 02"
    assert bench.ask(asked, "all there is") == f"{refusal} 02"
    assert bench.ask(asked, "no register") == f"{refusal} 01"


def test_a_write_of_coils_past_the_last_address_is_02(tmp_path: Path) -> None:
    cells = "coils 65520-65535, discrete 65520-65535, holding 4095, input 4095"
    bench = bench_of(tmp_path, unit("overlaid"), f'{{ units = "1", write = "{cells}" }}')
    assert bench.ask("0f ff ff 00 02 01 03", "r") == "8f 02"
    assert bench.ask("05 ff ff ff 00", "r") == "05 ff ff ff 00"


def test_coils_past_the_registers_of_a_small_unit_are_02(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, unit("overlaid", size=2), FULL)
    assert bench.ask("05 00 1f ff 00", "r") == "05 00 1f ff 00"
    assert bench.ask("05 00 20 ff 00", "r") == "85 02"
    assert bench.ask("0f 00 1f 00 02 01 03", "r") == "8f 02"
    assert bench.ask("01 00 00 00 21", "r") == "81 02"
    assert bench.ask("03 00 00 00 02") == "03 04 00 05 80 05"
    assert bench.ask("06 00 02 00 01", "r") == "86 02"


READ_ONLY = [
    ("overlaid", "holding 1", ["06 00 01 00 07", "05 00 10 ff 00", "05 00 1f ff 00", "0f 00 0f 00 02 01 03"]),
    (
        "overlaid",
        "coils 17",
        ["05 00 11 ff 00", "0f 00 10 00 02 01 03", "06 00 01 00 07", "10 00 00 00 02 04 00 01 00 01"],
    ),
    ("overlaid", "discrete 17", ["05 00 11 ff 00", "16 00 01 ff ff 00 00", "17 00 00 00 01 00 01 00 01 02 00 05"]),
    ("overlaid", "input 4096", ["06 10 00 00 07", "10 0f ff 00 02 04 00 01 00 01"]),
    ("unified", "input 1", ["06 00 01 00 07", "10 00 00 00 02 04 00 01 00 01", "16 00 01 ff ff 00 00"]),
    ("unified", "discrete 17", ["05 00 11 ff 00", "0f 00 10 00 02 01 03"]),
    ("separate", "holding 1, coils 17", ["06 00 01 00 07", "05 00 11 ff 00"]),
]


@pytest.mark.parametrize(("layout", "fixed", "asked"), READ_ONLY)
def test_read_only_cells_are_02_through_every_table(tmp_path: Path, layout: str, fixed: str, asked: list[str]) -> None:
    bench = bench_of(tmp_path, unit(layout, read_only=fixed), FULL)
    before = bench.unit.holding.read(0, bench.unit.holding.size), bench.unit.coils.read(0, 100)
    for pdu in asked:
        refusal = f"{int(pdu[:2], 16) | 0x80:02x}"
        assert bench.ask(pdu, "r") == f"{refusal} 02", pdu
        assert bench.ask(pdu, "nothing") == f"{refusal} 01", "who may not is told so first"
    assert (bench.unit.holding.read(0, bench.unit.holding.size), bench.unit.coils.read(0, 100)) == before


@pytest.mark.parametrize(
    ("layout", "fixed", "asked"),
    [
        ("overlaid", "holding 1", ["06 00 00 00 07", "05 00 0f ff 00", "05 00 20 ff 00", "06 00 02 00 07"]),
        ("overlaid", "coils 17", ["05 00 10 ff 00", "05 00 12 ff 00", "06 00 00 00 07"]),
        ("unified", "holding 1", ["05 00 10 ff 00", "06 00 02 00 07"]),
        ("separate", "input 1, discrete 17", ["06 00 01 00 07", "05 00 11 ff 00"]),
    ],
)
def test_the_cells_beside_them_are_written(tmp_path: Path, layout: str, fixed: str, asked: list[str]) -> None:
    bench = bench_of(tmp_path, unit(layout, read_only=fixed), FULL)
    for pdu in asked:
        assert bench.ask(pdu, "r") == pdu


# files

RECORDS = UnitSettings(holding=TableSettings(100, 5), file=(FileSettings(4, 200, 1), FileSettings(5, 200, 2)))
READ_4, READ_4_REPLY = "14 07 06 00 04 00 32 00 02", "14 06 05 06 00 01 00 01"
WRITE_4 = "15 0b 06 00 04 00 32 00 02 00 01 00 01"


@pytest.mark.parametrize(
    ("cells", "passes"),
    [
        ("all", True),
        ("file all", True),
        ("file 4", True),
        ("file 4 all", True),
        ("file 4 0-99", True),
        ("file 4 50-51", True),
        ("file 4 50, file 4 51", True),
        ("file 4 51-99", False),
        ("file 4 0-50", False),
        ("file 5", False),
        ("file 5 0-99, file 4 0-10", False),
        ("file 5 0-99, file 4 0-10, file all", True),
        ("holding all, input all, coils all, discrete all", False),
    ],
)
def test_file_records_are_granted_by_file_and_record(tmp_path: Path, cells: str, passes: bool) -> None:
    roles = {
        "reads": f'{{ units = "1", read = "{cells}" }}, {{ units = "1", write = "file 9 0" }}',
        "writes": f'{{ units = "1", write = "{cells}" }}, {{ units = "1", read = "file 9 0" }}',
        "neither": '{ units = "1", read = "holding all", write = "holding all" }',
    }
    bench = Bench(tmp_path, RECORDS, roles)
    assert bench.ask(READ_4, "reads") == (READ_4_REPLY if passes else "94 01")
    assert bench.ask(WRITE_4, "writes") == (WRITE_4 if passes else "95 01")
    assert bench.ask(READ_4, "writes") == "94 01"
    assert bench.ask(WRITE_4, "reads") == "95 01"
    assert bench.ask(READ_4, "neither") == "94 01"
    assert bench.ask("14", "neither") == "94 01", "no right to any file comes before malformed"
    assert bench.ask("14", "reads") == ("94 01" if "file" not in cells and cells != "all" else "94 03")


def test_reading_files_and_writing_them_are_two_rights(tmp_path: Path) -> None:
    grants = {"reads": '{ units = "1", read = "file 4" }', "writes": '{ units = "1", write = "file 4" }'}
    bench = Bench(tmp_path, RECORDS, grants)
    assert (bench.ask(READ_4, "reads"), bench.ask(WRITE_4, "reads")) == (READ_4_REPLY, "95 01")
    assert (bench.ask(READ_4, "writes"), bench.ask(WRITE_4, "writes")) == ("94 01", WRITE_4)


def test_one_group_without_right_refuses_the_whole_request(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, RECORDS, '{ units = "1", read = "file 4 all", write = "file 4 all" }')
    assert bench.ask("14 0e 06 00 04 00 00 00 01 06 00 05 00 00 00 01", "r") == "94 01"
    for first, second in (("04", "05"), ("05", "04")):
        asked = f"15 12 06 00 {first} 00 00 00 01 11 11 06 00 {second} 00 00 00 01 22 22"
        assert bench.ask(asked, "r") == "95 01"
        assert bench.ask("14 0e 06 00 04 00 00 00 01 06 00 05 00 00 00 01") == "14 08 03 06 00 01 03 06 00 02"
        assert bench.ask(asked) == asked
        bench.ask("15 12 06 00 04 00 00 00 01 00 01 06 00 05 00 00 00 01 00 02")


def test_rights_to_files_come_before_files_that_are_not_there(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, RECORDS, '{ units = "1", read = "file 4 0-250, file 7 0" }')
    assert bench.ask("14 07 06 00 07 00 00 00 01", "r") == "94 02"
    assert bench.ask("14 07 06 00 08 00 00 00 01", "r") == "94 01"
    assert bench.ask("14 07 06 00 04 00 c8 00 01", "r") == "94 02", "record 200 of 200"
    assert bench.ask("14 07 06 00 04 00 fb 00 01", "r") == "94 01", "record 251"
    assert bench.ask("14 07 05 00 04 00 00 00 01", "r") == "94 02", "reference type"
    assert bench.ask("14 07 05 00 08 00 00 00 01", "r") == "94 01"


# function 24


@pytest.mark.parametrize(
    ("cells", "asked", "answered"),
    [
        ("holding 10-41", "18 00 0a", "18 00 0c 00 05" + " 00 05" * 5),
        ("holding 10-40", "18 00 0a", "98 01"),
        ("holding 11-41", "18 00 0a", "98 01"),
        ("holding 90-121", "18 00 5a", "18 00 0c 00 05" + " 00 05" * 5),
        ("holding 90-99", "18 00 5a", "98 01"),
        ("holding 65530-65535", "18 ff fa", "98 02"),
        ("holding 65531-65535", "18 ff fa", "98 01"),
        ("input all", "18 00 0a", "98 01"),
    ],
)
def test_a_queue_needs_the_pointer_and_31_registers(tmp_path: Path, cells: str, asked: str, answered: str) -> None:
    assert bench_of(tmp_path, RECORDS, f'{{ units = "1", read = "{cells}" }}').ask(asked, "r") == answered


# functions that are granted by class or name

DIAGNOSE = '{ units = "1", function = "diagnose" }'


@pytest.mark.parametrize(
    ("cells", "answered"),
    [
        ("coils 8-15", "07 00"),
        ("coils 8-14", "87 01"),
        ("coils 9-15", "87 01"),
        ("holding all", "87 01"),
        ("", "87 01"),
    ],
)
def test_exception_status_needs_the_coils_that_it_shows(tmp_path: Path, cells: str, answered: str) -> None:
    read = f', {{ units = "1", read = "{cells}" }}' if cells else ""
    bench = bench_of(tmp_path, UnitSettings(exception_status=8), DIAGNOSE + read)
    assert bench.ask("07", "r") == answered


def test_exception_status_of_no_coils_needs_none(tmp_path: Path) -> None:
    assert bench_of(tmp_path, UnitSettings(), DIAGNOSE).ask("07", "r") == "07 00"
    assert bench_of(tmp_path, UnitSettings(), '{ units = "1", read = "coils all" }').ask("07", "r") == "87 01"


def test_exception_status_of_an_overlaid_unit_needs_their_register(tmp_path: Path) -> None:
    settings = UnitSettings(layout="overlaid", exception_status=16)
    cells = "coils 16-23, discrete 16-23, holding 1, input 1"
    for left_out in ("", *cells.split(", ")):
        read = ", ".join(cell for cell in cells.split(", ") if cell != left_out)
        bench = bench_of(tmp_path, settings, f'{DIAGNOSE}, {{ units = "1", read = "{read}" }}')
        assert bench.ask("07", "r") == ("87 01" if left_out else "07 00"), left_out


ASKED = {
    "7": "07",
    "11": "0b",
    "12": "0c",
    **{
        f"8/{sub}": f"08 00 {sub.lower()} 00 00" for sub in ("00", "02", "0B", "0C", "0D", "0E", "0F", "10", "11", "12")
    },
    **{f"8/{sub}": f"08 00 {sub.lower()} 00 00" for sub in ("01", "03", "0A", "14", "04")},
    "17": "11",
    "43/14": "2b 0e 01 00",
}
"""Functions by name; the last of the control functions makes the unit silent."""
IDENTIFY = {"17", "43/14"}
CONTROL = {"8/01", "8/03", "8/04", "8/0A", "8/14"}
INCLUDED = {
    "identify": IDENTIFY,
    "diagnose": set(ASKED) - IDENTIFY - CONTROL,
    **{name: {name} for name in ASKED},
    "8/0a": {"8/0A"},
    " 43/14 ": {"43/14"},
}


@pytest.mark.parametrize("word", INCLUDED)
def test_a_class_or_a_name_includes_just_this(tmp_path: Path, word: str) -> None:
    for name, asked in ASKED.items():
        bench = bench_of(tmp_path, UnitSettings(), f'{{ units = "1", function = "{word}" }}')
        refused = f"{int(asked[:2], 16) | 0x80:02x} 01"
        assert (bench.ask(asked, "r") == refused) is (name not in INCLUDED[word]), name
        assert bench.unit.device.listen_only is (name == "8/04" and "8/04" in INCLUDED[word])
        assert bench.ask(READ_4, "r") in {"94 01", ""}
        assert bench.ask("03 00 00 00 01", "r") in {"83 01", ""}


def test_reads_and_writes_include_none_of_them(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, UnitSettings(), FULL)
    for asked in ASKED.values():
        assert bench.ask(asked, "r") == f"{int(asked[:2], 16) | 0x80:02x} 01"


def test_a_function_is_granted_by_unit(tmp_path: Path) -> None:
    bench = bench_of(
        tmp_path, UnitSettings(), '{ units = "2-254", function = "identify" }, { units = "1", read = "all" }'
    )
    assert bench.ask("11", "r") == "91 01"
    assert bench.ask("11", "r", unit=2) == "91 0a"
    assert bench.ask("11") != "91 01"


@pytest.mark.parametrize(
    ("word", "asked", "answered"),
    [
        ("8/0A", "08", "88 03"),
        ("8/0A", "08 00", "88 03"),
        ("8/0A", "08 00 0a", "88 03"),
        ("8/0A", "08 00 0b", "88 01"),
        ("8/0A", "08 00 05 00 00", "88 01"),
        ("8/0A", "08 ff 0a 00 00", "88 01"),
        ("8/0A", "2b", "ab 01"),
        ("diagnose", "08", "88 03"),
        ("diagnose", "08 00", "88 03"),
        ("diagnose", "08 00 0a", "88 01"),
        ("7", "08", "88 01"),
        ("identify", "2b", "ab 03"),
        ("43/14", "2b", "ab 03"),
        ("43/14", "2b 0e", "ab 03"),
        ("43/14", "2b 0d", "ab 01"),
        ("43/14", "2b 0d 00 00", "ab 01"),
        ("43/14", "08", "88 01"),
        ("17", "2b", "ab 01"),
    ],
)
def test_a_request_too_short_for_its_sub_code(tmp_path: Path, word: str, asked: str, answered: str) -> None:
    bench = bench_of(tmp_path, UnitSettings(), f'{{ units = "1", function = "{word}" }}')
    assert bench.ask(asked, "r") == answered
    assert bench.ask(asked, "nothing") == f"{answered[:2]} 01"


def test_who_starts_the_server_may_ask_everything(tmp_path: Path) -> None:
    owner, everything = OwnerPolicy(1000).rights("owner"), policy({"all": EVERYTHING}).rights("all")
    assert set(owner.units) == set(range(1, 255))
    assert "stop" in owner.manage
    for asked in ("08", "2b"):
        assert owner.units[254].sub_function(bytes.fromhex(asked)) is not None
    for asked in ASKED.values():
        pdu = bytes.fromhex(asked)
        right = owner.units[254].functions.get(pdu[0]) or owner.units[254].sub_function(pdu)
        assert right is not None, asked
        assert right.function.parse(pdu) is not None
    assert set(owner.units[1].functions) == set(everything.units[1].functions)
    assert {1, 2, 3, 4, 5, 6, 7, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24} == set(owner.units[1].functions)
    assert OwnerPolicy(None).rights("owner").units == {}


# what a policy cannot say


@pytest.mark.parametrize(
    ("grant", "key", "problem"),
    [
        ('{ units = "1", function = "0x5A" }', "function", "'0x5A' is no function"),
        ('{ units = "1", function = "43/13" }', "function", "'43/13' is no function"),
        ('{ units = "1", function = "8" }', "function", "'8' is no function"),
        ('{ units = "1", function = "43" }', "function", "'43' is no function"),
        ('{ units = "1", function = "8/A" }', "function", "'8/A' is no function"),
        ('{ units = "1", function = "control" }', "function", "'control' is no function"),
        ('{ units = "1", function = "all" }', "function", "'all' is no function"),
        ('{ units = "1", function = "3" }', "function", "is granted by its cells"),
        ('{ units = "1", function = "20" }', "function", "is granted by its cells"),
        ('{ units = "1", function = "identify, diagnose" }', "function", "is no function"),
        ('{ manage = ["halt"] }', "manage", "'halt' is nothing to manage"),
        ('{ manage = ["stop", "halt"] }', "manage", "'halt' is nothing to manage"),
        ('{ units = "1", read = "file 4 0-10000" }', "read", "is no range within 0 to 9999"),
        ('{ units = "1", read = "file 0 0-9" }', "read", "names no cells"),
        ('{ units = "1", read = "file 65536 0" }', "read", "names no cells"),
        ('{ units = "1", write = "file 4 9-5" }', "write", "is no range within 0 to 9999"),
        ('{ units = "1", write = "file x" }', "write", "names no cells"),
        ('{ units = "1", write = "file all 0-9" }', "write", "names no cells"),
        ('{ units = "1", write = "file 4 0-9", values = "0..5" }', "values", "limits belong to a write of holding"),
        ('{ function = "identify" }', "units", "is missing"),
    ],
)
def test_a_grant_that_says_nothing_names_its_key(grant: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        policy({"r": f'{{ units = "1", read = "all" }}, {grant}'})
    assert f"p: role.r.grants[1].{key}" in str(raised.value)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "grant",
    [
        '{ manage = ["stop"] }',
        '{ units = "1", read = "file 65535 0-9999" }',
        '{ units = "1", function = "8/0A" }',
        '{ units = "all", function = "43/14", manage = ["stop"] }',
    ],
)
def test_their_neighbours_are_good_grants(grant: str) -> None:
    policy({"r": grant})
