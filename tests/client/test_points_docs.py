"""What the pages on points and sites show is true: their files load, their table of byte orders holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fieldgate_client import points_file
from fieldgate_client.values import ORDER_ALIASES, TYPES, Encoding
from fieldgate_core import sites

DOCS = Path(__file__).parents[2] / "docs"
POINTS, SITES = (DOCS / "points.md").read_text(), (DOCS / "sites.md").read_text()


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_points_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text(block(POINTS, "toml"))
    points = {point.name: point for point in points_file.load(file)}
    assert list(points) == ["flow", "setpoint", "pump", "firmware", "alarm"]
    assert points["setpoint"].encode(42.5) == [425]


def test_the_sites_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "sites.toml"
    file.write_text(block(SITES, "toml"))
    assert list(sites.load(file).site) == ["pump-7", "here"]


def test_the_table_of_byte_orders() -> None:
    rows = re.findall(r"^\| `([A-D]{4})` \| (\w{4} \w{4}) \| [A-H]{8} \| (.*) \|$", POINTS, re.MULTILINE)
    assert [order for order, _, _ in rows] == ["ABCD", "CDAB", "BADC", "DCBA"]
    said: dict[str, str] = {}
    for order, words, aliases in rows:
        assert Encoding("FLOAT32", order).encode(123.456) == [int(word, 16) for word in words.split()]
        said |= dict.fromkeys(re.split(r"[;,] ", aliases.replace('"', "")), order)
    assert said.items() <= ORDER_ALIASES.items()


def test_every_type_is_on_the_page() -> None:
    assert set(re.findall(r"`([A-Z]+[0-9]*[LH]?)`", POINTS.partition("## Byte orders")[0])) == {*TYPES} - {"BOOL"}


def test_the_python_of_the_page() -> None:
    lines = block(POINTS, "python").splitlines()
    names: dict[str, object] = {}
    exec(lines[0], names)
    for line in lines[2:]:
        code, _, result = line.partition("#")
        if result.strip().startswith("["):
            assert eval(code, names) == [int(word, 16) for word in re.findall(r"0x\w+", result)]
        else:
            assert repr(eval(code, names)) == result.strip()


@pytest.mark.parametrize("page", [POINTS, SITES])
def test_commands_of_the_pages_exist(page: str) -> None:
    from fieldgate_core.cli import COMMANDS

    named = re.findall(r"(?:^|`|\$\()fieldgate ([a-z]+)", page, re.MULTILINE)
    assert set(named) <= set(COMMANDS)
    assert named
