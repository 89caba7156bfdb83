"""Make, write and read private keys, and refuse public keys that are too weak to certify."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from fieldgate_certs import openssh
from fieldgate_certs.subjects import RSA, KeyKind
from fieldgate_core.errors import PkiError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RSA_BITS = 3072
"""Of an RSA key that we make: as strong as P-256 (NIST SP 800-57, part 1, table 2)."""
_LEAST_RSA_BITS = 2048
_LEAST_RSA_EXPONENT = 65537
_CURVES = (ec.SECP256R1, ec.SECP384R1)


def new(kind: KeyKind) -> PrivateKey:
    """Make a key for X.509: ECDSA P-256 (R-61), or RSA of 3072 bits, which R-39 wants to exist."""
    if kind == RSA:
        return rsa.generate_private_key(_LEAST_RSA_EXPONENT, RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def new_ssh() -> openssh.PrivateKey:
    """Make a key for SSH: Ed25519."""
    return Ed25519PrivateKey.generate()


def kind_of(key: PublicKey) -> KeyKind:
    """Tell of which kind a key is."""
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ecdsa"


def accept(key: object, where: str) -> PublicKey:
    """Give a public key if it is worth a certificate. Raises PkiError that names `where` and what it is instead."""
    hint = f"make an ECDSA key on P-256, or an RSA key of {RSA_BITS} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise PkiError(where, f"its key is on the curve {key.curve.name}, not P-256 or P-384", hint=hint)
        return key
    if not isinstance(key, rsa.RSAPublicKey):
        raise PkiError(where, "its key is neither ECDSA nor RSA", hint=hint)
    if key.key_size < _LEAST_RSA_BITS:
        problem = f"its RSA key has {key.key_size} bits, which is weak: at least {_LEAST_RSA_BITS}"
        raise PkiError(where, problem, hint=hint)
    if key.public_numbers().e < _LEAST_RSA_EXPONENT:
        problem = f"its RSA key has the public exponent {key.public_numbers().e}, which is weak: at least 65537"
        raise PkiError(where, problem, hint=hint)
    return key


def accept_ssh(key: object, where: str) -> openssh.PublicKey:
    """Give a public key if it is worth an SSH certificate: Ed25519, or what `accept` takes. Raises PkiError."""
    return key if isinstance(key, Ed25519PublicKey) else accept(key, where)


def pkcs8(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Give a private key as PEM (PKCS#8), encrypted if there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def is_encrypted(data: bytes) -> bool:
    """Tell whether a private key in PEM has a passphrase."""
    return b"ENCRYPTED" in data


def read_pem(data: bytes, where: str, *, hint: str, passphrase: bytes | None = None) -> PrivateKey:
    """Read a private key in PEM. Raises PkiError that names `where`; a wrong passphrase is told apart."""
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase is not None and is_encrypted(data):
            raise PkiError(where, "the passphrase does not open this key", hint="try again") from None
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError(where, "is not an ECDSA or RSA private key without passphrase", hint=hint)
    return key


def read_ssh(data: bytes, where: str, *, hint: str) -> openssh.PrivateKey:
    """Read an Ed25519 or ECDSA private key in OpenSSH's format. Raises PkiError that names `where`."""
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, openssh.PrivateKey):
        raise PkiError(where, "is not an Ed25519 or ECDSA private key without passphrase", hint=hint)
    return key
