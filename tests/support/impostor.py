"""An SSH client that asks and signs for whom it likes, one login after the other on one connection."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import asyncssh

from support.site import Site


def string(data: bytes) -> bytes:
    """Encode a string of SSH (RFC 4251, 5)."""
    return len(data).to_bytes(4, "big") + data


class Login(asyncssh.SSHKeyPair):
    """One request for `login` with a certificate; `signer` is who signs it, None asks only and goes on."""

    def __init__(
        self,
        login: str,
        *,
        certificate: bytes,
        signer: Path | None = None,
        alter: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        kind = certificate[4 : 4 + int.from_bytes(certificate[:4], "big")]
        key = asyncssh.generate_private_key(kind.partition(b"-cert-")[0].decode())
        super().__init__(kind, key.algorithm, key.sig_algorithms, (), certificate, "")
        self.sig_algorithms = key.sig_algorithms
        self.login = login
        self.signer = signer
        self.alter = alter
        self.signed = False

    def set_sig_algorithm(self, sig_algorithm: bytes) -> None:
        """Keep the name of the certificate's kind."""

    def sign(self, data: bytes) -> bytes:
        self.signed = True
        if self.signer is None:
            raise ValueError("it has only asked")
        key = asyncssh.read_private_key(self.signer / "ssh-key")
        return key.sign(self.alter(data), key.algorithm)


def certificate_of(identity: Path) -> bytes:
    return base64.b64decode((identity / "ssh-key-cert.pub").read_bytes().split()[1])


async def impostor(site: Site, *logins: Login) -> asyncssh.SSHClientConnection:
    """Make these requests on one connection, one after the other, whatever their login names."""
    waiting = list(logins)

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

        def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
            if not waiting:
                return None
            login = waiting.pop(0)
            # one connection has one login name in asyncssh's client; the protocol lets it change (RFC 4252, 5)
            self.connection._username = login.login
            return [login]

    connection, _ = await asyncssh.create_connection(
        Client,
        "127.0.0.1",
        site.app.ports["ssh"],
        username="nobody",
        client_keys=[],
        preferred_auth="publickey",
        known_hosts=str(site.pki.client("viewer") / "known_hosts"),
        agent_path=None,
        config=None,
    )
    return connection
