"""docs/seeds.md: every row names a test that is there, or the issue that it comes with."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "seeds.md"
TO_COME = {"WebSocket messages", "a browser page", "`docker compose up`"}
"""How the rows begin that may name an issue in place of a test: the live view and Docker."""


def rows() -> list[tuple[str, str, str]]:
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.read_text().splitlines()
             if line.startswith("| ") and not line.startswith(("| ---", "| feature"))]  # fmt: skip
    return [(row[0], row[1], row[2]) if len(row) == 3 else (row[0], row[1], "") for row in cells]


def test_all_five_systems_have_rows() -> None:
    assert PAGE.read_text().count("\n## ") == 5
    assert len(rows()) > 50


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_names_a_test_that_is_there_or_its_issue(row: tuple[str, str, str]) -> None:
    feature, shown, note = row
    if any(feature.startswith(words) for words in TO_COME):
        assert shown == ""
        assert re.search(r"\(issue [0-9]+\)", note)
        return
    match = re.fullmatch(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", shown)
    assert match, f"{feature!r} names no test"
    functions = {
        node.name: node
        for node in ast.parse((ROOT / match[1]).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert match[2] in functions, f"there is no test {shown}"
    marks = [ast.unparse(mark) for mark in functions[match[2]].decorator_list]
    assert not any("xfail" in mark or "mark.skip(" in mark for mark in marks), f"{shown} may fail or never runs"
