"""Settings files: every wrong key and value is refused with its file and key path."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fieldgate_core import settings
from fieldgate_core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    size: int = 100
    values: tuple[int, ...] | int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size is negative")


@dataclass(frozen=True)
class Outer:
    name: str
    where: Path | None = None
    seconds: float = 1.0
    on: bool = False
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    table: dict[str, Inner] = field(default_factory=dict)


def load(folder: Path, text: str) -> Outer:
    file = folder / "x.toml"
    file.write_text(text)
    return settings.load(file, Outer)


def test_a_whole_file_is_read_with_paths_relative_to_it(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        'name="a"\nwhere="b/c"\nseconds=2\non=true\ninner={size=3}\nmany=[{values=[1,2]},{values=7}]\ntable.k={size=1}\n',
    )
    assert read == Outer(
        "a",
        tmp_path / "b/c",
        2.0,
        True,
        Inner(3),
        (Inner(values=(1, 2)), Inner(values=7)),
        {"k": Inner(1)},
    )


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("", "name", "is missing"),
        ('name="a"\nnmae=1', "nmae", "unknown key"),
        ("name=1", "name", "must be text"),
        ('name="a"\non=1', "on", "must be true or false"),
        ('name="a"\ninner={size=true}', "inner.size", "must be a whole number"),
        ('name="a"\ninner={sise=1}', "inner.sise", "unknown key"),
        ('name="a"\ninner={size=-1}', "inner", "size is negative"),
        ('name="a"\ninner=3', "inner", "must be a table"),
        ('name="a"\nmany=[{size=1},{size="x"}]', "many[1].size", "must be a whole number"),
        ('name="a"\nmany={}', "many", "must be a list"),
        ('name="a"\ntable.k={size=1.5}', "table.k.size", "must be a whole number"),
        ('name="a"\ninner={values="x"}', "inner.values", "must be a whole number"),
        ('name="a"\nseconds="x"', "seconds", "must be a number"),
        ('name="a', "", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, text: str, where: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert problem in caught.value.problem
    assert caught.value.where == f"{tmp_path / 'x.toml'}" + (f": {where}" if where else "")


def test_a_near_miss_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, 'name="a"\nsecond=1')
    assert "did you mean seconds?" in caught.value.hint


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        settings.load(tmp_path / "none.toml", Outer)
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        settings.load(tmp_path / "b.toml", Outer)
