"""What a watched item shows: its last good value, how it changed, how old it is, and why it is not new."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fieldgate_client import output
from fieldgate_client.points import Point
from fieldgate_client.readings import Reading
from fieldgate_client.selection import Item, items, kind, units
from fieldgate_client.values import Encoding, Value
from fieldgate_client.watching import Watch
from fieldgate_core.errors import DeadlineError, ExceptionReplyError, FieldgateError
from fieldgate_core.modbus import Table, UnitId

FLOW = Item(Point("flow", Table.HOLDING, 4, Encoding("FLOAT32"), unit="m3/h"), UnitId(1))
NO = ExceptionReplyError(3, 2, "illegal data address")
SILENT = DeadlineError("function 3", 3.0)


def seen(*polls: tuple[float, Value | FieldgateError], now: float) -> tuple[str, str, float | None, str]:
    watch = Watch([FLOW])
    for when, what in polls:
        watch.update([Reading(FLOW, None, what) if isinstance(what, FieldgateError) else Reading(FLOW, what)], when)
    [row] = watch.rows(now)
    assert row.label == "flow"
    return row.value, row.change, row.age, row.quality


def test_a_value_grows_old_until_the_next_poll() -> None:
    assert seen(now=5) == ("-", "", None, "")
    assert seen((1, 2.5), now=4) == ("2.5 m3/h", "", 3, "good")
    assert seen((1, 2.5), (3, 2.5), now=4) == ("2.5 m3/h", "", 1, "good")


def test_a_change_is_told_against_the_last_good_value() -> None:
    assert seen((1, 2.5), (2, 4.0), now=2) == ("4.0 m3/h", "+1.5", 0, "good")
    assert seen((1, 2.5), (2, SILENT), (3, 2.0), now=3) == ("2.0 m3/h", "-0.5", 0, "good")
    assert seen((1, 2.5), (2, 4.0), (3, 4.0), now=3) == ("4.0 m3/h", "", 0, "good")


def test_no_answer_is_stale_and_an_exception_an_error_and_both_keep_the_value() -> None:
    assert seen((1, 2.5), (2, SILENT), now=4) == ("2.5 m3/h", "", 3, "stale")
    assert seen((1, 2.5), (2, NO), now=4) == ("2.5 m3/h", "", 3, "error")
    assert seen((2, NO), now=4) == ("-", "", None, "error")


def test_units_are_told_apart_where_there_are_several() -> None:
    both = items(units("1,3"), kind("4"), 7, 1, base=1)
    assert [row.label for row in Watch(both).rows(0)] == ["1: [7]", "3: [7]"]
    assert [row.label for row in Watch(both[:1]).rows(0)] == ["[7]"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("7", [7]), ("32,33,34,36:40", [32, 33, 34, 36, 37, 38, 39, 40]), ("1,1:2", [1, 2]), ("0,255", [0, 255])],
)
def test_a_list_of_units_is_mbpolls(text: str, numbers: list[int]) -> None:
    assert units(text) == numbers


def test_a_peers_text_cannot_move_the_cursor() -> None:
    text = Item(Point("name", Table.HOLDING, 0, Encoding("STRING", length=4)), UnitId(1))
    readings = [Reading(text, "\x1b[2J\n")]
    for style in output.FORMATS:
        shown = output.write(style, "modbus://127.0.0.1", datetime.now(UTC), readings)
        assert "\x1b" not in shown, style
