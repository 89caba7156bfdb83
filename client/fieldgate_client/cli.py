"""`fieldgate client`: a static table of commands; a command's module is imported when it is chosen, not before."""

from __future__ import annotations

import sys
from importlib import import_module

from fieldgate_core.errors import EXIT_CONFIG, EXIT_OK

# command -> (module, what it does); a module has `main(args)`, which gives the exit code, and `parser()`.
COMMANDS: dict[str, tuple[str, str]] = {
    "read": ("fieldgate_client.read_command", "read points, or cells by reference; once, or again and again"),
    "write": ("fieldgate_client.write_command", "write points, or values to cells; shows old and new, and asks"),
    "points": ("fieldgate_client.points_cli", "import, export and list points"),
    "check": ("fieldgate_client.check_command", "walk the way to a site, and say where it stops"),
    "doctor": ("fieldgate_client.doctor_cli", "show what registers may mean"),
    "shell": ("fieldgate_client.shell_command", "ask command by command, with history, completion and a transcript"),
    "demo": ("fieldgate_client.demo_command", "play a short sequence, and put everything back"),
}


def usage() -> str:
    """Build the text of `fieldgate client --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    return f"""usage: fieldgate client COMMAND ...

Asks a site for values, or writes them, through the tunnel that its URL names:

  modbus+ssh://ROLE@HOST[:PORT]  through the SSH door; ROLE is the login (2222)
  modbus+tls://HOST[:PORT]       through the TLS door, mbaps:// as well (802)
  modbus://127.0.0.1[:PORT]      plain, on this machine only (5020)

The server is always verified, and there is no way to switch that off. A write
is sent once and never again. The letters are those of mbpoll.

commands:
{rows}

options:
  -h, --help  show this text; `fieldgate client COMMAND --help` tells more

examples:
  fieldgate client read modbus+ssh://viewer@box-1.example.com -r 1 -c 10
  fieldgate client write modbus+tls://box-1.example.com \\
      --identity ana -t 0 -r 5 1
  fieldgate client shell modbus://127.0.0.1

exit codes: 0 ok, 1 Modbus exception, 2 usage or configuration,
  3 tunnel or authentication, 4 time-out, 5 outcome of a write unknown
"""


def main(args: list[str]) -> int:
    """Run `fieldgate client` with `args` and return its exit code. Raises FieldgateError."""
    if not args or args[0] in {"-h", "--help", "help"}:
        sys.stdout.write(usage())
        return EXIT_OK if args else EXIT_CONFIG
    if args[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"fieldgate client: there is no command {args[0]!r}\nfieldgate client: known are {known}\n")
        return EXIT_CONFIG
    code: int = import_module(COMMANDS[args[0]][0]).main(args[1:])
    return code
