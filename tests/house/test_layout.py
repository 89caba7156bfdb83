"""The house's own rules: layout, module lines, help texts, locks, and what the README promises."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fieldgate_core import cli

ROOT = Path(__file__).parents[2]
FOLDERS = ("core", "certs", "tunnel", "server", "client")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_holds_one_package_and_nothing_loose(folder: str) -> None:
    found = {path.name for path in (ROOT / folder).iterdir() if path.name != "__pycache__"}
    assert found == {f"fieldgate_{folder}"}
    assert (ROOT / folder / f"fieldgate_{folder}" / "py.typed").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_every_module_says_its_one_job_in_its_first_line(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc is not None
    assert doc.splitlines()[0].rstrip().endswith("."), "the first line is a whole sentence"


def commands() -> list[list[str]]:
    """Every command and sub-command, as the help texts themselves list them."""
    found: list[list[str]] = [[]]
    queue = [[name] for name in cli.COMMANDS]
    while queue:
        words = queue.pop(0)
        found.append(words)
        text = help_of(words)
        names = re.search(r"^(?:commands|positional arguments):\n(.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
        for line in (names[1] if names else "").splitlines():
            match = re.match(r"^ {4}([a-z][a-z-]*)  ", line) or re.match(r"^ {2}([a-z][a-z-]*)  ", line)
            if match and text.split("\n\n")[0].rstrip().endswith(" ..."):
                queue.append([*words, match[1]])
    return found


def help_of(words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fieldgate_core.cli", *words, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def test_every_command_has_a_help_text_that_fits_80_columns() -> None:
    found = commands()
    assert ["certs", "issue", "client"] in found
    assert ["server", "run"] in found
    assert ["client", "read"] in found
    for words in found:
        text = help_of(words)
        assert "usage: fieldgate" in text, words
        assert max(map(len, text.splitlines())) <= 80, words


def test_every_listed_command_can_be_imported() -> None:
    for module, line in cli.COMMANDS.values():
        assert callable(importlib.import_module(module).main)
        assert line


def test_help_loads_no_library() -> None:
    """The start of the command is part of its use: only what the table needs is imported for --help."""
    script = "import sys; from fieldgate_core.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    heavy = {
        "asyncio",
        "argparse",
        "dataclasses",
        "logging",
        "ssl",
        "asyncssh",
        "pymodbus",
        "cryptography",
        "importlib.metadata",
    }
    assert "fieldgate_core.cli" in loaded
    assert loaded & heavy == set()


def test_an_unknown_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sevrer"]) == 2
    assert "known are server, client, tunnel, certs, demo" in capsys.readouterr().err
    assert cli.main([]) == 2


def test_the_version_is_stated_once_for_all() -> None:
    assert PROJECT["project"]["version"] == cli.VERSION
    assert f"## {cli.VERSION}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_by_hash_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?:|file:|--index|--find-links|--extra-index", text)
    blocks = re.findall(r"^([a-z0-9-]+)==[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(blocks) == text.count("==") - text.count("implementation_name ==")
    wanted = PROJECT["project"]["dependencies"]
    if "dev" in lock:
        wanted = wanted + PROJECT["project"]["optional-dependencies"]["dev"]
    assert {re.split(r"[<>=~;]", name)[0] for name in wanted} <= {name for name, _ in blocks}


def test_the_lowest_versions_that_are_tested_are_those_that_are_declared() -> None:
    declared = dict(re.split(r"[>~]=", line.split(";")[0].strip()) for line in PROJECT["project"]["dependencies"])
    lines = (ROOT / "tests/constraints-lowest.txt").read_text().splitlines()
    assert declared == dict(line.split("==") for line in lines if not line.startswith("#"))


def test_ci_runs_what_the_readme_tells_a_person_to_run() -> None:
    readme = (ROOT / "README.md").read_text()
    ci = (ROOT / ".ci/run").read_text()
    for command in ("make demo", "make test"):
        assert f"\n{command}\n" in readme
        assert f"\n{command}\n" in ci


def test_documents_link_to_what_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
