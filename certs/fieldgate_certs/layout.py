"""Name every file of a PKI and of an identity, and say which of them are private."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class File(NamedTuple):
    """A file by its `path` below the PKI's folder or the identity's; `private` files hold a private key."""

    path: str
    private: bool = False


Files = Mapping[File, bytes]
"""What to write: each file with its whole content."""

ROOT_CERT = File("x509/root/cert.pem")
ROOT_KEY = File("x509/root/key.pem", private=True)
ISSUING_CERT = File("x509/issuing/cert.pem")
ISSUING_KEY = File("x509/issuing/key.pem", private=True)
USER_CA = File("ssh/user-ca", private=True)
USER_CA_PUB = File("ssh/user-ca.pub")
HOST_CA = File("ssh/host-ca", private=True)
HOST_CA_PUB = File("ssh/host-ca.pub")

TLS_KEY = File("tls-key.pem", private=True)
TLS_CHAIN = File("tls-chain.pem")
TLS_CLIENT_CA = File("tls-client-ca.pem")
TLS_SERVER_CA = File("tls-server-ca.pem")
SSH_HOST_KEY = File("ssh-host-key", private=True)
SSH_HOST_KEY_PUB = File("ssh-host-key.pub")
SSH_HOST_KEY_CERT = File("ssh-host-key-cert.pub")
SSH_USER_CA = File("ssh-user-ca.pub")
SSH_KEY = File("ssh-key", private=True)
SSH_KEY_PUB = File("ssh-key.pub")
SSH_KEY_CERT = File("ssh-key-cert.pub")
KNOWN_HOSTS = File("known_hosts")
