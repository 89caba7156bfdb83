"""Say what sockets, TLS or SSH have raised in errors of ours: what is wrong, and what to do."""

from __future__ import annotations

import os
import socket
import ssl
import sys

from fieldgate_core import identity_folder as names
from fieldgate_core.errors import FieldgateError, NotTrustedError, RejectedError, TunnelLostError, UnreachableError
from fieldgate_core.logs import printable
from fieldgate_core.url import SiteUrl

REACH = "is the host up, the port right, and no firewall in between?"
_CLOCK = "is this machine's clock right? was the certificate renewed?"
_ABOUT_CRL = {
    3: ("holds no CRL of its CA", "fetch it from the CA"),
    12: ("has expired, so nobody knows whether it is revoked", "fetch a new one from the CA"),
    23: ("says that it is revoked", "ask who runs the site: its key may have been stolen"),
}
"""What OpenSSL's verdicts on CRLs mean (X509_V_ERR_...): of our tls-crl.pem, and what to do."""


def explain(url: SiteUrl | str, error: BaseException | None) -> FieldgateError:
    """Turn what sockets, TLS or SSH raised into our error: not trusted, rejected, unreachable, or lost."""
    target = str(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(target, error)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason:
            return RejectedError(target, f"the server does not accept our certificate: {reason}", hint=_CLOCK)
        return UnreachableError(target, f"TLS failed: {reason}", hint="is this port a TLS door?")
    # who has not imported asyncssh has nothing of it to explain
    if "asyncssh" in sys.modules:
        from fieldgate_tunnel import ssh_errors

        of_ssh = ssh_errors.explain(target, error, otherwise=explain)
        if of_ssh is not None:
            return of_ssh
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        return UnreachableError(target, f"no such host: {why}", hint="is the name right?")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(target, "connection refused", hint="is the server running, and the port right?")
    if isinstance(error, ConnectionResetError):
        hint = "it was there: are we revoked or kicked, has it too many connections? its trail says why"
        return UnreachableError(target, "the other side cut the connection", hint=hint)
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        why = why[0].lower() + why[1:]
        if error.filename is not None:
            # the one file that is opened on the way is a program
            hint = "is it the right ProxyCommand in ~/.ssh/config, and installed?"
            return UnreachableError(target, f"{printable(str(error.filename))}: {why}", hint=hint)
        return UnreachableError(target, why, hint=REACH)
    return TunnelLostError(target, "the peer closed the tunnel")


def _not_trusted(target: str, error: ssl.SSLCertVerificationError) -> NotTrustedError:
    from fieldgate_tunnel.tls import clock_says

    of_time = clock_says(error)
    if error.verify_code in _ABOUT_CRL:
        what, hint = _ABOUT_CRL[error.verify_code]
        problem = f"the server's certificate is not accepted: {names.TLS_CRL} in the identity folder {what}{of_time}"
        return NotTrustedError(target, problem, hint=hint)
    problem = f"the server's certificate is not accepted: {error.verify_message}{of_time}"
    return NotTrustedError(target, problem, hint="right host? right CA in the identity folder? right clock?")
