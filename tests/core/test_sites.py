"""The site list: strict, with paths relative to it, and names that are found or told with their likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldgate_core import sites
from fieldgate_core.errors import ConfigError
from fieldgate_core.sites import ListedSite
from fieldgate_core.url import Scheme

FILE = """
inventories = ["fleet/hosts.yml"]

[site.pump-7]
url = "modbus+ssh://operator@box-7.example.com"
unit = 3
points = "pump.toml"
identity = "/keys/ops"
domain = "acme"

[site.here]
url = "modbus://127.0.0.1"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "sites.toml"
    file.write_text(text)
    return file


def test_a_site_list(tmp_path: Path) -> None:
    found = sites.load(written(tmp_path, FILE))
    pump = found.site["pump-7"]
    assert (pump.address.scheme, pump.address.host, pump.address.user) == (Scheme.SSH, "box-7.example.com", "operator")
    assert pump.points == tmp_path / "pump.toml"
    assert (pump.unit, pump.identity, pump.domain) == (3, Path("/keys/ops"), "acme")
    assert found.site["here"] == ListedSite("modbus://127.0.0.1")
    assert found.inventories == (tmp_path / "fleet/hosts.yml",)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = FILE.replace("unit = 3", "unit = 256").replace("modbus://127.0.0.1", "modbus://192.0.2.1")
    file = written(tmp_path, text + 'password = "x"\n[site."a b"]\nurl = "modbus://127.0.0.1"\n')
    with pytest.raises(ConfigError) as caught:
        sites.load(file)
    assert caught.value.where == str(file)
    assert "site.pump-7: a unit identifier is 0 to 255, not 256" in caught.value.problem
    assert "site.here.password: unknown key" in caught.value.problem
    file = written(tmp_path, FILE.replace("modbus://127.0.0.1", "modbus://192.0.2.1"))
    with pytest.raises(ConfigError, match=r"site.here: url: .*loopback only \(reach it through a door"):
        sites.load(file)


@pytest.mark.parametrize("name", ["a b", "-a", "a:1", "modbus://x", "ana@box", "a=b", "a\\u001b"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a site"):
        sites.load(written(tmp_path, f'[site."{name}"]\nurl = "modbus://127.0.0.1"\n'))


def test_a_name_is_found_or_told_with_its_likes() -> None:
    known = {name: ListedSite("modbus://127.0.0.1") for name in ("pump-7", "pump-8", "tank")}
    files = [Path("/etc/a.toml"), Path("/etc/b.yml")]
    assert sites.find("tank", known, files) is known["tank"]
    with pytest.raises(ConfigError) as caught:
        sites.find("pmup-7", known, files)
    assert str(caught.value) == "pmup-7: no site of this name in /etc/a.toml, /etc/b.yml"
    assert caught.value.hint == "did you mean pump-7 or pump-8?"
    with pytest.raises(ConfigError) as caught:
        sites.find("zzz", known, files)
    assert caught.value.hint == "known are pump-7, pump-8, tank"
    with pytest.raises(ConfigError) as caught:
        sites.find("zzz", {}, files)
    assert "give its URL" in caught.value.hint
