"""Every command of docs/pki.md, run in its order by a shell, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/pki.md"


def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(re.sub(r"^   (?! )", "", block, flags=re.MULTILINE) for block in blocks)
    assert lines.count("fieldgate certs") > 30
    command = tmp_path / "bin/fieldgate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m fieldgate_core.cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "work").mkdir()
    path = f"{command.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu"],
        input=lines,
        cwd=tmp_path / "work",
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]
