"""Say what asyncssh has raised in errors of ours: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import asyncssh

from fieldgate_core.errors import FieldgateError, NotTrustedError, RejectedError, TunnelError, UnreachableError
from fieldgate_core.logs import printable
from fieldgate_core.url import SiteUrl
from fieldgate_tunnel import tls
from fieldgate_tunnel.ssh import JumpError
from fieldgate_tunnel.ssh_faults import host_key_fault, no_common_host_key

_CLOSED = "SSH connection closed"
"""asyncssh's own words, with the code of a refusal, for a connection that ended meanwhile."""
Otherwise = Callable[[str, BaseException | None], FieldgateError]


def explain(target: str, error: BaseException | None, *, otherwise: Otherwise) -> FieldgateError | None:
    """Turn what SSH raised into our error; None if it is not SSH's. `otherwise` explains what stopped a jump host."""
    if isinstance(error, JumpError):
        return _jump(target, error, otherwise)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        problem, hint = host_key_fault(error.reason)
        refusal = f"{printable(problem)}{_clock_of(error)}"
        return NotTrustedError(target, f"the server's host key is not accepted: {refusal}", hint=hint)
    if isinstance(error, asyncssh.KeyExchangeFailed) and no_common_host_key(error.reason):
        problem, hint = host_key_fault("Host key is not trusted")
        return NotTrustedError(target, f"the server's host key is not accepted: {problem}", hint=hint)
    if isinstance(error, asyncssh.PermissionDenied):
        return RejectedError(
            target,
            "the server does not accept our key or certificate for this login name",
            hint="the login name is the role: is it the certificate's principal, and known to the site's policy?",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return _channel(target, error)
    if isinstance(error, asyncssh.Error):
        # a stock sshd without a key or certificate that would do, just hangs up
        hint = "is this port an SSH door, and has it a host key or certificate as known_hosts asks for?"
        return UnreachableError(target, f"SSH failed: {printable(error.reason)}", hint=hint)
    return None


def of_hub(url: SiteUrl, error: BaseException, *, otherwise: Otherwise) -> FieldgateError:
    """Say that it was the hub on the way to a box that failed, or that it does not lead there."""
    target = f"{url}: hub {url.host}"
    if isinstance(error, asyncssh.ChannelOpenError):
        reason = printable(error.reason)
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED and error.reason != _CLOSED:
            hint = f"ask whoever runs the hub whether this login may reach {url.box}"
            return RejectedError(target, f"it does not let us reach {url.box}: {reason}", hint=hint)
        hint = "has the box dialled in? `fieldgate tunnel status` says so on the box, and at fieldgate's own hub"
        return UnreachableError(target, f"it does not reach {url.box} now: {reason}", hint=hint)
    if isinstance(error, asyncssh.PermissionDenied):
        hint = f"does `ssh {url.host}` let this login in, and is its certificate's principal known there?"
        return RejectedError(target, "it does not accept our key or certificate for this login name", hint=hint)
    return otherwise(target, error)


def _channel(target: str, error: asyncssh.ChannelOpenError) -> TunnelError:
    if error.reason == _CLOSED:
        return UnreachableError(target, "the server closed the connection", hint="has this key too many there already?")
    if error.code == asyncssh.OPEN_CONNECT_FAILED:
        problem = f"no Modbus server answers behind the SSH door: {printable(error.reason)}"
        return UnreachableError(target, problem, hint="is the server running on the box?")
    return RejectedError(target, f"the server refuses the Modbus port: {printable(error.reason)}")


def _clock_of(error: asyncssh.HostKeyNotVerifiable) -> str:
    """Give what the clock says, where the verdict on a host certificate hangs on it: so asyncssh words it."""
    of_time = error.reason.startswith(("Certificate not yet valid", "Certificate expired"))
    return tls.clock_now() if of_time else ""


def _jump(site: str, error: JumpError, otherwise: Otherwise) -> FieldgateError:
    """Say that it was a host on the way that failed, and which."""
    target, hint = f"{site}: jump host {error.hop}", f"does `ssh {error.hop}` work by itself?"
    cause = error.__cause__
    if isinstance(cause, asyncssh.ChannelOpenError):
        return RejectedError(target, f"it does not lead on to the site: {printable(cause.reason)}", hint=hint)
    if isinstance(cause, asyncssh.PermissionDenied):
        return RejectedError(target, "it does not accept our key or certificate for this login name", hint=hint)
    found = otherwise(site, cause)
    return type(found)(target, found.problem, hint=found.hint) if isinstance(found, TunnelError) else found
