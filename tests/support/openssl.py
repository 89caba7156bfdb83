"""`openssl` and `gnutls-cli` as they are, run against a port of this machine: peers that share no code with ours."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from support.tools import DEADLINE, ENVIRONMENT, Finished, tool

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def run(name: str, *arguments: str | Path, text: str = "") -> Finished:
    """Run a tool to its end; `text` is what it can read."""
    done = subprocess.run(
        [tool(name), *map(str, arguments)],
        input=text.encode(),
        capture_output=True,
        timeout=DEADLINE,
        env=ENVIRONMENT,
        check=False,
    )
    return Finished(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def s_client(port: int, identity: Path | None, *options: str | Path, trust: Path | None = None) -> list[str]:
    """Give the arguments of `openssl s_client`, with the certificate of an identity folder or none.

    It verifies the server by the folder's CAs, or by those in `trust`.
    """
    arguments: list[str | Path] = ["s_client", "-connect", f"127.0.0.1:{port}", "-verify_return_error"]
    if trust is None and identity is not None:
        trust = identity / "tls-server-ca.pem"
    if trust is not None:
        arguments += ["-CAfile", trust, "-verify_ip", "127.0.0.1"]
    if identity is not None:
        chain = identity / "tls-chain.pem"
        arguments += ["-cert", chain, "-cert_chain", chain, "-key", identity / "tls-key.pem"]
    return [str(argument) for argument in (*arguments, *options)]


def handshake(port: int, identity: Path | None, *options: str | Path, trust: Path | None = None) -> Finished:
    """Shake hands by `openssl s_client` and leave; it prints what was negotiated, and exits with 1 for a failure."""
    return run("openssl", *s_client(port, identity, *options, trust=trust))


def refusal(port: int, identity: Path | None, *options: str | Path, trust: Path | None = None) -> Finished:
    """As `handshake`, but stay until the server ends it: TLS 1.3 refuses a client after the client's handshake."""
    return run("openssl", *s_client(port, identity, "-ign_eof", *options, trust=trust))


def exchange(arguments: list[str], request: bytes, size: int, *, name: str = "openssl") -> bytes:
    """Have a tool send a request, and give the `size` bytes that it then writes."""
    with piped(name, *arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        return process.stdout.read(size)


@contextlib.contextmanager
def piped(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a tool with pipes at all three ends, and end it with the block, or when it hangs."""
    with subprocess.Popen(
        [tool(name), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        # a read that waits for a tool that hangs ends with it
        watchdog = threading.Timer(DEADLINE, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def certificates(text: str) -> list[x509.Certificate]:
    """Give the certificates that a tool has printed, each once."""
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in dict.fromkeys(_PEM.findall(text))]
