"""`fieldgate server`: the command line of the server."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from fieldgate_server.settings import Settings

_SERVER = """\
Serves Modbus on localhost, behind an SSH and a TLS door. Every request is
judged by one policy, whatever door it came through, and leaves its line in the
trail.
"""

_RUN = """\
Serves until SIGTERM or Ctrl-C; SIGHUP reads its files anew. Prints one line for
each listener, `listening: DOOR ADDRESS:PORT`, then `ready`; its log goes to
stderr.

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

Units may also be unified or overlaid, hold files, names and simulated values:
docs/settings.md lists every key. The file is checked whole before a socket
opens; what is wrong is one line on stderr, and exit code 2.
"""

_RUN_EXAMPLES = """\
-p, -d and -q are those of MBAsyncServer. With one of them, and no --config, the
unit has 65,536 addresses and one kind of table: -d s (the default then) makes
coils the discrete inputs and holding registers the input registers; -d o also
packs the coils into registers 0 to 4095, coil 0 being bit 0 of register 0.

examples:
  fieldgate server run
  fieldgate server run --port 5021
  fieldgate server run -p 8502 -d o -q quit
  fieldgate server run --config /etc/fieldgate/server.toml
"""


def main(args: list[str]) -> int:
    """Run `fieldgate server`; returns the exit code."""
    from fieldgate_server import check_command, control_cli, explain_command, trail_cli

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
    run.add_argument("-p", dest="short_port", type=int, metavar="PORT", help="as --port, with the tables of -d")
    run.add_argument("-d", dest="layout", choices=list(_LAYOUTS), help="s: unified tables; o: overlaid with the coils")
    run.add_argument(
        "-q",
        dest="quit_word",
        metavar="WORD",
        help="stop when a local connection begins with this word, if the policy lets its user stop the server",
    )
    run.add_argument(
        "--bind-retry",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long to try again while another program holds a port (default 0)",
    )
    run.add_argument("--trace", action="store_true", help="show each frame on stderr, in hex and by field")
    run.set_defaults(carry_out=_run)
    for module in (check_command, explain_command, control_cli):
        module.add_to(commands)
    trail_cli.add_parsers(commands)
    options = parser.parse_args(args)
    code: int = options.carry_out(options)
    return code


_LAYOUTS = {"s": "unified", "o": "overlaid"}


def seconds(text: str) -> float:
    """Read seconds of an option, a day at most. Raises ValueError, which argparse tells by this function's name."""
    number = float(text)
    if not 0 <= number <= 86400:
        raise ValueError(text)
    return number


def _run(options: argparse.Namespace) -> int:
    from fieldgate_core import logs
    from fieldgate_core.errors import ConfigError
    from fieldgate_server.quit_word import quit_word

    logs.set_up()
    word = None
    if options.quit_word is not None:
        try:
            word = quit_word(options.quit_word)
        except ValueError as error:
            raise ConfigError("-q", str(error)) from None
    with _event_loop() as runner:
        runner.run(_serve(_settings(options), options, word))
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    """Give the settings of the file, or those that the options stand for. Raises ConfigError."""
    from fieldgate_core import settings
    from fieldgate_core.errors import ConfigError
    from fieldgate_server.settings import Settings
    from fieldgate_server.unit_settings import UnitSettings

    if options.config:
        if options.layout:
            layout = f'layout = "{_LAYOUTS[options.layout]}" in [[unit]]'
            raise ConfigError("-d", f"the settings file says how tables are laid out: {layout}")
        wanted = settings.load(options.config, Settings)
    elif options.layout or options.quit_word is not None or options.short_port is not None:
        wanted = Settings(unit=(UnitSettings(layout=_LAYOUTS[options.layout or "s"]),))
    else:
        wanted = Settings()
    if options.port is not None and options.short_port is not None:
        raise ConfigError("-p", "and --port are the same: give one")
    port = options.port if options.short_port is None else options.short_port
    given = {name: value for name, value in (("host", options.host), ("port", port)) if value is not None}
    try:
        listen = dataclasses.replace(wanted.listen, **given)
    except ValueError as error:
        words = {"host": "--host", "port": "--port" if options.short_port is None else "-p"}
        where = " ".join(f"{words[name]} {value}" for name, value in given.items())
        raise ConfigError(where, str(error)) from None
    return dataclasses.replace(wanted, listen=listen)


def _event_loop() -> asyncio.Runner:
    """Give a runner on uvloop where it is to be had."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _serve(settings: Settings, options: argparse.Namespace, quit_word: bytes | None) -> None:
    import asyncio

    from fieldgate_server.app import App
    from fieldgate_server.display import Display

    display = Display(sys.stderr)
    app = App(
        settings,
        owner_rights=options.owner_rights,
        load=lambda: _settings(options),
        bind_retry=options.bind_retry,
        show=display.show if options.trace else None,
        quit_word=quit_word,
    )
    loop = asyncio.get_running_loop()
    operator = asyncio.Event()
    started = asyncio.Event()
    start = asyncio.current_task()

    def stop() -> None:
        operator.set()
        if start is not None and not started.is_set():
            # it waits for a port, or for a disk
            start.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(app.hang_up())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    _say(f"starting server on port {settings.listen.port}. {time.ctime()}")
    try:
        async with display.running(), app.running():
            started.set()
            hosts = {"modbus": settings.listen.host}
            hosts |= {"tls": settings.tls.host} if settings.tls else {}
            hosts |= {"ssh": settings.ssh.host} if settings.ssh else {}
            hosts |= {"metrics": settings.metrics.host} if settings.metrics else {}
            for door, port in app.ports.items():
                host = hosts[door]
                _say(f"listening: {door} {f'[{host}]' if ':' in host else host}:{port}")
            if options.config:
                # without a file there is nothing to read anew, and who closes the terminal ends the server
                loop.add_signal_handler(signal.SIGHUP, hang_up)
            _say("server running")
            _say("ready")
            ends = [asyncio.create_task(event.wait()) for event in (operator, app.asked_to_stop)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
    except asyncio.CancelledError:
        if not operator.is_set():
            raise
    who = "operator" if operator.is_set() else app.stopped_by
    _say(f"{who} terminated server at {time.ctime()}")


def _say(line: str) -> None:
    # who started the server may have closed the pipe since
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)  # noqa: T201 - the command's output
