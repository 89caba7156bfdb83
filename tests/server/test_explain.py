"""What `explain` says: by which grants, within which limits, and for want of which cell."""

from __future__ import annotations

import tomllib

import pytest

from fieldgate_server import cells, explain
from fieldgate_server.explain import Answer, Case
from fieldgate_server.layout import Cells
from fieldgate_server.policy import Policy, parse
from fieldgate_server.typed import Number
from fieldgate_server.unit_settings import TableSettings, UnitSettings

FIRST = 1_796_083_200.0
"""2026-12-01T00:00:00Z."""
GRANTS = """grants = [
  { units = "1", read = "all" },
  { units = "1", write = "holding 10-19", values = "0..500" },
  { units = "1", write = "holding 20-29" },
  { units = "1", write = "coils 0-7", from = "2026-12-01T00:00:00Z", until = "2026-12-08T00:00:00Z" },
  { units = "1", write = "holding 30-33", values = "-0.5..50", type = "float32 CDAB" },
  { units = "1", write = "file 4 0-9, input 5, discrete 5" },
  { units = "1", function = "identify" },
  { manage = ["view"], until = "2026-12-08T00:00:00Z" },
  { units = "2", read = "holding 0-9, holding 20-29" },
]"""
POLICY = parse(tomllib.loads(f"[role.r]\n{GRANTS}\n[role.none]"), where="p", now=FIRST - 1)


def case(number: int = 1, *, policy: Policy = POLICY, role: str = "r", layout: str = "separate") -> Case:
    unit = UnitSettings(id=number, layout=layout, holding=TableSettings(100), read_only="holding 28").build()
    return Case(policy, role, policy.rights(role), number, unit)


def write(text: str, *values: int, who: Case | None = None) -> Answer:
    asked = cells.parse(text)
    each = [[*values] * cells.quantity if len(values) == 1 else [*values] for cells in asked]
    return explain.write(who or case(), asked, each if values else None)


@pytest.mark.parametrize(
    ("text", "values", "grants"),
    [
        ("holding 10-19", (500,), ("r[1]",)),
        ("holding 19-20", (500,), ("r[1]", "r[2]")),
        ("holding 10-29", (), ("r[1]", "r[2]")),
        ("holding 20-29", (65535,), ("r[2]",)),
        ("holding 30-31", (0, 0x4148), ("r[4]",)),
        ("holding 30-33", (0, 0x4148, 0, 0xBF00), ("r[4]",)),
        ("file 4 0-9", (65535,), ("r[5]",)),
        ("input 5, discrete 5", (1,), ("r[5]",)),
        ("holding 10, holding 20", (7,), ("r[1]", "r[2]")),
    ],
)
def test_an_allowed_write_names_its_grants(text: str, values: tuple[int, ...], grants: tuple[str, ...]) -> None:
    answer = write(text, *values)
    assert answer.allowed
    assert answer.grants == grants


@pytest.mark.parametrize(
    ("text", "values", "short", "why", "needed"),
    [
        ("holding 10-14", (501,), "holding 10", "would become 501", "a wider limit"),
        ("holding 18-20", (500, 501, 9), "holding 19", "r[1] allows 0..500", 'write = "holding 19"'),
        ("holding 8-14", (1,), "holding 8-9", "no grant of role r lets it write", 'write = "holding 8-9"'),
        ("holding 28-30", (), "holding 30", "belongs to no whole value", "a wider limit"),
        ("holding 34-40", (), "holding 34-40", "no grant of role r", '{ units = "1", write = "holding 34-40" }'),
        ("holding 31", (), "holding 31", "its 2 registers written whole", "a wider limit"),
        ("holding 30-31", (1, 0x4248), "holding 30", "-0.5..50 as float32 CDAB", "a wider limit"),
        ("coils 0-3", (1,), "coils 0-3", "r[3] would, from 2026-12-01", 'write = "coils 0-3"'),
        ("coils 8", (1,), "coils 8", "lets it write coils 8", 'write = "coils 8"'),
        ("file 4 9-10", (1,), "file 4 10", "lets it write file 4 10", 'write = "file 4 10"'),
        ("file 5 0", (), "file 5 0", "lets it write file 5 0", 'write = "file 5 0"'),
        ("input 4-6", (), "input 4", "lets it write input 4", 'write = "input 4"'),
        ("holding 20, coils 9", (1,), "coils 9", "lets it write coils 9", 'write = "coils 9"'),
    ],
)
def test_a_refused_write_names_the_first_cell_that_is_short(
    text: str, values: tuple[int, ...], short: str, why: str, needed: str
) -> None:
    answer = write(text, *values)
    assert answer.short is not None
    assert str(answer.short.cells) == short
    assert why in answer.short.why
    assert needed in answer.short.needed
    assert answer.grants == ()


def test_another_time_is_another_policy() -> None:
    assert not write("coils 0-3", 1).allowed
    then = case(policy=POLICY.at(FIRST))
    assert write("coils 0-3", 1, who=then).grants == ("r[3]",)
    ended = case(policy=POLICY.at(FIRST + 7 * 86400))
    assert not write("coils 0-3", 1, who=ended).allowed


def test_without_values_it_says_the_limits() -> None:
    assert write("holding 15-24").limits == (
        "holding 15-19: r[1] allows 0..500",
        "holding 20-24: r[2] allows any value",
    )
    assert write("holding 30-33").limits == (
        "holding 30-33: r[4] allows -0.5..50 as float32 CDAB, its 2 registers written whole",
    )
    assert write("holding 15-24", 5).limits == ()


def test_cells_that_are_not_there_are_allowed_and_said_to_be_answered_02() -> None:
    policy = parse(tomllib.loads('[role.r]\ngrants=[{units="1", read="all", write="all"}]'), where="p")
    for text, note in (
        ("holding 99-100", ("unit 1 has not all of holding 99-100, or they are read-only: it answers 02",)),
        ("holding 28", ("unit 1 has not all of holding 28, or they are read-only: it answers 02",)),
        ("holding 99", ()),
        ("input 99", ()),
        ("input 100", ("unit 1 has not all of input 100, or they are read-only: it answers 02",)),
        ("file 4 0", ("unit 1 has not all of file 4 0, or they are read-only: it answers 02",)),
    ):
        answer = write(text, 1, who=case(policy=policy))
        assert answer.allowed
        assert answer.notes == note
    read = explain.read(case(policy=policy), cells.parse("holding 99-100"))
    assert read.notes == ("unit 1 has not all of holding 99-100: it answers 02",)


OVERLAID = """grants = [
  { units = "1", write = "coils all, discrete all, input all" },
  { units = "1", write = "holding 1", values = "0..7" },
  { units = "1", read = "coils all, discrete all, holding all" },
]"""


def test_shared_cells_are_named_by_the_table_that_is_short() -> None:
    policy = parse(tomllib.loads(f"[role.r]\n{OVERLAID}"), where="p")
    who = case(policy=policy, layout="overlaid")
    assert write("coils 16-18", 1, who=who).allowed
    refused = write("coils 19", 1, who=who).short
    assert refused is not None
    assert str(refused.cells) == "holding 1"
    assert "would become 8" in refused.why
    elsewhere = write("discrete 32", 1, who=who).short
    assert elsewhere is not None
    assert str(elsewhere.cells) == "holding 2"
    assert write("coils 16", who=who).limits == ("holding 1: r[1] allows 0..7", "input 1: r[0] allows any value")
    read = explain.read(who, cells.parse("coils 3")).short
    assert read is not None
    assert str(read.cells) == "input 0"


def test_reads() -> None:
    assert explain.read(case(), cells.parse("holding 0-99, coils 7, file 9 0-5")).grants == ("r[0]",)
    refused = explain.read(case(2), cells.parse("holding 5-25")).short
    assert refused is not None
    assert str(refused.cells) == "holding 10-19"
    assert refused.needed == '{ units = "2", read = "holding 10-19" }'
    for number, text in ((2, "coils 0"), (3, "holding 0")):
        assert not explain.read(case(number), cells.parse(text)).allowed


def test_each_table_is_read_by_its_own_right() -> None:
    tables = ("coils", "discrete", "holding", "input")
    roles = {table: {"grants": [{"units": "1", "read": f"{table} all"}]} for table in tables}
    policy = parse({"role": roles}, where="p")
    for role in tables:
        for table in tables:
            answer = explain.read(case(policy=policy, role=role), cells.parse(f"{table} 0-9"))
            assert answer.allowed is (role == table)


def test_what_results_where_nothing_is_lies_outside_no_limit() -> None:
    """As the guard has it: rights to cells that are not there, then 02."""
    policy = parse(tomllib.loads(f"[role.r]\n{OVERLAID}"), where="p")
    unit = UnitSettings(layout="overlaid", holding=TableSettings(1)).build()
    answer = write("coils 19", 1, who=Case(policy, "r", policy.rights("r"), 1, unit))
    assert answer.allowed
    assert answer.notes == ("unit 1 has not all of coils 19, or they are read-only: it answers 02",)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("43/14", True), ("17", True), ("7", False), ("8/0A", False), ("8/0a", False), ("0x5A", False), ("43/13", False)],
)
def test_functions_by_name(name: str, allowed: bool) -> None:
    answer = explain.function(case(), name)
    assert answer.allowed is allowed
    assert answer.grants == (("r[6]",) if allowed else ())


def test_functions_that_mean_cells_say_which() -> None:
    answer = explain.function(case(), "6")
    assert answer.allowed
    assert "writes holding 10-19: r[1] allows 0..500" in answer.limits
    assert not explain.function(case(), "5").allowed
    assert not explain.function(case(2), "22").allowed


def test_exception_status_needs_its_coils() -> None:
    text = (
        '[role.r]\ngrants=[{units="1", function="7"}]\n[role.s]\ngrants=[{units="1", function="7", read="coils 8-15"}]'
    )
    policy = parse(tomllib.loads(text), where="p")
    unit = UnitSettings(exception_status=8).build()
    refused = explain.function(Case(policy, "r", policy.rights("r"), 1, unit), "7").short
    assert refused is not None
    assert str(refused.cells) == "coils 8-15"
    assert explain.function(Case(policy, "s", policy.rights("s"), 1, unit), "7").grants == ("s[0]",)


@pytest.mark.parametrize("name", ["", "x", "8", "43", "0", "128", "0x80", "3/", "-3"])
def test_what_names_no_function(name: str) -> None:
    with pytest.raises(ValueError, match=r"names no function|has sub-functions"):
        explain.function(case(), name)


def test_management() -> None:
    assert explain.manage(case(), "view").grants == ("r[7]",)
    refused = explain.manage(case(), "kick").short
    assert refused is not None
    assert refused.needed == '{ manage = ["kick"] }'
    ended = explain.manage(case(policy=POLICY.at(FIRST + 8 * 86400)), "view").short
    assert ended is not None
    assert "r[7] would, until 2026-12-08" in ended.why


def test_a_role_without_grants_may_nothing() -> None:
    nobody = case(role="none")
    assert not write("holding 10", 1, who=nobody).allowed
    assert not explain.read(nobody, [Cells(cells.ALL_FILES, 0, 1)]).allowed
    assert not explain.function(nobody, "17").allowed


@pytest.mark.parametrize(
    ("text", "values", "kind", "spread"),
    [
        ("holding 0-2", ["7"], None, [[7, 7, 7]]),
        ("holding 0-2", ["7", "8", "9"], None, [[7, 8, 9]]),
        ("holding 0-1, coils 3", ["1"], None, [[1, 1], [1]]),
        ("holding 0-1, holding 9", ["1", "2", "3"], None, [[1, 2], [3]]),
        ("holding 0-3", ["12.5", "-0.5"], Number("float32", "CDAB"), [[0, 0x4148, 0, 0xBF00]]),
        ("holding 0-1", ["-1"], Number("int16", "ABCD"), [[0xFFFF, 0xFFFF]]),
    ],
)
def test_values_are_one_for_all_or_one_each(
    text: str, values: list[str], kind: Number | None, spread: list[list[int]]
) -> None:
    assert explain.spread(cells.parse(text), values, kind) == spread


@pytest.mark.parametrize(
    ("text", "values", "kind", "problem"),
    [
        ("holding 0-2", ["7", "8"], None, "2 values for 3"),
        ("holding 0", ["65536"], None, "not a whole number from 0 to 65535"),
        ("holding 0", ["-1"], None, "name their type"),
        ("holding 0", ["1.5"], None, "name their type"),
        ("coils 0", ["2"], None, "not a whole number from 0 to 1"),
        ("holding 0-2", ["1"], Number("float32", "CDAB"), "name a multiple"),
        ("holding 0-1", ["x"], Number("float32", "CDAB"), "is no number"),
        ("holding 0", ["70000"], Number("uint16", "ABCD"), "does not fit"),
        ("coils 0-1", ["1.5"], Number("float32", "CDAB"), "have no type"),
    ],
)
def test_values_that_do_not_fit(text: str, values: list[str], kind: Number | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        explain.spread(cells.parse(text), values, kind)
