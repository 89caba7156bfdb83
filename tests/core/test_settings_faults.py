"""All that is wrong with a file is told at once, and keys may be words of Python's."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.settings import build, examine


@dataclass(frozen=True)
class Part:
    """One of several."""

    size: int
    from_: str | date = ""

    def __post_init__(self) -> None:
        if self.size > 9:
            raise ValueError("size is over 9")
        if self.size == 9:
            raise ConfigError("elsewhere", "is wrong too")


@dataclass(frozen=True)
class Whole:
    """A file."""

    name: str
    part: tuple[Part, ...] = ()
    named: dict[str, Part] = field(default_factory=dict)


def faults(text: str) -> list[str]:
    built, found = examine(tomllib.loads(text), Whole, where="f", base=Path())
    assert (built is None) is bool(found)
    return [str(fault) for fault in found]


def test_each_fault_is_told_once_with_its_place() -> None:
    text = """
    nmae = "x"
    [[part]]
    size = "1"
    [[part]]
    size = 10
    [[part]]
    size = 9
    [[part]]
    size = 1
    form = 2
    from = 5
    [named.a]
    [named.b]
    size = true
    """
    assert faults(text) == [
        "f: nmae: unknown key",
        "f: name: is missing",
        "f: part[0].size: must be a whole number, not '1'",
        "f: part[1]: size is over 9",
        "elsewhere: is wrong too",
        "f: part[3].form: unknown key",
        "f: part[3].from: must be a date, not 5",
        "f: named.a.size: is missing",
        "f: named.b.size: must be a whole number, not True",
    ]


def test_what_is_well_has_no_faults() -> None:
    assert faults('name = "x"\npart = [{ size = 1 }]') == []


def test_build_raises_the_first_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        build(tomllib.loads('nmae = "x"'), Whole, where="f", base=Path())
    assert str(caught.value) == "f: nmae: unknown key"
    assert caught.value.hint == "did you mean name?"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"2026-12-01"', "2026-12-01"),
        ("2026-12-01", date(2026, 12, 1)),
        ("2026-12-01T06:00:00Z", datetime.fromisoformat("2026-12-01T06:00:00+00:00")),
    ],
)
def test_a_key_that_is_a_word_of_python_and_dates(written: str, value: object) -> None:
    raw = tomllib.loads(f'name = "x"\npart = [{{ size = 1, from = {written} }}]')
    assert build(raw, Whole, where="f", base=Path()).part[0].from_ == value
    assert faults(f'name = "x"\npart = [{{ size = 1, from_ = {written} }}]') == ["f: part[0].from_: unknown key"]


def test_what_holds_between_keys_is_told_beside_an_unknown_one() -> None:
    assert faults('name = "a"\nextra = 1\n[[part]]\nsize = 10\nshape = 1') == [
        "f: extra: unknown key",
        "f: part[0].shape: unknown key",
        "f: part[0]: size is over 9",
    ]
