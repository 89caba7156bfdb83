"""Who may offer which box at a hub, and who may reach it: what is not named is refused; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fieldgate_core.credentials import SshCertificateCredentials
from fieldgate_core.url import check_box
from fieldgate_tunnel.ssh_keys import SshProof

_KEY = re.compile(r"key:SHA256:[A-Za-z0-9+/]{43}")
_KEY_PREFIX = "key:"


@dataclass(frozen=True)
class BoxSettings:
    """One [[box]]: a principal of a certificate (the login name), or `key:SHA256:...`, in each of the two lists."""

    name: str
    offered_by: tuple[str, ...]
    reached_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_box(self.name)
        if not self.offered_by:
            raise ValueError("offered_by names nobody, so the box could never be reached")
        for one in (*self.offered_by, *self.reached_by):
            if not one or (one.startswith(_KEY_PREFIX) and not _KEY.fullmatch(one)):
                raise ValueError(f"{one!r} is no principal, and no key:SHA256:... as `ssh-keygen -l` prints it")


class HubPolicy:
    """The boxes, by their names."""

    def __init__(self, boxes: Iterable[BoxSettings]) -> None:
        self.boxes = {box.name: box for box in boxes}
        self._known = {one for box in self.boxes.values() for one in (*box.offered_by, *box.reached_by)}

    def knows(self, subject: str) -> bool:
        """Tell whether anything is permitted to somebody."""
        return subject in self._known

    def may_offer(self, subject: str, box: str) -> bool:
        """Tell whether somebody may offer a box."""
        found = self.boxes.get(box)
        return found is not None and subject in found.offered_by

    def may_reach(self, subject: str, box: str) -> bool:
        """Tell whether somebody may reach a box."""
        found = self.boxes.get(box)
        return found is not None and subject in found.reached_by


def subject_of(proof: SshProof) -> str:
    """Give whom a policy names: the principal that has logged in, or the key. "" is nobody."""
    if isinstance(proof, SshCertificateCredentials):
        return "" if proof.login.startswith(_KEY_PREFIX) else proof.login
    return f"{_KEY_PREFIX}{proof.fingerprint}"


def names_of(proof: SshProof) -> tuple[str, ...]:
    """Give the typed names that a list of revoked identities may hold: its own first (guard.md), then keys."""
    key = f"{_KEY_PREFIX}{proof.fingerprint}"
    if isinstance(proof, SshCertificateCredentials):
        return f"ssh:{proof.ca}/{proof.serial}/{proof.key_id}", key, f"{_KEY_PREFIX}{proof.ca}"
    return (key,)
