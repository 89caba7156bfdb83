"""Renew: what is due gets a new key and a new certificate, with what the one before says; what is revoked never."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from fieldgate_certs import authority, issued, revoking, trusting
from fieldgate_certs.issued import Issued
from fieldgate_certs.store import Holder, Store
from fieldgate_certs.validity import renewal_due
from fieldgate_core.errors import PkiError
from fieldgate_core.revocation import Revoked


class State(Enum):
    """How a certificate stands with renewal."""

    FRESH = "not due"
    DUE = "due"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Standing(NamedTuple):
    """An identity's generation in force, and how it stands; `due` is when it is to be renewed."""

    holder: Holder
    issued: Issued
    state: State
    due: datetime


class Renewed(NamedTuple):
    """What came of a renewal: a new generation; None where the key is on the box, and a request has to be carried."""

    generation: Path | None
    not_after: datetime


def standing(store: Store, holder: Holder, names: Revoked, now: datetime) -> Standing:
    """Tell how an identity stands. Raises PkiError if nothing was issued to it."""
    found = issued.read(store.current(holder))
    due = renewal_due(f"{holder.kind}/{holder.name}", found.life)
    if found.is_revoked(names):
        state = State.REVOKED
    elif found.life.not_after <= now:
        state = State.EXPIRED
    else:
        state = State.DUE if due <= now else State.FRESH
    return Standing(holder, found, state, due)


def renew(store: Store, one: Standing, now: datetime, *, expired: str | None = None, ca: str | None = None) -> Renewed:
    """Issue anew what an identity has: same names, role and life; new keys; by the same CA, or by `ca`.

    `expired` is the stated reason why one that has ended already may be renewed. Raises PkiError for one that is
    revoked, or has ended and no reason is given.
    """
    holder, found = one.holder, one.issued
    if one.state is State.REVOKED:
        hint = "what is revoked is never renewed; to let this holder in again, issue anew: fieldgate certs issue --help"
        raise PkiError(f"{holder.kind} {holder.name}", "its certificate is revoked", hint=hint)
    if one.state is State.EXPIRED and not expired:
        problem = f"its certificate ended on {found.life.not_after:%Y-%m-%d %H:%M} UTC"
        hint = "find out who holds the key by now; then renew with --expired REASON, which the journal keeps"
        raise PkiError(f"{holder.kind} {holder.name}", problem, hint=hint)
    if not found.key_is_here:
        return Renewed(None, found.life.not_after)
    by = ca or ca_of(store, found)
    identity = trusting.load(store, by).issue(found.subject(holder.kind, holder.name), found.days, now, found.key)
    generation = store.add(holder, identity.files)
    reason = expired if one.state is State.EXPIRED else None
    store.record(
        now, "renew", holder=f"{holder.kind}/{holder.name}", names=issued.read(generation).names, expired=reason
    )
    return Renewed(generation, identity.not_after)


def ca_of(store: Store, found: Issued) -> str | None:
    """Name the issuing CA of a certificate. Raises PkiError if it is none of this PKI."""
    for name in store.ca_names():
        if authority.issuing_certificate(store.read, name) == found.issuing:
            return name
    issuer = found.leaf.issuer.rfc4514_string()
    hint = "name the CA that is to issue it from now on: --to NAME"
    raise PkiError(str(found.folder), f"its issuing CA, {issuer}, is not in this PKI any more", hint=hint)


def refuse_revoked_key(store: Store, tls_key: object, ssh_key: object) -> None:
    """Raise PkiError if one of two public keys has a certificate that is revoked: its holder is not the only one."""
    names = revoking.revoked(store)
    for holder in store.holders():
        for found in map(issued.read, store.generations(holder)):
            same = found.leaf.public_key() == tls_key or (found.ssh is not None and found.ssh.public_key() == ssh_key)
            if same and found.is_revoked(names):
                hint = "make a new key: fieldgate certs request NAME --dir DIR"
                raise PkiError(f"{holder.kind} {holder.name}", "a certificate of this key is revoked", hint=hint)
