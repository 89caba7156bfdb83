"""`fieldgate tunnel dial`: its command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from fieldgate_core.errors import ConfigError

_ABOUT = """\
Runs on a box that nobody can reach from outside: it dials out to a hub by SSH,
offers the box there by its name, and stays. Clients then reach the box as
modbus+tls+ssh://HUB/BOX. What goes through is TLS from the client to the box's
TLS door; the hub can't read it.

A server of fieldgate's does this by itself: [[dial]] in its settings. This
command is for a box whose TLS door is another program, or another machine of
its LAN. It hands the bytes to that door and to no port of plain Modbus; before
it offers the name it sees that TLS answers there.

URL may stand more than once, for several hubs. The folder of --identity holds
ssh-key, ssh-key-cert.pub and known_hosts, as this makes them, with the box's
login name at the hub as the role:
  fieldgate certs issue client BOX --role BOX

It runs until SIGTERM or Ctrl-C; how it stands goes to stderr, and `fieldgate
tunnel status` shows it. On stdout it prints `ready` as soon as it dials."""

_EXAMPLES = """\
examples:
  fieldgate tunnel dial modbus+tls+ssh://box-7@hub.example.com/box-7 \\
      --identity DIR
  fieldgate tunnel dial modbus+tls+ssh://hub.example.com:2222/box-7 \\
      --to 192.0.2.17:802

exit codes: 0 stopped as asked, 2 usage or configuration"""


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel dial` with `args` and return its exit code. Raises FieldgateError."""
    parser = argparse.ArgumentParser(
        prog="fieldgate tunnel dial",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("urls", metavar="URL", nargs="+", help="modbus+tls+ssh://[LOGIN@]HUB[:PORT]/BOX")
    parser.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who the box is at the hub")
    parser.add_argument(
        "--to", metavar="HOST:PORT", default="127.0.0.1:802", help="the box's TLS door (default: 127.0.0.1:802)"
    )
    keep = "normal, the hub is asked each 15 s, lost after 3; cellular, each 30 s, lost after 4"
    parser.add_argument("--keepalive", choices=("normal", "cellular"), default="normal", help=keep)
    options = parser.parse_args(args)
    # asyncssh is worth its import now
    from fieldgate_tunnel import dialling
    from fieldgate_tunnel.dial_settings import DialSettings
    from fieldgate_tunnel.dialled import Door
    from fieldgate_tunnel.own_identity import default_identity

    identity = options.identity or default_identity()
    if identity is None:
        raise ConfigError("--identity", "the box needs an identity at the hub", hint="name its folder: --identity DIR")
    door = Door.read(options.to)
    try:
        dials = [DialSettings(url, identity, options.keepalive) for url in options.urls]
    except ValueError as error:
        raise ConfigError("tunnel dial", str(error)) from None
    return dialling.run(dials, door)
