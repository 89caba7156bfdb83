"""Who is asking: from what a door has proven to a typed name and a role; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fieldgate_core.credentials import (
    Credentials,
    LoopbackCredentials,
    SshCertificateCredentials,
    SshKeyCredentials,
    TlsCredentials,
)
from fieldgate_core.revocation import Revoked
from fieldgate_server.policy import NULL_ROLE, OWNER_ROLE, OwnerPolicy, Policy
from fieldgate_server.rights import NO_RIGHTS, Rights
from fieldgate_server.trail_text import facts_text

INVALID_ROLE = "INVALID"


class UnixUser(NamedTuple):
    """A user of this machine: its name and the names of its groups."""

    name: str
    groups: frozenset[str]


UserLookup = Callable[[int], UnixUser | None]
"""Gives the user of a uid; None for uids without a name, the overflow uid and dynamic users: they have no role."""


class Identity(NamedTuple):
    """Who is asking. `role` is a role, NULL or INVALID; `fault` says why it is INVALID; `expires` in s since 1970.

    `keys` are the names under which an SSH certificate is revoked with a key: its own, and that of its CA.
    """

    name: str
    role: str
    rights: Rights
    door: str
    peer: str
    fault: str | None = None
    expires: float | None = None
    keys: tuple[str, ...] = ()

    def revoked_as(self, revoked: Revoked) -> str | None:
        """Give the name by which a list revokes this identity; None if it does not."""
        return next((name for name in (self.name, *self.keys) if name in revoked), None)

    @property
    def who(self) -> str:
        """Who asks, as the trail's lines write it, with a space behind."""
        facts = {"identity": self.name, "role": self.role, "door": self.door, "peer": self.peer}
        return f"{facts_text(facts)} "


def conclude(credentials: Credentials, policy: Policy, user: UserLookup) -> Identity:
    """Conclude the identity of a peer. Never raises: whom nothing names is INVALID and has no right."""
    if isinstance(credentials, TlsCredentials):
        return _tls(credentials, policy)
    if isinstance(credentials, SshCertificateCredentials):
        return _ssh_certificate(credentials, policy)
    if isinstance(credentials, SshKeyCredentials):
        return _ssh_key(credentials, policy)
    return _loopback(credentials, policy, user)


def invalid(identity: Identity, fault: str) -> Identity:
    """Take all rights from an identity."""
    return identity._replace(role=INVALID_ROLE, rights=NO_RIGHTS, fault=fault)


def known_to_ssh(credentials: SshCertificateCredentials | SshKeyCredentials, policy: Policy) -> bool:
    """Answer the SSH door: who is not known fails authentication, so INVALID never gets a channel there."""
    identity = conclude(credentials, policy, lambda _uid: None)
    return identity.fault is None


def _tls(proven: TlsCredentials, policy: Policy) -> Identity:
    issuer = f"x509:{proven.issuer}"
    name = f"tls:{proven.issuer}/{proven.serial:X}/{proven.common_name}"
    role, fault = proven.claim.role, proven.claim.fault
    if fault is None and role is None:
        role = NULL_ROLE
    elif fault is None and role is not None and not policy.may_give(issuer, role):
        fault = f"{issuer} may not give role {role!r}"
    return _identity(name, role, fault, policy, "tls", proven.peer, proven.valid_until)


def _ssh_certificate(proven: SshCertificateCredentials, policy: Policy) -> Identity:
    issuer = f"ssh-ca:{proven.ca}"
    name = f"ssh:{proven.ca}/{proven.serial}/{proven.key_id}"
    fault = None
    if proven.login not in proven.principals:
        fault = f"login name {proven.login!r} is not a principal of the certificate"
    elif not policy.may_give(issuer, proven.login):
        fault = f"{issuer} may not give role {proven.login!r}"
    found = _identity(name, proven.login, fault, policy, "ssh", proven.peer, proven.valid_until)
    return found._replace(keys=(f"key:{proven.fingerprint}", f"key:{proven.ca}"))


def _ssh_key(proven: SshKeyCredentials, policy: Policy) -> Identity:
    mapped = policy.key(proven.fingerprint)
    fault = None
    if mapped is None:
        fault = "the policy does not map this key"
    elif mapped.role != proven.login:
        fault = f"login name {proven.login!r} is not the key's role"
    return _identity(f"key:{proven.fingerprint}", proven.login, fault, policy, "ssh", proven.peer, None)


def _loopback(proven: LoopbackCredentials, policy: Policy, lookup: UserLookup) -> Identity:
    if isinstance(policy, OwnerPolicy):
        mine = proven.uid is not None and proven.uid == policy.owner_uid
        fault = None if mine else "without a policy only the user who started the server has rights"
        return _identity(f"unix:{proven.uid}", OWNER_ROLE, fault, policy, "loopback", proven.peer, None)
    user = None if proven.uid is None else lookup(proven.uid)
    if user is None:
        what = "the peer's user is not known" if proven.uid is None else f"uid {proven.uid} is no lasting user"
        return _identity("unix:?", None, what, policy, "loopback", proven.peer, None)
    roles = sorted(policy.user_roles(user.name, user.groups))
    fault = None
    if not roles:
        fault = "the policy gives this user no role"
    elif len(roles) > 1:
        fault = f"its groups have different roles: {', '.join(roles)}"
    return _identity(f"unix:{user.name}", roles[0] if roles else None, fault, policy, "loopback", proven.peer, None)


def _identity(  # noqa: PLR0913
    name: str, role: str | None, fault: str | None, policy: Policy, door: str, peer: str, expires: float | None
) -> Identity:
    if fault is not None or role is None:
        return Identity(name, INVALID_ROLE, NO_RIGHTS, door, peer, fault, expires)
    return Identity(name, role, policy.rights(role), door, peer, None, expires)
