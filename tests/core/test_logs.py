"""Text that a peer chose cannot forge or break a log line."""

from hypothesis import given
from hypothesis import strategies as st

from fieldgate_core.logs import printable


@given(st.text())
def test_nothing_but_printable_ascii_gets_through(text: str) -> None:
    shown = printable(text)
    assert shown.isascii()
    assert shown.isprintable() or not shown


def test_a_forged_line_and_a_quote_are_escaped() -> None:
    assert printable('a\nevent=write "x"') == 'a\\nevent=write \\"x\\"'
    assert printable("\x1b[2J") == "\\x1b[2J"


def test_long_text_is_cut() -> None:
    assert printable("a" * 500) == "a" * 200 + "..."
