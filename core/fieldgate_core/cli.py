"""The `fieldgate` command: a static table of commands; a command's module is imported when it is chosen, not before."""

from __future__ import annotations

import os
import sys

VERSION = "0.1.0"
EXIT_FAULT = 70

# command -> (module, what it does); help is printed from this table alone, so it stays fast.
COMMANDS: dict[str, tuple[str, str]] = {
    "server": ("fieldgate_server.cli", "serve Modbus on localhost, behind an SSH and a TLS door"),
    "client": ("fieldgate_client.cli", "read and write a site through the tunnel that its URL names"),
    "tunnel": ("fieldgate_tunnel.cli", "keep tunnels to sites, and give plain local ports to other programs"),
    "certs": ("fieldgate_certs.cli", "make certificates: X.509 for the TLS door, OpenSSH for the SSH door"),
    "demo": ("fieldgate_client.demo", "see the whole thing run on this machine, with a throw-away PKI"),
    "completion": ("fieldgate_client.completion_cli", "print what makes your shell complete commands and names"),
}
_COMPLETER = "fieldgate_client.completion"

_ENDS_AT_ONCE = {"client"}
"""Commands that leave nothing to be done at the interpreter's end."""


def usage() -> str:
    """Build the text of `fieldgate --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    return f"""usage: fieldgate COMMAND ...

A secure way in to Modbus devices: the server listens on localhost only and is
reached through SSH or TLS; the client opens the right tunnel by itself.

commands:
{rows}

options:
  -h, --help     show this text; `fieldgate COMMAND --help` tells more
  -V, --version  show the version

exit codes: 0 ok, 1 Modbus exception, 2 usage or configuration,
  3 tunnel or authentication, 4 time-out, 5 outcome of a write unknown
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name) and return its exit code."""
    args = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:
        return run(_COMPLETER, args)
    if not args or args[0] in {"-h", "--help", "help"}:
        sys.stdout.write(usage())
        return 0 if args else 2
    if args[0] in {"-V", "--version"}:
        sys.stdout.write(f"fieldgate {VERSION}\n")
        return 0
    if args[0] not in COMMANDS:
        sys.stderr.write(f"fieldgate: there is no command {args[0]!r}\nfieldgate: known are {', '.join(COMMANDS)}\n")
        return 2
    code = run(COMMANDS[args[0]][0], args[1:])
    if argv is None and args[0] in _ENDS_AT_ONCE:
        _end(code)
    return code


def _end(code: int) -> None:
    """End this process without taking the interpreter apart, which takes longer than a read through a tunnel."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        # the interpreter's own end says what there is to say
        return
    os._exit(code)


def run(module: str, args: list[str]) -> int:
    """Run one command's `main(args)`; every error of ours becomes two lines on stderr and its exit code."""
    import importlib

    from fieldgate_core.errors import FieldgateError

    try:
        code: int = importlib.import_module(module).main(args)
    except FieldgateError as error:
        sys.stderr.write(f"fieldgate: error: {error}\n")
        if error.hint:
            sys.stderr.write(f"fieldgate: hint: {error.hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("fieldgate: stopped\n")
        return 130
    except BrokenPipeError:
        # the reader of our output went away (head, less): not an error, but nothing more can be written
        sys.stderr.close()
        return 0
    except Exception:  # noqa: BLE001 - exit codes 0 to 5 have a meaning, and this has none of them
        import traceback

        sys.stderr.write(f"fieldgate: this is a fault of fieldgate itself, please report it:\n{traceback.format_exc()}")
        return EXIT_FAULT
    return code


if __name__ == "__main__":
    sys.exit(main())
