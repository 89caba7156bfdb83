"""A fieldgate command, run to its end inside the test's own process."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from fieldgate_core import cli


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def command(*args: str) -> Done:
    """Run `fieldgate ARGS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([*args])
        except SystemExit as end:
            # what argparse does with a wrong option
            code = end.code if isinstance(end.code, int) else 2
    return Done(code, out.getvalue(), err.getvalue())
