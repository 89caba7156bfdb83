"""`fieldgate tunnel`: a static table of commands; a command's module is imported when it is chosen, not before."""

from __future__ import annotations

import sys

from fieldgate_core.errors import EXIT_CONFIG

# command -> (module, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "forward": ("fieldgate_tunnel.forward_command", "a plain local port that leads to a site"),
    "dial": ("fieldgate_tunnel.dial_command", "have a box behind NAT reached through a hub"),
    "hub": ("fieldgate_tunnel.hub_command", "be the hub where boxes dial in"),
    "status": ("fieldgate_tunnel.status_command", "how running tunnels stand"),
    "ssh-config": ("fieldgate_tunnel.ssh_config_cli", "print what stock OpenSSH needs at either end"),
}


def usage() -> str:
    """Build the text of `fieldgate tunnel --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    return f"""usage: fieldgate tunnel COMMAND ...

Keeps tunnels to sites, which come back by themselves and say how they stand,
and gives plain local ports to tools that know neither SSH nor TLS.

commands:
{rows}

`fieldgate tunnel COMMAND --help` tells more.
"""


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel` with `args`; returns the exit code. Raises what the command raises."""
    if not args or args[0] in {"-h", "--help"}:
        sys.stdout.write(usage())
        return 0 if args else EXIT_CONFIG
    if args[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"fieldgate tunnel: there is no command {args[0]!r}\nfieldgate tunnel: known are {known}\n")
        return EXIT_CONFIG
    import importlib

    code: int = importlib.import_module(COMMANDS[args[0]][0]).main(args[1:])
    return code
