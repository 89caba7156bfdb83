"""The `fieldgate` command: a static table of commands; a command's module is imported when it is chosen, not before."""

from __future__ import annotations

import errno
import os
import sys

VERSION = "0.1.0"
EXIT_FAULT = 70
EXIT_OUTPUT = 74
"""As sysexits.h has it: what was to be printed could not be; what was done, is done."""
_OUTPUT_FAILS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

# command -> (module, what it does); help is printed from this table alone, so it stays fast.
COMMANDS: dict[str, tuple[str, str]] = {
    "server": ("fieldgate_server.cli", "serve Modbus on localhost, behind an SSH and a TLS door"),
    "client": ("fieldgate_client.cli", "read and write a site through the tunnel that its URL names"),
    "tunnel": ("fieldgate_tunnel.cli", "keep tunnels to sites; plain local ports for other programs"),
    "certs": ("fieldgate_certs.cli", "make certificates: X.509 for the TLS door, OpenSSH for SSH"),
    "demo": ("fieldgate_client.demo", "see the whole thing run on this machine, with a throw-away PKI"),
    "completion": ("fieldgate_client.completion_cli", "print what makes your shell complete commands and names"),
}
_COMPLETER = "fieldgate_client.completion"

_ENDS_AT_ONCE = {"client"}
"""Commands that leave nothing to be done at the interpreter's end: no exit handler, no thread that anybody joins."""


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
    if argv is None:
        _stand_in()
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


def _stand_in() -> None:
    """Open what we were started without (`>&-`): else a socket or file would get its number, and our messages."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # no pathlib, which would double what --help takes; open as long as the process is there
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115


def _end(code: int) -> None:
    """End this process without taking the interpreter apart, which takes longer than a read through a tunnel."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # `run` has flushed what matters, and said what went wrong with it
            continue
    os._exit(code)


def _say(text: str) -> None:
    """Write to stderr; that nobody can be told must not change the exit code."""
    try:
        sys.stderr.write(text)
    except (OSError, ValueError):
        return


def run(module: str, args: list[str]) -> int:
    """Run one command's `main(args)`; every error of ours becomes two lines on stderr and its exit code."""
    import importlib

    from fieldgate_core.errors import FieldgateError

    try:
        code: int = importlib.import_module(module).main(args)
        sys.stdout.flush()
    except FieldgateError as error:
        _say(f"fieldgate: error: {error}\n")
        if error.hint:
            _say(f"fieldgate: hint: {error.hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        _say("fieldgate: stopped\n")
        return 130
    except BrokenPipeError:
        # the reader of our output went away (head, less): not an error, but nothing more can be written
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - exit codes 0 to 5 have a meaning, and this has none of them
        if isinstance(error, OSError) and error.errno in _OUTPUT_FAILS:
            _say(f"fieldgate: error: the output cannot be written: {error.strerror}\n")
            return EXIT_OUTPUT
        import traceback

        _say(f"fieldgate: this is a fault of fieldgate itself, please report it:\n{traceback.format_exc()}")
        return EXIT_FAULT
    return code


if __name__ == "__main__":
    sys.exit(main())
