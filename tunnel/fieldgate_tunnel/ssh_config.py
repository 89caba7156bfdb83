"""Write OpenSSH's own configuration: the client's Host block, the Match blocks of a stock sshd as door or hub; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import MODBUS_PORT
from fieldgate_core.url import LOOPBACK_PORT, check_box
from fieldgate_tunnel.hub_names import socket_of

GROUP = "fieldgate-tunnel"
BOXES, CLIENTS = "fieldgate-boxes", "fieldgate-clients"
"""The groups of those who offer a name at a hub, and of those who reach one."""
HUB = "/run/fieldgate-hub"
"""Where the sockets of a stock sshd's boxes are: the folder /BOX for each, its owner the box's user."""
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
        **_TRUST,
        "AllowTcpForwarding": "local",
        "PermitOpen": f"127.0.0.1:{port} localhost:{port} [::1]:{port}",
        "PermitListen": "none",
        "AllowStreamLocalForwarding": "no",
        **_NOTHING_ELSE,
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


_TRUST: dict[str, object] = {
    "AuthenticationMethods": "publickey",
    "TrustedUserCAKeys": f"{FOLDER}/user-ca.pub",
    "AuthorizedPrincipalsFile": f"{FOLDER}/principals/%u",
    "RevokedKeys": f"{FOLDER}/revoked.krl",
}
_NOTHING_ELSE: dict[str, object] = {
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


def hub_blocks(boxes: Sequence[str]) -> str:
    """Write the Match blocks that make a stock sshd a hub for these boxes. Raises ConfigError for what is no name."""
    for box in boxes:
        try:
            check_box(box)
        except ValueError as error:
            raise ConfigError("ssh-config --hub", str(error)) from None
    # sshd asks TCP's switch for sockets, too, and PermitListen never
    offering = {
        **_TRUST,
        "ChrootDirectory": HUB,
        "AllowTcpForwarding": "remote",
        "PermitListen": "none",
        "PermitOpen": "none",
        "AllowStreamLocalForwarding": "remote",
        "StreamLocalBindUnlink": "yes",
        "StreamLocalBindMask": "0117",
        **_NOTHING_ELSE,
    }
    # PermitOpen holds for sockets, too: by their path, in brackets as an IPv6 address is
    reaching = {
        **_TRUST,
        "ChrootDirectory": HUB,
        "AllowTcpForwarding": "local",
        "PermitOpen": " ".join(f"[{socket_of(box)}]:*" for box in boxes),
        "PermitListen": "none",
        "AllowStreamLocalForwarding": "local",
        **_NOTHING_ELSE,
    }
    folders = "".join(f"#   install -d -o {box} -g {CLIENTS} -m 2750 {HUB}/{box}\n" for box in boxes)
    return f"""\
# Group {BOXES}: each box has a user of its own, and offers its name as the socket {socket_of("BOX")}.
# Group {CLIENTS}: who is in it reaches these boxes, by TLS that ends in the box, and nothing else.
# Put it into a file of sshd_config.d, or into sshd_config before other Match blocks. It needs, owned by root:
#   {FOLDER}/user-ca.pub, principals/USER, revoked.krl   as `fieldgate tunnel ssh-config --server` says
# and, at each start of the machine (tmpfiles.d), where the folder's owner alone can offer the name:
#   install -d -m 755 {HUB}
{folders}Match Group {BOXES}
{_indented(offering)}Match Group {CLIENTS}
{_indented(reaching)}Match all
"""


def _indented(lines: dict[str, object]) -> str:
    return "".join(f"  {key} {value}\n" for key, value in lines.items())


def _check(form: re.Pattern[str], text: str, fault: str) -> None:
    if not form.fullmatch(text):
        raise ConfigError(repr(text), fault)
