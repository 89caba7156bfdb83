"""`fieldgate tunnel ssh-config`: print what stock OpenSSH needs at either end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import LOOPBACK_PORT, SSH_PORT, Scheme, parse
from fieldgate_tunnel.own_identity import default_identity
from fieldgate_tunnel.ssh_config import GROUP, Way, client_block, hub_blocks, server_block

_ABOUT = f"""\
Prints the configuration with which OpenSSH reaches a site, or is its door.

With URL, the Host block for ~/.ssh/config of a client: `ssh -N fieldgate-HOST`
then brings the site's Modbus port to 127.0.0.1:{LOOPBACK_PORT}. It names the files of the
identity folder: that of --identity, else the one that `fieldgate client` takes;
without any, ssh uses your own keys and known_hosts.

With --server, the Match block for sshd_config of a box whose stock sshd is the
door, in place of ours: the users of one group get the Modbus port, and nothing
else. docs/ssh.md says what each of the two doors gives.

With --hub, the Match blocks for sshd_config of a machine whose stock sshd is a
hub: these boxes dial in and offer their names, clients reach them by name, and
that is all (docs/hub.md)."""

_EXAMPLES = """\
examples:
  fieldgate tunnel ssh-config modbus+ssh://viewer@box-1.example.com >> \\
      ~/.ssh/config
  ssh -N fieldgate-box-1.example.com
  fieldgate tunnel ssh-config --server > /etc/ssh/sshd_config.d/fieldgate.conf
  fieldgate tunnel ssh-config \\
      --hub box-7 box-8 > /etc/ssh/sshd_config.d/fieldgate-hub.conf

exit codes: 0 ok, 2 usage or configuration"""


def main(args: list[str]) -> int:
    """Run `fieldgate tunnel ssh-config` with `args`; returns the exit code. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="fieldgate tunnel ssh-config",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="the site: modbus+ssh://ROLE@HOST[:PORT]")
    parser.add_argument("--identity", type=Path, metavar="DIR", help="the identity folder: who you are")
    parser.add_argument("--server", action="store_true", help="print the Match block of a stock sshd instead")
    hub = "print the Match blocks of a stock sshd that is a hub for these boxes"
    parser.add_argument("--hub", nargs="+", metavar="BOX", help=hub)
    parser.add_argument(
        "--port",
        type=int,
        help=f"the Modbus port on the box (default {MODBUS_PORT}, as fieldgate's SSH door has it; "
        f"with --server {LOOPBACK_PORT})",
    )
    parser.add_argument("--group", metavar="NAME", help=f"with --server: the group of the users (default {GROUP})")
    options = parser.parse_args(args)
    if options.port is not None and not 0 < options.port < 65536:
        parser.error("--port: 1 to 65535")
    if options.hub:
        if options.url or options.identity or options.server or options.port or options.group:
            parser.error("--hub takes the names of boxes and nothing else")
        sys.stdout.write(hub_blocks(options.hub))
        return 0
    if options.server:
        if options.url or options.identity:
            parser.error("--server takes no URL and no --identity")
        sys.stdout.write(server_block(options.port or LOOPBACK_PORT, options.group or GROUP))
        return 0
    if options.group:
        parser.error("--group goes with --server")
    if not options.url:
        parser.error("name a URL, --server or --hub")
    identity = options.identity or default_identity()
    sys.stdout.write(client_block(_way(options.url, identity, options.port or MODBUS_PORT)))
    return 0


def _way(text: str, folder: Path | None, target: int) -> Way:
    url = parse(text)
    if url.scheme is not Scheme.SSH:
        raise ConfigError(text, "is not reached by SSH", hint="the form is modbus+ssh://ROLE@HOST[:PORT]")
    # absolute and not resolved: `current` names the newest identity
    identity = folder.expanduser().absolute() if folder else None
    login = url.user or (_principal(identity) if identity else None)
    if login is None:
        raise ConfigError(text, "no login name", hint="name the role: modbus+ssh://ROLE@HOST[:PORT]")
    return Way(url.host, url.port or SSH_PORT, login, identity, target)


def _principal(folder: Path) -> str | None:
    # cryptography is loaded only where a certificate is read
    from fieldgate_core import identity_folder as names
    from fieldgate_tunnel import identity_files as files
    from fieldgate_tunnel.ssh_keys import only_principal

    certificate = files.file(folder, names.SSH_CERTIFICATE)
    files.check_ssh_certificate(certificate)
    return only_principal(certificate.read_bytes())
