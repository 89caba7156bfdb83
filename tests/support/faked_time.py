"""A wall clock that a test sets for one process, and sets anew while it runs (Debian's faketime)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.tools import tool


class FakedTime:
    """The clock of the processes that are started with `environment`; `says` is an offset (-2d) or a moment (@...)."""

    def __init__(self, folder: Path, says: str) -> None:
        self._file = folder / "faketimerc"
        self.set(says)

    def set(self, says: str) -> None:
        """Set the clock."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{says}\n")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to believe in it; how long something takes is not faked."""
        done = subprocess.run(
            [tool("faketime"), "-f", "+0d", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
        )
        return {
            "LD_PRELOAD": done.stdout.strip(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
