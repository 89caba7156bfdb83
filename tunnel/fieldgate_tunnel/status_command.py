"""`fieldgate tunnel status`: its command line."""

from __future__ import annotations

import argparse

_STATUS = """\
Shows the tunnels that this user's running `fieldgate tunnel` commands keep:
where they lead, how they stand and since when, the last error, bytes,
round-trip time."""

_STATUS_EXAMPLE = """\
examples:
  fieldgate tunnel status
  fieldgate tunnel status --json

exit codes: 0 all links are up, 3 one is not, or no tunnel runs"""


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel status` with `args` and return its exit code. Raises FieldgateError."""
    parser = argparse.ArgumentParser(
        prog="fieldgate tunnel status",
        description=_STATUS,
        epilog=_STATUS_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="answer for programs")
    options = parser.parse_args(args)
    from fieldgate_tunnel import status_text

    return status_text.show(as_json=options.json)
