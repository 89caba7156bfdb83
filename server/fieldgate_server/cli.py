"""`fieldgate server`: the command line of the server."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import signal
import sys
from pathlib import Path

_SERVER = """\
Serves Modbus on localhost, behind an SSH and a TLS door. Every request is judged
by one policy, whatever door it came through, and leaves its line in the trail.
"""

_RUN = """\
Serves until SIGTERM or Ctrl-C. Prints `listening: DOOR ADDRESS:PORT` for each
listener, then `ready`; its log goes to stderr.

Without --config this is a quick start: one unit, four tables of 100 zeros, on
127.0.0.1:5020, for the user who starts it and nobody else. For a network, write
a settings file that opens the doors:

  policy = "policy.toml"       who may do what (docs/policy.md)
  audit = "audit.log"          the trail; without it its lines go to the log
  [listen]                     plain Modbus, loopback only
  port = 5020
  [tls]                        Modbus/TCP Security, port 802
  identity = "pki/issued/server/box-1/current"
  [ssh]                        what `ssh -L` and modbus+ssh:// reach, port 2222
  identity = "pki/issued/server/box-1/current"
  [[unit]]
  id = 1
  holding = { size = 1000, initial = 17 }

docs/settings.md lists every key. The file is checked whole before a socket
opens; what is wrong is one line on stderr, and exit code 2.
"""

_RUN_EXAMPLES = """\
examples:
  fieldgate server run
  fieldgate server run --port 5021
  fieldgate server run --config /etc/fieldgate/server.toml
"""


def main(args: list[str]) -> int:
    """Run `fieldgate server`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="fieldgate server", description=_SERVER, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="serve until SIGTERM or Ctrl-C",
        description=_RUN,
        epilog=_RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="the settings file (TOML)")
    run.add_argument("--host", metavar="ADDRESS", help="loopback address of the plain listener (default 127.0.0.1)")
    run.add_argument("--port", type=int, metavar="PORT", help="its port (default 5020; 0 takes a free one)")
    run.add_argument(
        "--owner-rights",
        action="store_true",
        help="without a policy: yes, the user who starts this may do everything on loopback; "
        "asked for from root and from services, implied for any other user",
    )
    options = parser.parse_args(args)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from fieldgate_core import logs, settings
    from fieldgate_core.errors import ConfigError
    from fieldgate_server.settings import Settings

    logs.set_up()
    wanted = settings.load(options.config, Settings) if options.config else Settings()
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    try:
        listen = dataclasses.replace(wanted.listen, **given)
    except ValueError as error:
        raise ConfigError(" ".join(f"--{name} {value}" for name, value in given.items()), str(error)) from None
    wanted = dataclasses.replace(wanted, listen=listen)
    _event_loop().run(_serve(wanted, owner_rights=options.owner_rights))
    return 0


def _event_loop() -> asyncio.Runner:
    """Give a runner on uvloop where it is to be had."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _serve(settings: object, *, owner_rights: bool) -> None:
    from fieldgate_server.app import App
    from fieldgate_server.settings import Settings

    assert isinstance(settings, Settings)  # noqa: S101 - imported late, so that --help is quick
    app = App(settings, owner_rights=owner_rights)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with app.running():
        hosts = {"modbus": settings.listen.host}
        hosts |= {"tls": settings.tls.host} if settings.tls else {}
        hosts |= {"ssh": settings.ssh.host} if settings.ssh else {}
        for door, port in app.ports.items():
            host = hosts[door]
            sys.stdout.write(f"listening: {door} {f'[{host}]' if ':' in host else host}:{port}\n")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()
