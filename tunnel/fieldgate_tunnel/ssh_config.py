"""Write OpenSSH's own configuration: the client's Host block, and the Match block of a stock sshd (guard.md); pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import LOOPBACK_PORT

GROUP = "fieldgate-tunnel"
FOLDER = "/etc/ssh/fieldgate"
"""Where the Match block looks for the user CA, the principals and the KRL."""
KEEPALIVE_INTERVAL = 15
KEEPALIVE_COUNT = 3

# what these words let through can neither end a line or a quoted word, nor be expanded by ssh
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_WORD = re.compile(r"[^\x00-\x1f\x7f\"%$\\]+")
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Way:
    """A way to a site: its host, the SSH port, the login, an identity folder or None, and the Modbus port there."""

    host: str
    port: int
    login: str
    identity: PurePath | None = None
    target: int = MODBUS_PORT

    @property
    def name(self) -> str:
        """The alias: `ssh HOST` itself stays what it was."""
        return f"fieldgate-{self.host}"


def client_block(way: Way) -> str:
    """Write the Host block with which `ssh -N NAME` brings the Modbus port to 127.0.0.1:5020.

    Raises ConfigError for a host, login or folder that cannot be written so that ssh reads it back.
    """
    _check(_HOST, way.host, "no host that can stand in an ssh_config file")
    _check(_WORD, way.login, "no login name that can stand in an ssh_config file")
    lines = {
        "HostName": way.host,
        "Port": way.port,
        "User": f'"{way.login}"',
        "LocalForward": f"127.0.0.1:{LOOPBACK_PORT} localhost:{way.target}",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": KEEPALIVE_INTERVAL,
        "ServerAliveCountMax": KEEPALIVE_COUNT,
        "StrictHostKeyChecking": "yes",
        **_identity(way.identity),
        "PreferredAuthentications": "publickey",
        "BatchMode": "yes",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
    }
    head = f"# {way.host}: `ssh -N {way.name}` brings its Modbus port to 127.0.0.1:{LOOPBACK_PORT}\nHost {way.name}\n"
    return head + _indented(lines)


def _identity(folder: PurePath | None) -> dict[str, str]:
    if folder is None:
        return {}
    _check(_WORD, str(folder), "no folder that can stand in an ssh_config file")
    return {
        "IdentityFile": f'"{folder / names.SSH_KEY}"',
        "CertificateFile": f'"{folder / names.SSH_CERTIFICATE}"',
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": f'"{folder / names.KNOWN_HOSTS}"',
        "GlobalKnownHostsFile": "/dev/null",
    }


def server_block(port: int = LOOPBACK_PORT, group: str = GROUP) -> str:
    """Write the Match block that gives the users of a group the Modbus port behind a stock sshd, and nothing else.

    Raises ConfigError for what is no name of a group.
    """
    _check(_GROUP, group, "no name of a group")
    lines = {
        "AuthenticationMethods": "publickey",
        "TrustedUserCAKeys": f"{FOLDER}/user-ca.pub",
        "AuthorizedPrincipalsFile": f"{FOLDER}/principals/%u",
        "RevokedKeys": f"{FOLDER}/revoked.krl",
        "AllowTcpForwarding": "local",
        "PermitOpen": f"127.0.0.1:{port} localhost:{port} [::1]:{port}",
        "PermitListen": "none",
        "AllowStreamLocalForwarding": "no",
        "AllowAgentForwarding": "no",
        "X11Forwarding": "no",
        "PermitTunnel": "no",
        "PermitTTY": "no",
        "PermitUserRC": "no",
        "ForceCommand": "/usr/sbin/nologin",
        "MaxSessions": 0,
        "ClientAliveInterval": KEEPALIVE_INTERVAL,
        "ClientAliveCountMax": KEEPALIVE_COUNT,
    }
    head = f"""\
# Who is in group {group} reaches the Modbus port {port}, and nothing else. Put it into a file of
# sshd_config.d, or into sshd_config before other Match blocks: of those that match, the first counts.
# Not DisableForwarding: it would end this forward, too.
# It needs these in {FOLDER}, owned by root, or nobody of the group gets in with a certificate:
#   user-ca.pub      the SSH user CA: ssh-user-ca.pub of the server's identity folder
#   principals/USER  for each user of the group, the roles whose certificates may log in as it, one a line
#   revoked.krl      who is revoked; an empty one: ssh-keygen -k -f {FOLDER}/revoked.krl
Match Group {group}
"""
    return f"{head}{_indented(lines)}Match all\n"


def _indented(lines: dict[str, object]) -> str:
    return "".join(f"  {key} {value}\n" for key, value in lines.items())


def _check(form: re.Pattern[str], text: str, fault: str) -> None:
    if not form.fullmatch(text):
        raise ConfigError(repr(text), fault)
