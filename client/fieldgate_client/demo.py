"""`fieldgate demo`: see the whole kit run on this machine, with a throw-away PKI."""

from __future__ import annotations

import argparse

_DEMO = """\
Shows the whole kit on this machine, with a PKI that is thrown away at the end:

  makes the PKI, and certificates for a server, an operator and a viewer
  starts a server with its three doors on free ports of 127.0.0.1
  writes and reads through SSH, through TLS and, as a local user, directly
  shows what is refused: a viewer's write, certificates of another CA, a server
  that the client's CA does not vouch for
  prints the trail that the server kept of all that

Every step runs the real command as a process of its own, and is compared with
what it should do. It needs no root, no network and no settings; it takes some
ten seconds, and leaves nothing behind."""

_DEMO_EXAMPLE = """\
examples:
  fieldgate demo
  fieldgate demo --keep

exit codes: 0 if every step came out as told, 1 if not"""


def main(args: list[str]) -> int:
    """Run `fieldgate demo` with `args` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="fieldgate demo",
        description=_DEMO,
        epilog=_DEMO_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    keep = "afterwards leave the server running until Ctrl-C, and print commands to try"
    parser.add_argument("--keep", action="store_true", help=keep)
    options = parser.parse_args(args)

    # asyncio is not for --help
    from fieldgate_client import demo_steps, stopping

    return stopping.run(demo_steps.run(keep=options.keep))
