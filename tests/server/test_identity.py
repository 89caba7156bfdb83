"""Who is asking: each kind of credentials, one that passes and those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fieldgate_core.credentials import (
    LoopbackCredentials,
    RoleClaim,
    SshCertificateCredentials,
    SshKeyCredentials,
    TlsCredentials,
)
from fieldgate_server.identity import UnixUser, conclude, known_to_ssh
from fieldgate_server.policy import OwnerPolicy, parse
from fieldgate_server.rights import NO_RIGHTS

POLICY = parse(
    {
        "role": {
            "operator": {
                "issuers": ["x509:CN=plant", "ssh-ca:SHA256:caxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
                "grants": [{"units": "1", "read": "all", "write": "all"}],
            },
            "viewer": {"issuers": ["x509:CN=other"], "grants": [{"units": "1", "read": "all"}]},
            "NULL": {"grants": [{"units": "2", "read": "all"}]},
        },
        "identity": {
            "unix:ann": "operator",
            "group:plant": "viewer",
            "group:night": "operator",
            "key:SHA256:kxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": {"name": "hist-1", "role": "viewer"},
        },
    },
    where="p",
)
TLS = TlsCredentials("1.2.3.4:5", "CN=plant", 0xAB, "op-1", RoleClaim("operator"), 99.0)
CERTIFICATE = SshCertificateCredentials(
    "p",
    "operator",
    "SHA256:caxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    7,
    "op-1",
    ("operator", "viewer"),
    "SHA256:fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    9.0,
)
USERS = {
    1: UnixUser("ann", frozenset({"plant"})),
    2: UnixUser("bob", frozenset({"plant"})),
    3: UnixUser("eve", frozenset({"plant", "night"})),
    4: UnixUser("zoe", frozenset()),
}


def test_a_tls_role_of_its_issuer_is_the_role() -> None:
    identity = conclude(TLS, POLICY, USERS.get)
    assert (identity.name, identity.role, identity.door) == ("tls:CN=plant/AB/op-1", "operator", "tls")
    assert set(identity.rights.units) == {1}
    assert identity.expires == 99.0


@pytest.mark.parametrize(
    "proven",
    [
        replace(TLS, claim=RoleClaim(fault="2 role extensions")),
        replace(TLS, claim=RoleClaim("viewer")),
        replace(TLS, claim=RoleClaim("unheard-of")),
        replace(TLS, issuer="CN=other"),
    ],
)
def test_a_role_that_is_malformed_or_not_its_issuers_is_invalid(proven: TlsCredentials) -> None:
    identity = conclude(proven, POLICY, USERS.get)
    assert identity.role == "INVALID"
    assert identity.rights is NO_RIGHTS
    assert identity.fault


def test_a_certificate_without_role_is_null_r23() -> None:
    identity = conclude(replace(TLS, claim=RoleClaim()), POLICY, USERS.get)
    assert identity.role == "NULL"
    assert set(identity.rights.units) == {2}


def test_an_ssh_certificate_gives_its_principal_as_role() -> None:
    identity = conclude(CERTIFICATE, POLICY, USERS.get)
    assert (identity.name, identity.role) == (
        "ssh:SHA256:caxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/7/op-1",
        "operator",
    )
    assert known_to_ssh(CERTIFICATE, POLICY)


@pytest.mark.parametrize(
    "proven",
    [
        replace(CERTIFICATE, ca="SHA256:foreignxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        replace(CERTIFICATE, login="viewer"),
        replace(CERTIFICATE, login="root"),
        replace(CERTIFICATE, principals=()),
        SshKeyCredentials("p", "viewer", "SHA256:unknownxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        SshKeyCredentials("p", "operator", "SHA256:kxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ],
)
def test_what_the_policy_does_not_know_fails_at_the_ssh_door(
    proven: SshCertificateCredentials | SshKeyCredentials,
) -> None:
    assert not known_to_ssh(proven, POLICY)
    assert conclude(proven, POLICY, USERS.get).role == "INVALID"


def test_a_mapped_key_has_its_role() -> None:
    key = SshKeyCredentials("p", "viewer", "SHA256:kxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
    assert known_to_ssh(key, POLICY)
    assert conclude(key, POLICY, USERS.get).name == "key:SHA256:kxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"


@pytest.mark.parametrize(
    ("uid", "name", "role"),
    [
        (1, "unix:ann", "operator"),
        (2, "unix:bob", "viewer"),
        (3, "unix:eve", "INVALID"),
        (4, "unix:zoe", "INVALID"),
        (5, "unix:?", "INVALID"),
        (None, "unix:?", "INVALID"),
    ],
)
def test_a_local_user_has_its_own_role_or_its_groups_only_one(uid: int | None, name: str, role: str) -> None:
    identity = conclude(LoopbackCredentials("p", uid), POLICY, USERS.get)
    assert (identity.name, identity.role) == (name, role)
    assert (identity.rights is NO_RIGHTS) == (role == "INVALID")


@pytest.mark.parametrize(
    ("owner", "uid", "has_rights"),
    [(1000, 1000, True), (1000, 1001, False), (1000, None, False), (None, 0, False), (0, 0, True)],
)
def test_the_quick_start_knows_its_owner_by_number(owner: int | None, uid: int | None, has_rights: bool) -> None:
    identity = conclude(LoopbackCredentials("p", uid), OwnerPolicy(owner), USERS.get)
    assert bool(identity.rights.units) == has_rights


def test_the_quick_start_gives_nobody_anything_at_the_doors() -> None:
    assert conclude(TLS, OwnerPolicy(0), USERS.get).rights is NO_RIGHTS
    assert not known_to_ssh(CERTIFICATE, OwnerPolicy(0))
    named_owner = replace(TLS, claim=RoleClaim("owner"))
    assert conclude(named_owner, OwnerPolicy(0), USERS.get).rights is NO_RIGHTS
