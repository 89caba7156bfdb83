"""ClientHellos made by hand, and what a server answers to one; TLS 1.2 says all of its first flight in the clear."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

from tlslite import extensions as ext
from tlslite.constants import (
    CertificateType,
    CipherSuite,
    ECPointFormat,
    GroupName,
    HandshakeType,
    SignatureScheme,
)
from tlslite.messages import (
    Certificate,
    CertificateRequest,
    ClientHello,
    RecordHeader3,
    ServerHello,
    ServerKeyExchange,
)
from tlslite.utils.codec import Parser

PATIENCE = 10.0
HANDSHAKE, ALERT = 22, 21
ECDSA = CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
RSA = CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
RENEGOTIATION_INFO = CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV
_SCHEMES = (
    SignatureScheme.ecdsa_secp256r1_sha256,
    SignatureScheme.rsa_pss_rsae_sha256,
    SignatureScheme.rsa_pkcs1_sha256,
)


class Answer(NamedTuple):
    """What a server has answered until it waits, or closes: bodies of its messages by type, and the alert's number."""

    messages: dict[int, bytes]
    alert: int | None
    closed: bool
    records: tuple[int, ...]
    """The lengths of its records."""

    def _body(self, kind: int) -> Parser:
        return Parser(bytearray(self.messages[kind]))

    @property
    def server_hello(self) -> ServerHello:
        return ServerHello().parse(self._body(HandshakeType.server_hello))

    @property
    def certificates(self) -> list[bytes]:
        """The chain that it shows, in DER."""
        body = self._body(HandshakeType.certificate)
        chain = Certificate(CertificateType.x509, (3, 3)).parse(body).cert_chain
        return [bytes(certificate.bytes) for certificate in chain.x509List]

    @property
    def certificate_request(self) -> CertificateRequest:
        return CertificateRequest((3, 3)).parse(self._body(HandshakeType.certificate_request))

    @property
    def key_exchange(self) -> ServerKeyExchange:
        exchange = ServerKeyExchange(self.server_hello.cipher_suite, (3, 3))
        return exchange.parse(self._body(HandshakeType.server_key_exchange))


def hello(
    suites: Sequence[int],
    *,
    version: tuple[int, int] = (3, 3),
    groups: Sequence[int] = (GroupName.secp256r1,),
    schemes: Sequence[tuple[int, int]] = _SCHEMES,
    compression: Sequence[int] = (0,),
    more: Sequence[ext.TLSExtension] = (),
) -> bytes:
    """Give the record of a ClientHello."""
    extensions = [
        ext.SupportedGroupsExtension().create(list(groups)),
        ext.ECPointFormatsExtension().create([ECPointFormat.uncompressed]),
        ext.SignatureAlgorithmsExtension().create(list(schemes)),
        *more,
    ]
    made = ClientHello().create(version, bytearray(os.urandom(32)), bytearray(), list(suites), extensions=extensions)
    made.compression_methods = list(compression)
    body = made.write()
    return bytes(RecordHeader3().create((3, 1), HANDSHAKE, len(body)).write() + body)


def say(port: int, first: bytes) -> Answer:
    """Send these bytes to a port of this machine, and give the answer."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(first)
        return _answer(connection)


def heard(record: bytes) -> ClientHello:
    """Read the ClientHello that a client has sent as its first record."""
    assert record[0] == HANDSHAKE
    assert record[5] == HandshakeType.client_hello
    return ClientHello().parse(Parser(bytearray(record[6:])))


def first_record(connection: socket.socket) -> bytes:
    """Read one record with its header."""
    connection.settimeout(PATIENCE)
    with connection.makefile("rb") as stream:
        head = stream.read(5)
        return head + stream.read(int.from_bytes(head[3:], "big"))


def _answer(connection: socket.socket) -> Answer:
    messages: dict[int, bytes] = {}
    sizes: list[int] = []
    alert: int | None = None
    flight = b""
    with connection.makefile("rb") as stream, contextlib.suppress(ConnectionResetError):
        while head := stream.read(5):
            body = stream.read(int.from_bytes(head[3:], "big"))
            sizes.append(len(body))
            if head[0] == ALERT:
                assert body[0] == 2, "not a fatal alert"
                alert = body[1]
                continue
            assert head[0] == HANDSHAKE
            flight = _take(flight + body, messages)
            if HandshakeType.server_hello_done in messages:
                return Answer(messages, alert, False, tuple(sizes))
    return Answer(messages, alert, True, tuple(sizes))


def _take(flight: bytes, messages: dict[int, bytes]) -> bytes:
    """Take whole messages off a flight, and give the rest."""
    while len(flight) >= 4 and len(flight) >= (end := 4 + int.from_bytes(flight[1:4], "big")):
        messages[flight[0]] = flight[1:end]
        flight = flight[end:]
    return flight
