"""The lower bounds of our dependencies, with the suite run against them."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

from support.counts import LONG

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="runs in `make test-long`")
@pytest.mark.timeout(900)
def test_the_suite_passes_with_the_lowest_versions(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    tools = [
        "pytest",
        "pytest-asyncio",
        "pytest-timeout",
        "hypothesis",
        "hatchling",
        "pymodbustcp",
        "tlslite-ng",
        "jsonschema",
    ]
    subprocess.run([*pip, "-c", ROOT / "tests/constraints-lowest.txt", *tools, "setuptools"], check=True)
    names = [line.split("==")[0] for line in (ROOT / "tests/constraints-lowest.txt").read_text().splitlines()[1:]]
    subprocess.run([*pip, "-c", ROOT / "tests/constraints-lowest.txt", *names], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], check=True)
    env = {k: v for k, v in os.environ.items() if k != "FIELDGATE_TEST_LONG"}
    # what touches the libraries; the whole suite would take as long as it does
    folders = ["tests/core", "tests/tunnel", "tests/client"]
    server = ("api_server", "guard", "metrics_text", "session", "trail_file", "unit_settings", "vectors")
    folders += [f"tests/server/test_{name}.py" for name in server]
    folders += [f"tests/certs/test_certs_{name}.py" for name in ("openssh", "requests", "store", "x509")]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
