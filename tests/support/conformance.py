"""The rows of docs/conformance.md, and a pytest plugin that prints what became of each (`make conformance`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
_ROW = re.compile(r"\| ((?:R|TCP|APP)-\w+) \| ([^|]+) \| ([^|]+) \| (.*) \|")
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`")


class Row(NamedTuple):
    """One requirement: its level, what it asks, and the tests that prove it, or why there are none."""

    id: str
    level: str
    text: str
    shown: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The tests' files and names."""
        return _TEST.findall(self.shown)


def rows() -> list[Row]:
    """Give the rows of the page, in its order."""
    found = map(_ROW.fullmatch, PAGE.read_text().splitlines())
    return [Row(*match.groups()) for match in found if match]


def verdict(row: Row, outcomes: Iterable[str]) -> str:
    """Say what became of a row: pass, FAIL, or why it has no test."""
    if not row.tests:
        return row.shown
    known = list(outcomes)
    if "failed" in known:
        return "FAIL"
    return "pass" if "passed" in known else "FAIL: no test ran"


_outcomes: defaultdict[str, list[str]] = defaultdict(list)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what became of a test under the ids that it carries."""
    report = yield
    if report.failed or report.when == "call":
        for mark in item.iter_markers("requirement"):
            for one in mark.args:
                _outcomes[one].append(report.outcome)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    terminalreporter.section("conformance")
    for row in rows():
        said = verdict(row, _outcomes[row.id])
        terminalreporter.write_line(f"{row.id:7} {row.level:12} {row.text}")
        terminalreporter.write_line(f"{'':20} {said}", red=said.startswith("FAIL"), green=said == "pass")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a row with a test has none that ran and passed."""
    if any(verdict(row, _outcomes[row.id]).startswith("FAIL") for row in rows()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
