"""The trail's chain: whatever is done to its lines, verification names the place; its keys go one way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_server.trail_chain import BEGINNING, Link, Pair, onward, pair, seal, torn_mark
from fieldgate_server.trail_verify import Place, Report, verify

KEY = bytes(range(32))
FIRST = Pair(1, KEY)
Lines = list[bytes]


def trail(count: int, first: int = 1, key: bytes = KEY) -> Lines:
    """Write a trail of lines whose texts differ in length."""
    link = Link(first, key, BEGINNING)
    lines = []
    for sequence in range(first, first + count):
        when = f"2026-11-03T10:00:00.{sequence % 1000:03d}+00:00 clock=synced"
        line, link = seal(link, f"{when} seq={sequence} event=write n={'7' * sequence}".encode())
        lines.append(line + b"\n")
    return lines


def head(lines: Lines) -> Pair:
    """Give the head after the last of these lines."""
    found = re.search(rb"seq=(\d+) .* mac=([0-9a-f]{64})\n", lines[-1])
    assert found
    return Pair(int(found[1]), bytes.fromhex(found[2].decode()))


def judge(lines: Lines, wanted: Pair | None = None, key: Pair = FIRST) -> Report:
    """Verify bytes as a file would give them: split at newlines."""
    data = b"".join(lines)
    pieces = [piece + b"\n" for piece in data.split(b"\n")[:-1]]
    rest = data.rpartition(b"\n")[2]
    numbered = enumerate([*pieces, *([rest] if rest else [])], 1)
    return verify([(Place("audit.log", number), piece) for number, piece in numbered], key, wanted)


def faults(report: Report) -> list[str]:
    return [str(fault) for fault in report.faults]


def test_a_trail_as_it_was_written_is_sound() -> None:
    lines = trail(10)
    report = judge(lines, head(lines))
    assert faults(report) == []
    assert (report.first, report.chained, report.head) == (1, 10, head(lines))
    assert faults(judge(lines, head(lines[:4]))) == [], "an older head is within"


def changed(lines: Lines) -> Lines:
    lines[4] = lines[4].replace(b"77777 mac", b"77778 mac")
    return lines


def dropped(lines: Lines) -> Lines:
    del lines[4]
    return lines


def swapped(lines: Lines) -> Lines:
    lines[4], lines[5] = lines[5], lines[4]
    return lines


def swapped_far(lines: Lines) -> Lines:
    lines[4], lines[8] = lines[8], lines[4]
    return lines


def inserted(lines: Lines) -> Lines:
    lines.insert(4, b"2026-11-03T10:00:00.000+00:00 clock=synced seq=5 event=write forged=yes\n")
    return lines


def repeated(lines: Lines) -> Lines:
    lines.insert(4, lines[3])
    return lines


def torn(lines: Lines) -> Lines:
    lines[4] = lines[4][:30] + b"\n"
    return lines


def other_mac(lines: Lines) -> Lines:
    lines[4] = lines[4][:-3] + bytes([lines[4][-3] ^ 1]) + lines[4][-2:]
    return lines


def upper_case(lines: Lines) -> Lines:
    text, _, mac = lines[4].rpartition(b"=")
    lines[4] = text + b"=" + mac.upper()
    return lines


@pytest.mark.parametrize(
    ("tamper", "wanted"),
    [
        (changed, ["audit.log:5: sequence 5: changed"]),
        (other_mac, ["audit.log:5: sequence 5: changed"]),
        (upper_case, ["audit.log:5: sequence 5: changed: the line is not whole"]),
        (dropped, ["audit.log:5: sequence 5: missing"]),
        (
            swapped,
            ["audit.log:5: sequence 5: missing", "audit.log:6: sequence 5: repeated, or it belongs further up"],
        ),
        (
            swapped_far,
            [
                "audit.log:5: sequence 5: changed, or another line stands in its place",
                "audit.log:9: sequence 9: changed, or another line stands in its place",
            ],
        ),
        (inserted, ["audit.log:5: sequence 5: a line that is not of the chain stands before it"]),
        (repeated, ["audit.log:5: sequence 4: repeated, or it belongs further up"]),
        (torn, ["audit.log:5: sequence 5: changed: the line is not whole"]),
    ],
)
def test_what_was_done_is_named_with_its_place_and_nothing_else_is(
    tamper: Callable[[Lines], Lines], wanted: list[str]
) -> None:
    assert faults(judge(tamper(trail(10)))) == wanted


def test_a_cut_end_shows_against_the_head_and_in_the_middle_of_a_line_without() -> None:
    lines = trail(10)
    newest = head(lines)
    assert faults(judge(lines[:7])) == [], "whole lines that are gone leave no trace"
    [cut] = faults(judge(lines[:7], newest))
    assert cut == "audit.log:7: sequence 8: cut off: the trail ends here, and its head was at sequence 10"
    assert faults(judge([*lines[:7], lines[7][:-1]])) == ["audit.log:8: sequence 8: cut off: the line is not whole"]
    assert len(faults(judge([], newest))) == 1


def test_who_has_the_live_key_cannot_write_anew_what_a_head_stands_for() -> None:
    """They change line 6, and give the lines after it, whose text stays, the MACs that fit."""
    lines = trail(10)
    newest = head(lines)
    link = Link(6, onward(KEY, 5), head(lines[:5]).value)
    forged = lines[:5]
    for original in lines[5:]:
        text = original.rpartition(b" mac=")[0]
        line, link = seal(link, text.replace(b"seq=6 event=write", b"seq=6 event=spare"))
        forged.append(line + b"\n")
    assert faults(judge(forged)) == [], "this is what the chain alone cannot show"
    [anew] = faults(judge(forged, newest))
    assert anew.startswith("audit.log:10: sequence 10: is not the line that the head names")


def test_the_wrong_key_fits_nothing() -> None:
    assert len(judge(trail(3), key=Pair(1, bytes(32))).faults) == 3


def test_a_line_that_was_torn_is_accepted_only_as_the_chain_says_it_was() -> None:
    before = trail(2)
    link = Link(3, onward(KEY, 2), head(before).value)
    fragment = b"2026-11-03T10:00:00.000+00:00 clock=sy"
    said = f"event=trail state=continued previous={link.previous.hex()} torn={torn_mark(fragment).decode()}"
    line, _ = seal(link, f"2026-11-03T10:00:00.000+00:00 clock=synced seq=3 {said}".encode())
    report = judge([*before, fragment + b"\n", line + b"\n"])
    assert faults(report) == []
    assert report.torn == 1
    assert len(faults(judge([*before, fragment[:-1] + b"\n", line + b"\n"]))) == 1
    assert len(faults(judge([*before, fragment + b"\n", fragment + b"\n", line + b"\n"]))) == 2


def test_torn_pieces_that_were_taken_out_are_missed_by_the_line_that_names_them() -> None:
    before = trail(2)
    link = Link(3, onward(KEY, 2), head(before).value)
    pieces = [b"2026-11-03T10:00:00.000+00:00 clock=sy", b"2026-11"]
    marks = b",".join(torn_mark(piece) for piece in pieces).decode()
    said = f"event=trail state=continued previous={link.previous.hex()} torn={marks}"
    line, link = seal(link, f"2026-11-03T10:00:00.000+00:00 clock=synced seq=3 {said}".encode())
    after, _ = seal(link, b"2026-11-03T10:00:00.000+00:00 clock=synced seq=4 event=write")
    torn = [piece + b"\n" for piece in pieces]
    end = [line + b"\n", after + b"\n"]
    assert faults(judge([*before, *torn, *end])) == []
    assert faults(judge([*before, *end])) == ["audit.log:3: sequence 3: 45 torn bytes that stood before it are missing"]
    assert len(faults(judge([*before, torn[0], *end]))) == 1, "one of two"


def test_torn_pieces_may_be_gone_with_the_older_files_that_held_them() -> None:
    before = trail(4)
    link = Link(5, onward(KEY, 4), head(before).value)
    piece = b"2026-11-03T10:00:00.000+00:00 clock=sy"
    said = f"event=trail state=new-file previous={link.previous.hex()} torn={torn_mark(piece).decode()}"
    line, _ = seal(link, f"2026-11-03T10:00:00.000+00:00 clock=synced seq=5 {said}".encode())
    assert faults(judge([line + b"\n"])) == []
    assert faults(judge([*before, piece + b"\n", line + b"\n"])) == []
    assert len(faults(judge([*before, line + b"\n"]))) == 1, "the file that held them is here"


def test_older_files_may_be_gone_but_only_whole_ones() -> None:
    before = trail(4)
    link = Link(5, onward(KEY, 4), head(before).value)
    after = []
    for sequence, event in enumerate(
        [f"trail state=new-file previous={link.previous.hex()}", "write n=1", "write n=2"], 5
    ):
        line, link = seal(link, f"2026-11-03T10:00:00.000+00:00 clock=synced seq={sequence} event={event}".encode())
        after.append(line + b"\n")
    assert faults(judge([*before, *after])) == []
    report = judge(after)
    assert (faults(report), report.first) == ([], 5)
    assert len(faults(judge(after[1:]))) == 1, "a file begins where the server says so"
    assert len(faults(judge(before[2:]))) == 1
    assert len(faults(judge(after, head(before)))) == 1, "the head lies before these files"


def test_lines_before_the_chain_began_are_counted_and_prove_nothing() -> None:
    old = [f"2026-11-03T10:00:00.000+00:00 seq={n} event=write\n".encode() for n in (1, 2)]
    lines = trail(3, first=3)
    report = judge([*old, *lines], key=Pair(3, KEY))
    assert (faults(report), report.unchained, report.chained) == ([], 2, 3)
    assert faults(judge([*old, *lines[1:]], key=Pair(3, KEY)))[0].endswith(":3: sequence 3: missing")


@given(st.data())
def test_any_tampering_is_found_at_the_first_line_that_differs(data: st.DataObject) -> None:
    """Whatever bytes are changed, removed or put in, or lines moved: the first fault is at the first difference."""
    lines = trail(data.draw(st.integers(2, 12)))
    whole = b"".join(lines)
    kind = data.draw(st.sampled_from(["byte", "cut out", "put in", "lines"]))
    if kind == "byte":
        at = data.draw(st.integers(0, len(whole) - 1))
        spoiled = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    elif kind == "cut out":
        at = data.draw(st.integers(0, len(whole) - 1))
        spoiled = whole[:at] + whole[at + data.draw(st.integers(1, 400)) :]
    elif kind == "put in":
        at = data.draw(st.integers(0, len(whole)))
        spoiled = whole[:at] + data.draw(st.binary(min_size=1, max_size=200) | st.sampled_from(lines)) + whole[at:]
    else:
        spoiled = b"".join(data.draw(st.permutations(lines) | st.lists(st.sampled_from(lines), max_size=12)))
    if spoiled == whole:
        return
    report = judge([spoiled], head(lines))
    assert report.faults
    now = spoiled.split(b"\n")
    pairs = zip([*whole.split(b"\n"), b"-"], [*now, b"+"], strict=False)
    first = next(number for number, (before, after) in enumerate(pairs, 1) if before != after)
    # a cut at the end is named at the last line that is left
    assert report.faults[0].place.number in {first, first - 1 if first >= len(now) else first}


@pytest.mark.parametrize("text", ["", "1", "1:", f"0:{'a' * 64}", f"1:{'A' * 64}", f"1:{'a' * 63}", f"-1:{'a' * 64}"])
def test_a_pair_is_read_strictly(text: str) -> None:
    with pytest.raises(ValueError):
        pair(text)
    assert str(pair(f" {FIRST}\n")) == str(FIRST)


def test_no_line_gives_away_the_key(tmp_path: Path) -> None:
    keys = {onward(KEY, steps).hex().encode() for steps in range(12)}
    assert len(keys) == 12
    assert not any(key in line for key in keys for line in trail(10))
