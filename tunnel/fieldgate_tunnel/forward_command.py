"""`fieldgate tunnel forward`: its command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from fieldgate_core.errors import ConfigError

_FORWARD = """\
Gives a plain local Modbus port that leads through one supervised tunnel, for
programs that know neither SSH nor TLS: Home Assistant, Node-RED, mbpoll, SCADA.
Any number of them share the tunnel. It listens on loopback or a Unix socket
only, and closes connections of users other than you and those you name.

While the link is down, requests wait for it up to their deadline, or are
refused at once with --while-down refuse; either way they are answered:
exception 0A, it was not sent; 0B, it was sent and no answer came. A write is
sent once. One that was answered 0B may have taken effect, and the log says
"outcome unknown".

It runs until SIGTERM or Ctrl-C. On stdout it prints `listening: modbus ADDRESS`
for each port, then `ready`; how the links stand goes to stderr."""

_FORWARD_EXAMPLE = """\
a file for --file holds one or more of these (docs/tunnels.md lists every key):
  [[forward]]
  url = "modbus+ssh://viewer@box-1.example.com"
  listen = ["127.0.0.1:5021"]

examples:
  fieldgate tunnel forward modbus+ssh://viewer@box-1.example.com
  fieldgate tunnel forward modbus+tls://192.0.2.17 --listen 127.0.0.1:5021
  fieldgate tunnel forward --file ~/.config/fieldgate/forward.toml

exit codes: 0 stopped as asked, 2 usage, configuration or a port in use"""

_OPTIONS = (
    "url",
    "listen",
    "identity",
    "allow_users",
    "while_down",
    "deadline",
    "keepalive",
    "bytes_per_day",
    "domain",
)


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel forward` with `args` and return its exit code. Raises FieldgateError."""
    forward = argparse.ArgumentParser(
        prog="fieldgate tunnel forward",
        description=_FORWARD,
        epilog=_FORWARD_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forward.add_argument("url", metavar="URL", nargs="?", help="the site: modbus+ssh://ROLE@HOST, modbus+tls://HOST")
    behind = "of a box behind a hub: its certificate is for BOX.NAME"
    forward.add_argument("--domain", metavar="NAME", help=behind)
    listen = "127.0.0.1:PORT, [::1]:PORT or unix:PATH; may stand more than once (default: 127.0.0.1:5020)"
    forward.add_argument("--listen", action="append", metavar="ADDRESS", help=listen)
    forward.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who you are")
    allow = "a local user who may connect too; may stand more than once"
    forward.add_argument("--allow-user", action="append", dest="allow_users", metavar="NAME", help=allow)
    down = "what requests do while the link is down (default: wait)"
    forward.add_argument("--while-down", choices=("wait", "refuse"), help=down)
    wait = "seconds for each answer, waiting for the link included (default: 2.5)"
    forward.add_argument("--deadline", type=float, metavar="S", help=wait)
    keep = "probes of an idle link: normal, each 15 s, lost after 3; cellular, each 30 s, lost after 4"
    forward.add_argument("--keepalive", choices=("normal", "cellular"), help=keep)
    cap = "bytes that the tunnel may use a day (UTC); spent, it is held down until the next"
    forward.add_argument("--bytes-per-day", type=int, metavar="N", help=cap)
    forward.add_argument("--file", type=Path, metavar="FILE", help="take all that from a file instead (TOML)")
    return _forward(forward.parse_args(args))


def _forward(options: argparse.Namespace) -> int:
    from fieldgate_core import settings
    from fieldgate_tunnel.forward_settings import ForwardFile, ForwardSettings

    given = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) is not None}
    if options.file is not None:
        if given:
            name = next(iter(given))
            raise ConfigError("--file", f"says it all, and {name.replace('_', '-')} is given too", hint="give one")
        forwards, base = settings.load(options.file, ForwardFile).forward, options.file.resolve().parent
    elif options.url is None:
        raise ConfigError("tunnel forward", "names no site", hint="give a URL, or --file FILE")
    else:
        given |= {name: tuple(given[name]) for name in ("listen", "allow_users") if name in given}
        try:
            forwards, base = (ForwardSettings(**given),), Path.cwd()
        except ValueError as error:
            raise ConfigError("tunnel forward", str(error)) from None
    # the arguments hold: now asyncio is worth its import
    from fieldgate_tunnel import forwarding

    return forwarding.run(forwards, base)
