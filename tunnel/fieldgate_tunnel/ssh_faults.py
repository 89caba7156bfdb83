"""Why a host's key is not accepted, as asyncssh says it and as a person can act on it; pure."""

from __future__ import annotations

_ASK = "ask whoever runs the site for its host CA or key; what a stranger on the line shows must not be taken"
_CLOCK = "is this machine's clock right? was the host's certificate renewed? (fieldgate certs issue server)"

_FAULTS = {
    "Host key is revoked": (
        "its host key is revoked (@revoked in known_hosts)",
        "do not connect; ask whoever runs the site",
    ),
    "Host CA key is revoked": (
        "the CA of its host certificate is revoked (@revoked in known_hosts)",
        "do not connect; ask whoever runs the site",
    ),
    "Host CA key is not trusted": (
        "known_hosts does not trust the CA of its host certificate (@cert-authority)",
        "name who you are with --identity DIR, whose known_hosts says which CA signs host keys; else " + _ASK,
    ),
    "Host key is not trusted": (
        "known_hosts holds no such key for it",
        "name who you are with --identity DIR, whose known_hosts says which CA signs host keys; else " + _ASK,
    ),
    "Certificate expired": ("its host certificate has expired", _CLOCK),
    "Certificate not yet valid": ("its host certificate is not valid yet", _CLOCK),
    "Certificate principal mismatch": (
        "its host certificate is for other names than the one you asked for",
        "use a name that the certificate holds; `ssh-keygen -L -f ssh-host-key-cert.pub` on the box shows them",
    ),
    "Invalid certificate type": ("it shows a user's certificate as its host certificate", _ASK),
}


def host_key_fault(reason: str) -> tuple[str, str]:
    """Give the problem and a hint for the reason of asyncssh's HostKeyNotVerifiable."""
    text, _, _ = reason.partition(" for host ")
    problem, hint = _FAULTS.get(text, (text, _ASK))
    return problem, hint


def no_common_host_key(reason: str) -> bool:
    """Tell whether a key exchange failed because the host has no key of a kind that known_hosts holds for it."""
    return "host key" in reason
