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

REVOKED = File("revoked")
JOURNAL = File("journal", private=True)
PUBLISHED_REVOKED = File("published/revoked")
PUBLISHED_KRL = File("published/revoked.krl")
PUBLISHED_ROOT_CRL = File("published/root.crl.pem")


class CaFiles(NamedTuple):
    """The files of one issuing CA and of the two SSH CAs beside it."""

    cert: File
    key: File
    user_ca: File
    user_ca_pub: File
    host_ca: File
    host_ca_pub: File
    crl: File


def ca_files(name: str | None) -> CaFiles:
    """Name the files of an issuing CA; None is the one that `init` makes."""
    x509, ssh = (f"x509/issuing/{name}", f"ssh/{name}") if name else ("x509/issuing", "ssh")
    return CaFiles(
        File(f"{x509}/cert.pem"),
        File(f"{x509}/key.pem", private=True),
        File(f"{ssh}/user-ca", private=True),
        File(f"{ssh}/user-ca.pub"),
        File(f"{ssh}/host-ca", private=True),
        File(f"{ssh}/host-ca.pub"),
        File(f"published/{name or 'issuing'}.crl.pem"),
    )


class TrustFiles(NamedTuple):
    """What the holders of one of our CAs trust beside it: files of one other CA."""

    root: File
    issuing: File
    user_ca: File
    host_ca: File


def trust_files(ours: str | None, theirs: str) -> TrustFiles:
    """Name where the CA `ours` keeps what belongs to the CA `theirs`."""
    names = ("root.pem", "issuing.pem", "user-ca.pub", "host-ca.pub")
    return TrustFiles(*(File(f"{trust_folder(ours)}/{theirs}/{name}") for name in names))


def trust_folder(ours: str | None) -> str:
    """Name the folder that holds what a CA's holders trust beside it, one folder a CA."""
    return f"trust/{ours or 'issuing'}"


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
