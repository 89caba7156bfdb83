"""docs/conformance.md: no requirement is missing, and the page and the tests name each other."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from pathlib import Path

import pytest

from support.conformance import Row, rows, verdict

ROOT = Path(__file__).parents[2]
NUMBERS = [f"R-{number:02}" for number in range(1, 68) if number not in {9, 15}]
"""v36 has no R-09 and no R-15."""


@functools.cache
def marked() -> frozenset[tuple[str, str, str]]:
    """Every id that a test carries, with the test's file and name."""
    found = set()
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).split(".")[-1] == "requirement":
                    ids = [ast.literal_eval(argument) for argument in mark.args]
                    found |= {(one, str(file.relative_to(ROOT)), node.name) for one in ids}
    return frozenset(found)


def test_every_requirement_has_one_row() -> None:
    found = Counter(row.id for row in rows())
    assert [one for one in NUMBERS if found[one] != 1] == []
    assert {one for one in found if one.startswith("R-")} == set(NUMBERS)
    assert set(found.values()) == {1}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_a_row_names_the_tests_that_carry_its_id_or_says_why_there_are_none(row: Row) -> None:
    assert set(row.tests) == {(file, name) for one, file, name in marked() if one == row.id}
    assert row.tests or len(row.shown) > 20, "no test, and no reason"


def test_no_test_carries_an_id_without_a_row() -> None:
    assert {one for one, _, _ in marked()} - {row.id for row in rows()} == set()


def test_a_row_passes_only_by_a_test_that_ran() -> None:
    row = Row("R-01", "MUST", "asked", "`tests/a/test_b.py::test_c`")
    assert verdict(row, ["passed", "passed"]) == "pass"
    assert verdict(row, ["passed", "failed"]) == "FAIL"
    assert verdict(row, ["skipped"]) == "FAIL: no test ran"
    assert verdict(row, []) == "FAIL: no test ran"
    assert verdict(row._replace(shown="why not"), []) == "why not"
