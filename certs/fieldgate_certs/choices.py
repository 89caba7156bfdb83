"""Name what may be chosen on the command line, without loading what carries it out."""

from __future__ import annotations

KEY_KINDS = ("ecdsa", "rsa")
REASONS = (
    "unspecified",
    "key-compromise",
    "ca-compromise",
    "affiliation-changed",
    "superseded",
    "cessation",
    "privilege-withdrawn",
)
TRUST_FORMS = (
    "server-ca",
    "server-ca-der",
    "client-ca",
    "client-ca-chain",
    "known-hosts",
    "user-ca-keys",
    "authorized-keys",
)
BINARY_FORMS = ("server-ca-der",)
"""Those that are no text."""
