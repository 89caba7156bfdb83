"""Refusals that repeat: the first is written, the rest counted, and no peer fills the trail by varying them."""

from __future__ import annotations

import itertools
import re

from fieldgate_server.trail_collapse import KINDS, SESSION_LINES, SOURCES, WINDOW, Collapse

WHO = "identity=tls:x role=r door=tls peer=1.2.3.4:{} "
REFUSED = {"unit": 1, "function": 3, "range": "holding 5", "new": None, "exception": "01", "why": "no right"}


def total(lines: list[str]) -> int:
    return sum(int(count) for line in lines for count in re.findall(r"repeated=(\d+)", line))


def test_the_first_is_written_and_the_rest_counted_whatever_port_or_value_they_have() -> None:
    collapse = Collapse()
    admitted = [
        collapse.admit("refused", WHO.format(port), REFUSED | {"new": f"{port:04x}"}, 0.0) for port in range(1000)
    ]
    assert admitted == [True, *[False] * 999]
    assert collapse.due(WINDOW - 1) == []
    [line] = collapse.due(WINDOW)
    assert line == (
        'event=refused identity=tls:x role=r door=tls unit=1 function=3 range="holding 5" '
        'exception=01 why="no right" repeated=999'
    )
    assert collapse.admit("refused", WHO.format(1), REFUSED, WINDOW + 1) is False, "who goes on is only counted"
    assert total(collapse.due(2 * WINDOW)) == 1
    assert collapse.due(3 * WINDOW) == []
    assert collapse.admit("refused", WHO.format(1), REFUSED, 3 * WINDOW) is True, "it is forgotten after a quiet time"


def test_what_differs_is_told_apart() -> None:
    collapse = Collapse()
    for facts in (REFUSED, REFUSED | {"unit": 2}, REFUSED | {"range": "holding 6"}, REFUSED | {"why": "locked"}):
        assert collapse.admit("refused", WHO.format(1), facts, 0.0)
    assert collapse.admit("refused", WHO.replace("tls:x", "tls:y").format(1), REFUSED, 0.0)


def test_a_minute_of_hammering_adds_at_most_a_few_hundred_lines_whatever_is_varied() -> None:
    collapse = Collapse()
    lines: list[str] = []
    written = 0
    asked = 0
    for second, number in itertools.product(range(61), range(1000)):
        facts = REFUSED | {"range": f"holding {asked % 65536}", "function": asked % 127, "unit": asked % 255}
        written += collapse.admit("refused", WHO.format(number), facts, float(second))
        written += collapse.admit("session", WHO.format(number), {"state": "opened"}, float(second))
        asked += 1
        lines += collapse.due(float(second))
    lines += collapse.due(61.0, everything=True)
    assert written + len(lines) <= 300
    counted = sum(int(n) for line in lines for n in re.findall(r"(?:repeated|opened)=(\d+)", line))
    assert written + counted == 2 * asked, "nothing is lost"


def test_before_authentication_a_door_has_one_share_for_all_addresses() -> None:
    collapse = Collapse()
    admitted = sum(
        collapse.admit("refused", "", {"door": "ssh", "peer": f"10.0.{n // 256}.{n % 256}:99", "what": "key"}, 0.0)
        for n in range(1000)
    )
    assert admitted == KINDS
    assert collapse.admit("refused", "", {"door": "tls", "peer": "10.0.0.1:99", "what": "key"}, 0.0)
    lines = collapse.due(WINDOW)
    assert lines == ["event=refused door=ssh what=further repeated=990"]
    assert collapse.admit("refused", "", {"door": "ssh", "peer": "10.0.0.1:99", "what": "key"}, WINDOW)
    assert not collapse.admit("refused", "", {"door": "ssh", "peer": "10.0.0.1:98", "what": "key"}, WINDOW)
    assert collapse.due(2 * WINDOW) == ["event=refused door=ssh peer=10.0.0.1 what=key repeated=1"]


def test_what_is_remembered_is_bounded() -> None:
    collapse = Collapse()
    for number in range(3 * SOURCES):
        collapse.admit("refused", WHO.replace("tls:x", f"tls:{number}").format(1), REFUSED, 0.0)
    assert len(collapse._sources) <= SOURCES + 1
    assert total(collapse.due(WINDOW)) == 3 * SOURCES - SOURCES - 1


def test_sessions_beyond_their_share_are_summed_up() -> None:
    collapse = Collapse()
    closed = {"state": "closed", "reads": 2, "writes": 1, "refusals": 0, "cause": None}
    admitted = sum(collapse.admit("session", WHO.format(n), closed, 0.0) for n in range(SESSION_LINES + 5))
    assert admitted == SESSION_LINES
    assert collapse.due(WINDOW) == [
        "event=session identity=tls:x role=r door=tls what=further closed=5 reads=10 writes=5 refusals=0"
    ]


def test_what_was_granted_is_never_collapsed() -> None:
    collapse = Collapse()
    for event in ("write", "control", "server", "trail"):
        assert all(collapse.admit(event, WHO.format(1), REFUSED, 0.0) for _ in range(1000))
    assert collapse.due(WINDOW, everything=True) == []
