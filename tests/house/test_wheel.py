"""The wheel, in an environment of its own, run from a folder that is out to get us."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd)} | {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False, env=env)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment's bin folder, with the built wheel and the locked dependencies in it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT]
    run(*build, cwd=folder)
    [wheel] = (folder / "dist").glob("fieldgate-*.whl")
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock", cwd=folder)
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "env/bin"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose modules have the names of our folders, and end whoever imports them."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("client", "server", "certs", "core", "tunnel", "asyncio", "ssl", "cli"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported the hostile {name}.py')\n")
    return folder


@pytest.mark.timeout(240)
def test_the_command_runs_from_a_hostile_folder(installed: Path, hostile: Path) -> None:
    fieldgate = installed / "fieldgate"
    assert "usage: fieldgate" in run(fieldgate, "--help", cwd=hostile).stdout
    for command in ("server", "client", "certs"):
        assert f"usage: fieldgate {command}" in run(fieldgate, command, "--help", cwd=hostile).stdout
    run(fieldgate, "certs", "init", "pki", cwd=hostile)
    # the whole demo starts the command again and again, and none of its processes may look here either
    demo = run(fieldgate, "demo", cwd=hostile, check=False)
    assert "hostile" not in demo.stdout + demo.stderr
    assert demo.returncode == 0, demo.stdout + demo.stderr


@pytest.mark.timeout(240)
def test_the_wheel_holds_the_five_packages_and_nothing_else(installed: Path) -> None:
    listing = "import importlib.metadata as m; print(*m.files('fieldgate'), sep='\\n')"
    files = run(installed / "python", "-c", listing, cwd=installed).stdout.split()
    top = {Path(file).parts[0] for file in files}
    packages = {f"fieldgate_{name}" for name in ("core", "certs", "tunnel", "server", "client")}
    assert packages <= top
    assert {name for name in top - packages if not name.endswith(".dist-info") and name != ".."} == set()
