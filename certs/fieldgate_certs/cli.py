"""The `fieldgate certs` command: its words, each family of them in a module of its own."""

from __future__ import annotations

import argparse

from fieldgate_certs import cli_carrying, cli_issuing, cli_life, cli_looking, cli_making

_CERTS = """\
Makes the certificates of both doors, in one small PKI of your own: X.509 for
the TLS door, OpenSSH for the SSH door. Everything is a file in one folder;
nothing leaves this machine, and nothing is ever overwritten."""

_CERTS_EXAMPLE = """\
example:
  fieldgate certs init pki
  fieldgate certs issue server box-1 --dns box-1.example.com --ip 192.0.2.17 \\
      --dir pki
  fieldgate certs issue client ana --role operator --dir pki"""


def main(args: list[str]) -> int:
    """Run `fieldgate certs` with `args` and return its exit code. Raises PkiError."""
    options = _parser().parse_args(args)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldgate certs",
        description=_CERTS,
        epilog=_CERTS_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in (cli_making, cli_issuing, cli_carrying, cli_life, cli_looking):
        family.add(commands)
    return parser
