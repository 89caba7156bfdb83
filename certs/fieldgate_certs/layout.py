"""Name every file of a PKI and of an identity, and say which of them are private."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fieldgate_core import identity_folder as names


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

TLS_KEY = File(names.TLS_KEY, private=True)
TLS_CHAIN = File(names.TLS_CHAIN)
TLS_CLIENT_CA = File(names.TLS_CLIENT_CA)
TLS_SERVER_CA = File(names.TLS_SERVER_CA)
SSH_HOST_KEY = File(names.SSH_HOST_KEY, private=True)
SSH_HOST_KEY_PUB = File(f"{names.SSH_HOST_KEY}.pub")
SSH_HOST_KEY_CERT = File(names.SSH_HOST_CERTIFICATE)
SSH_USER_CA = File(names.SSH_USER_CA)
SSH_KEY = File(names.SSH_KEY, private=True)
SSH_KEY_PUB = File(f"{names.SSH_KEY}.pub")
SSH_KEY_CERT = File(names.SSH_CERTIFICATE)
KNOWN_HOSTS = File(names.KNOWN_HOSTS)
