"""Build the C programs of the bench into bench/build, and say which Debian package is missing when that fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2")


class NotInstalledError(Exception):
    """A tool or header is missing here; the text says what to install."""


def tool(name: str, package: str) -> str:
    """Find the program `name`, in the sbin folders too. Raises NotInstalledError."""
    path = shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise NotInstalledError(f"{name} is not installed: apt-get install {package}")
    return path


def compiled(source: str, *, header: str = "", libraries: tuple[str, ...] = (), package: str = "") -> Path:
    """Compile `source` (relative to bench/) and return the program.

    `package` is the Debian package that has `header` and `libraries`. Raises NotInstalledError for a missing compiler
    or header, RuntimeError with the compiler's own words for anything else.
    """
    cc = tool("cc", "gcc libc6-dev")
    if header and _cc(cc, "-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null").returncode:
        raise NotInstalledError(f"the header {header} is not installed: apt-get install {package}")
    BUILD.mkdir(exist_ok=True)
    program = BUILD / Path(source).stem
    done = _cc(cc, *FLAGS, str(HERE / source), "-o", str(program), *(f"-l{library}" for library in libraries))
    if done.returncode:
        raise RuntimeError(f"{source} does not compile:\n{done.stderr.strip()}")
    return program


def _cc(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
