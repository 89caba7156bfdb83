"""`fieldgate completion`: print what makes a shell complete commands, site names and point names."""

from __future__ import annotations

import argparse
import sys

from fieldgate_core.errors import EXIT_OK

SHELLS = ("bash", "zsh", "fish")

_COMPLETION = """\
Prints a script for a shell. With it, Tab completes commands, options, the names
of your sites and those of a site's points."""
_EXAMPLES = """\
examples, each for the start-up file of its shell:
  eval "$(fieldgate completion bash)"
  eval "$(fieldgate completion zsh)"
  fieldgate completion fish | source"""


def main(args: list[str]) -> int:
    """Run `fieldgate completion` with `args` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="fieldgate completion",
        description=_COMPLETION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    options = parser.parse_args(args)
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["fieldgate"], shell=options.shell).strip() + "\n")
    return EXIT_OK
