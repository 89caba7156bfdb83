"""`fieldgate tunnel hub`: its command line."""

from __future__ import annotations

import argparse
from pathlib import Path

_ABOUT = """\
Runs a hub: an SSH server that boxes behind NAT dial in to and offer their names
at, and through which clients reach them by name. What goes through is TLS from
client to box; the hub can't read it, and a certificate that is not the box's is
refused by the client. It gives no shell, command, agent, pty or other forward.

The settings say who may offer which box and who may reach it; nobody else may
do anything. SIGHUP reads them anew and ends the connections of those who may
not do any more what they do."""

_EXAMPLE = """\
the file:
  identity = "hub"               # as `fieldgate certs issue server` makes it
  [[box]]
  name = "box-7"
  offered_by = ["box-7"]         # principals of certificates, or key:SHA256:...
  reached_by = ["operator", "viewer"]

examples:
  fieldgate tunnel hub --config hub.toml
  fieldgate tunnel status

exit codes: 0 stopped as asked, 2 usage, configuration or a port in use"""


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel hub` with `args` and return its exit code. Raises FieldgateError."""
    parser = argparse.ArgumentParser(
        prog="fieldgate tunnel hub",
        description=_ABOUT,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="its settings (TOML)")
    options = parser.parse_args(args)
    # asyncssh is worth its import now
    from fieldgate_tunnel import hub_run

    return hub_run.run(options.config)
