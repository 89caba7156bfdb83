"""An Ansible inventory is read as it is: YAML and INI, groups, variables and what wins over what."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from fieldgate_client import inventory, site_names
from fieldgate_core.errors import ConfigError

YAML = """
all:
  vars:
    fieldgate_domain: acme
    fieldgate_unit: 1
  hosts:
    jump:
      ansible_connection: local
  children:
    pumps:
      vars: {fieldgate_unit: 2, fieldgate_points: pump.toml}
      hosts:
        pump-7:
          ansible_host: 192.0.2.7
        pump-8:
          fieldgate_url: modbus+ssh://operator@box-8.example.com
          fieldgate_unit: "9"
          secret: !vault |
            $ANSIBLE_VAULT;1.1;AES256
            6162
      children:
        big_pumps:
          vars: {fieldgate_unit: 3}
          hosts:
            pump-[09:10]:
              ansible_host: "2001:db8::9"
"""
INI = """
jump ansible_connection=local

[pumps]
pump-7 ansible_host=192.0.2.7   # the old one
pump-8 fieldgate_url=modbus+ssh://operator@box-8.example.com fieldgate_unit=9 note="two words"

[pumps:vars]
fieldgate_unit=2
fieldgate_points=pump.toml

[pumps:children]
big_pumps

[big_pumps]
pump-[09:10] ansible_host=2001:db8::9

[big_pumps:vars]
fieldgate_unit = 3

[all:vars]
fieldgate_domain=acme
fieldgate_unit=1
"""


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(("name", "text"), [("hosts.yml", YAML), ("hosts", INI), ("hosts.ini", INI)])
def test_both_forms_give_the_same_sites(tmp_path: Path, name: str, text: str) -> None:
    found = inventory.load(written(tmp_path, name, text))
    assert {host: (site.url, site.unit) for host, site in found.items()} == {
        "pump-7": ("modbus+tls://192.0.2.7", 2),
        "pump-8": ("modbus+ssh://operator@box-8.example.com", 9),
        "pump-09": ("modbus+tls://[2001:db8::9]", 3),
        "pump-10": ("modbus+tls://[2001:db8::9]", 3),
    }
    assert {(site.points, site.domain) for site in found.values()} == {(tmp_path / "pump.toml", "acme")}


def test_variables_beside_the_inventory(tmp_path: Path) -> None:
    """As ansible-inventory of ansible-core 2.19 tells it for these files."""
    written(tmp_path, "group_vars/all.yml", "fieldgate_domain: beta")
    written(tmp_path, "group_vars/pumps.yml", "fieldgate_unit: 99")
    written(tmp_path, "group_vars/pumps/units.yaml", "fieldgate_unit: 20")
    written(tmp_path, "group_vars/pumps/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    written(tmp_path, "host_vars/pump-7", "fieldgate_unit: 70\nansible_host: 192.0.2.70")
    found = inventory.load(written(tmp_path, "hosts", INI))
    assert {host: (site.unit, site.domain) for host, site in found.items()} == {
        "pump-7": (70, "beta"),
        "pump-8": (9, "beta"),
        "pump-09": (20, "beta"),
        "pump-10": (20, "beta"),
    }
    assert found["pump-7"].url == "modbus+tls://192.0.2.70"


def test_a_host_in_two_groups_and_a_range_with_a_step(tmp_path: Path) -> None:
    text = """
[b]
x-[a:e:2] ansible_host=h
[b:vars]
fieldgate_unit=2
[a]
x-a
[a:vars]
fieldgate_unit=1
"""
    found = inventory.load(written(tmp_path, "hosts", text))
    assert {host: site.unit for host, site in found.items()} == {"x-a": 2, "x-c": 2, "x-e": 2}


@pytest.mark.parametrize(
    ("name", "text", "where", "problem"),
    [
        ("h.yml", "a: [", "line 1", "not valid YAML"),
        ("h.yml", "plugin: aws_ec2", "", "inventory plugin"),
        ("h.yml", "all: {hosts: [a, b]}", "all: hosts", "must be a table"),
        ("h", "#!/bin/sh\necho", "", "is a program"),
        ("h", "[a]\nx y", "line 2", "'y' must be NAME=VALUE"),
        ("h", "[a:vars]\nx", "line 2", "must be NAME=VALUE"),
        ("h", "[a:children]\nb\n[b:children]\na", "", "a group within itself"),
        ("h", "x-[a:5] ansible_host=h", "line 1", "is no range"),
        ("h", "x-[9:1] ansible_host=h", "line 1", "is no range"),
        ("h", "x fieldgate_url=modbus://192.0.2.1", "h: x", "loopback only"),
        ("h", "x ansible_host=h fieldgate_unit=one", "h: x: fieldgate_unit", "must be a whole number, not 'one'"),
        ("h", "x fieldgate_url='modbus+tls://{{ inventory_hostname }}'", "fieldgate_url", "a template"),
    ],
)
def test_what_is_no_inventory_is_told_with_its_place(
    tmp_path: Path, name: str, text: str, where: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        inventory.load(written(tmp_path, name, text))
    assert where in caught.value.where
    assert problem in caught.value.problem


# where names come from


def test_the_site_list_and_its_inventories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "fleet/hosts.yml", YAML)
    file = written(
        tmp_path, "fieldgate/sites.toml", 'inventories = ["../fleet/hosts.yml"]\n[site.here]\nurl="modbus://127.0.0.1"'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("FIELDGATE_SITES", raising=False)
    known = site_names.load()
    assert sorted(known.sites) == ["here", "pump-09", "pump-10", "pump-7", "pump-8"]
    assert known.find("pump-7").unit == 2
    with pytest.raises(ConfigError) as caught:
        known.find("pump-6")
    assert "did you mean" in caught.value.hint
    assert all(str(path) in str(caught.value) for path in (file, "hosts.yml"))


def test_the_environment_names_a_list_or_an_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDGATE_SITES", str(written(tmp_path, "hosts", INI)))
    assert "pump-8" in site_names.load().sites
    monkeypatch.setenv("FIELDGATE_SITES", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        site_names.load()


def test_no_list_is_no_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("FIELDGATE_SITES", raising=False)
    with pytest.raises(ConfigError, match=r"no site of this name in .*sites[.]toml"):
        site_names.load().find("pump-7")


def test_a_name_belongs_to_one_file(tmp_path: Path) -> None:
    written(tmp_path, "hosts", INI)
    file = written(tmp_path, "sites.toml", 'inventories = ["hosts"]\n[site.pump-7]\nurl="modbus://127.0.0.1"')
    with pytest.raises(ConfigError, match="pump-7: is also a site of"):
        site_names.load(file)


def test_a_value_that_is_a_number_in_part_is_a_text(tmp_path: Path) -> None:
    file = written(tmp_path, "hosts", "pump-7 ansible_host=192.0.2.7 fieldgate_domain=7if")
    with warnings.catch_warnings(record=True, action="always") as told:
        assert inventory.load(file)["pump-7"].domain == "7if"
    assert told == [], "Python's own word on it would be on stderr"


@pytest.mark.parametrize("value", ["!!timestamp soon", "!!bool soon", "!!int ''", "!!float x", "!!binary é"])
def test_a_value_that_its_tag_does_not_fit_is_told_with_its_file(tmp_path: Path, value: str) -> None:
    file = written(tmp_path, "hosts.yml", f"all:\n  vars:\n    since: {value}\n")
    with pytest.raises(ConfigError, match=r"hosts.yml.*is not valid YAML"):
        inventory.load(file)
