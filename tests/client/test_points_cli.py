"""`fieldgate client points` and names of sites on the command line, as users start them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldgate_client import points_file
from fieldgate_client.points import Point
from support.box import fieldgate

MAPS = Path(__file__).parent / "maps"
NAMES = {
    "telegraf": ("sdm630.telegraf.toml", []),
    "home-assistant": ("sdm630.home-assistant.yaml", []),
    "modpoll": ("sdm630.modpoll.csv", ["--address-base", "modicon"]),
    "modbus-exporter": ("sdm630.modbus-exporter.yml", ["--device", "meter"]),
}


def by_name(point: Point) -> str:
    return point.name


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_imported_listed_and_exported(name: str, tmp_path: Path) -> None:
    map_file, more = NAMES[name]
    imported = fieldgate("client", "points", "import", "--format", name, *more, str(MAPS / map_file))
    assert imported.returncode == 0
    assert all(line.startswith("fieldgate: warning: ") for line in imported.stderr.splitlines())
    assert bool(imported.stderr) is (name != "modpoll")
    file = tmp_path / "points.toml"
    file.write_text(imported.stdout)
    points = points_file.load(file)
    assert len(points) == 17
    listed = fieldgate("client", "points", "list", str(file))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert len(listed.stdout.splitlines()) == 18
    exported = fieldgate("client", "points", "export", "--format", name, str(file))
    assert exported.returncode == 0
    again = tmp_path / "again"
    again.write_text(exported.stdout)
    base = ["--address-base", "0"]
    back = fieldgate("client", "points", "import", "--format", name, *base, str(again))
    again.write_text(back.stdout)
    # modpoll's polls are in the order of addresses
    assert sorted(points_file.load(again.rename(tmp_path / "again.toml")), key=by_name) == sorted(points, key=by_name)


def test_points_of_a_site_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "fieldgate").mkdir()
    (tmp_path / "fieldgate/pump.toml").write_text(
        '[[point]]\nname = "flow"\ntable = "input"\naddress = 1\ntype = "INT32"\nunit = "m³/h"\nhigh = 5.0\n'
        '[[point]]\nname = "half"\ntable = "input"\naddress = 2\ntype = "INT32"\n'
    )
    sites = '[site.pump-7]\nurl = "modbus://127.0.0.1"\npoints = "pump.toml"\n[site.bare]\nurl = "modbus://127.0.0.1"\n'
    (tmp_path / "fieldgate/sites.toml").write_text(sites)
    listed = fieldgate("client", "points", "list", "pump-7", XDG_CONFIG_HOME=str(tmp_path))
    assert "flow  input" in listed.stdout
    assert "..5" in listed.stdout
    assert listed.stderr == "fieldgate: warning: flow (1-2) and half (2-3) overlap in part\n"
    data = json.loads(fieldgate("client", "points", "list", "pump-7", "--json", XDG_CONFIG_HOME=str(tmp_path)).stdout)
    assert [(point["name"], point["high"], point["unit"]) for point in data] == [
        ("flow", 5.0, "m³/h"),
        ("half", None, ""),
    ]
    bare = fieldgate("client", "points", "list", "bare", XDG_CONFIG_HOME=str(tmp_path))
    assert (bare.returncode, "names no file of points" in bare.stderr) == (2, True)
    unknown = fieldgate("client", "points", "list", "pump7", XDG_CONFIG_HOME=str(tmp_path))
    assert unknown.returncode == 2
    assert "did you mean pump-7?" in unknown.stderr
    assert str(tmp_path / "fieldgate/sites.toml") in unknown.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--format", "modpoll", str(MAPS / "sdm630.modpoll.csv")], "--address-base: is needed for modpoll"),
        (["--format", "telegraf", "--address-base", "1", "x"], "addresses of telegraf count from 0"),
        (["--format", "telegraf", "/nonexistent"], "/nonexistent: cannot be read"),
        (["--format", "telegraf", "--device", "none", str(MAPS / "sdm630.telegraf.toml")], "holds no points"),
        (["--format", "telegraf", str(MAPS / "sdm630.modpoll.csv")], "is not valid TOML"),
    ],
)
def test_what_is_not_imported(args: list[str], said: str, tmp_path: Path) -> None:
    args = [str(tmp_path / "x") if arg == "x" else arg for arg in args]
    (tmp_path / "x").write_text("")
    done = fieldgate("client", "points", "import", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_what_a_format_loses_is_said_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text('[[point]]\nname = "level"\ntable = "input"\naddress = 1\ntype = "UINT8H"\nunit = "m"\n')
    done = fieldgate("client", "points", "export", "--format", "telegraf", str(file))
    assert done.stderr == "fieldgate: warning: telegraf has no place for the unit of level\n"
    done = fieldgate("client", "points", "export", "--format", "modpoll", str(file))
    assert "fieldgate: warning: modpoll left out, for it has no UINT8H AB: level" in done.stderr


@pytest.mark.parametrize("site", ["box-1.example.com", "192.0.2.1:802", "localhost"])
def test_a_bare_host_is_refused_with_the_urls_to_try(site: str) -> None:
    done = fieldgate("client", "doctor", site, "100")
    assert done.returncode == 2
    assert "modbus://localhost" in done.stderr if site == "localhost" else "modbus+tls://" in done.stderr
