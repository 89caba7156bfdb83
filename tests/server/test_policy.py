"""Policy files: what they mean, and what is refused with file and key path."""

from __future__ import annotations

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.modbus import Table
from fieldgate_server.policy import OWNER_ROLE, OwnerPolicy, Policy, parse
from fieldgate_server.rights import NO_RIGHTS


def policy(role: str = "", identity: dict[str, object] | None = None) -> Policy:
    import tomllib

    return parse(tomllib.loads(f"[role.r]\n{role}") | ({"identity": identity} if identity else {}), where="p.toml")


@pytest.mark.requirement("R-24")
def test_a_grant_gives_what_it_says_and_no_more() -> None:
    rights = policy('grants=[{units="3", write="holding 100-119", values="0..500"}, {units="3", read="all"}]').rights(
        "r"
    )
    assert set(rights.units) == {3}
    unit = rights.units[3]
    write = unit.write[Table.HOLDING]
    assert write.allows_values(100, 20, [500] * 20)
    assert not write.allows_values(100, 20, [501] * 20)
    assert not write.allows_values(100, 21, [0] * 21)
    assert not write.allows_values(99, 1, [0])
    assert set(unit.functions) == {1, 2, 3, 4, 6, 16, 20, 22, 23, 24}


@pytest.mark.parametrize(
    ("grant", "functions"),
    [
        ('read="coils 0-7"', {1}),
        ('read="discrete 0"', {2}),
        ('read="holding 0"', {3, 24}),
        ('read="input all"', {4}),
        ('write="coils 0"', {5, 15}),
        ('write="holding 0"', {6, 16}),
        ('write="holding 0", read="holding 0"', {3, 6, 16, 22, 23, 24}),
        ('write="discrete 0, input 0"', set()),
        ('read="all", write="all"', {1, 2, 3, 4, 5, 6, 15, 16, 20, 21, 22, 23, 24}),
        ('read="file 4 0-9"', {20}),
        ('write="file all"', {21}),
        ('function="identify"', {17}),
        ('function="diagnose"', {7, 11, 12}),
    ],
)
def test_each_right_brings_its_functions(grant: str, functions: set[int]) -> None:
    assert set(policy(f'grants=[{{units="1", {grant}}}]').rights("r").units[1].functions) == functions


def test_units_are_one_a_range_a_list_or_all() -> None:
    def units(text: str) -> set[int]:
        return set(policy(f'grants=[{{units="{text}", read="all"}}]').rights("r").units)

    assert units("3") == {3}
    assert units("1-3, 7") == {1, 2, 3, 7}
    assert units("all") == set(range(1, 255))


@pytest.mark.requirement("R-28")
def test_an_unknown_role_has_no_rights() -> None:
    given = policy('grants=[{units="all", read="all"}]')
    assert given.rights("other") is NO_RIGHTS
    assert given.rights("INVALID") is NO_RIGHTS
    assert given.rights("NULL") is NO_RIGHTS


def test_null_can_be_granted_but_no_issuer_gives_it() -> None:
    null = parse({"role": {"NULL": {"grants": [{"units": "1", "read": "all"}]}}}, where="p")
    assert set(null.rights("NULL").units) == {1}
    with pytest.raises(ConfigError, match="no issuer gives it"):
        parse({"role": {"NULL": {"issuers": ["x509:CN=a"]}}}, where="p")


def test_only_a_named_issuer_may_give_a_role() -> None:
    given = policy('issuers=["x509:CN=plant", "ssh-ca:SHA256:abcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]')
    assert given.may_give("x509:CN=plant", "r")
    assert given.may_give("ssh-ca:SHA256:abcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "r")
    assert not given.may_give("x509:CN=plant2", "r")
    assert not given.may_give("x509:CN=plant", "other")


def test_a_users_own_rule_beats_those_of_its_groups() -> None:
    given = parse(
        {
            "role": {"a": {}, "b": {}},
            "identity": {"unix:ann": "a", "group:plant": "b", "group:night": "a"},
        },
        where="p",
    )
    assert given.user_roles("ann", frozenset({"plant"})) == {"a"}
    assert given.user_roles("bob", frozenset({"plant"})) == {"b"}
    assert given.user_roles("eve", frozenset({"plant", "night"})) == {"a", "b"}
    assert given.user_roles("zoe", frozenset({"wheel"})) == frozenset()


def test_the_quick_start_is_for_the_owner_alone() -> None:
    assert set(OwnerPolicy(1000).rights(OWNER_ROLE).units) == set(range(1, 255))
    assert OwnerPolicy(1000).rights("operator") is NO_RIGHTS
    assert OwnerPolicy(None).rights(OWNER_ROLE) is NO_RIGHTS


@pytest.mark.parametrize(
    ("role", "where", "problem"),
    [
        ('grants=[{units="0", read="all"}]', "role.r.grants[0].units", "is no unit"),
        ('grants=[{units="255", read="all"}]', "role.r.grants[0].units", "is no unit"),
        ('grants=[{units="4-1", read="all"}]', "role.r.grants[0].units", "is no unit"),
        ('grants=[{units="x", read="all"}]', "role.r.grants[0].units", "is no unit"),
        ('grants=[{read="all"}]', "role.r.grants[0].units", "is missing"),
        ('grants=[{units="1"}]', "role.r.grants[0]", "grants nothing"),
        ('grants=[{units="1", read="holding"}]', "role.r.grants[0].read", "names no cells"),
        ('grants=[{units="1", read="holding 5-2"}]', "role.r.grants[0].read", "is no range"),
        ('grants=[{units="1", read="holding 0-65536"}]', "role.r.grants[0].read", "is no range"),
        ('grants=[{units="1", read="registers 5"}]', "role.r.grants[0].read", "names no cells"),
        ('grants=[{units="1", read="holding 1, "}]', "role.r.grants[0].read", "names no cells"),
        ('grants=[{units="1", write="coils 1", values="0..1"}]', "role.r.grants[0].values", "holding registers"),
        ('grants=[{units="1", read="all", values="0..1"}]', "role.r.grants[0].values", "holding registers"),
        ('grants=[{units="1", write="all", values="0..1"}]', "role.r.grants[0].values", "holding registers"),
        ('grants=[{units="1", write="holding 1", values="5..1"}]', "role.r.grants[0].values", "is no limit"),
        ('grants=[{units="1", write="holding 1", values="0..65536"}]', "role.r.grants[0].values", "is no limit"),
        ('grants=[{units="1", function="0x5A"}]', "role.r.grants[0].function", "is no function"),
        ('grants=[{units="1", function="6"}]', "role.r.grants[0].function", "granted by its cells"),
        ('grants=[{units="1", function="8"}]', "role.r.grants[0].function", "is no function"),
        ('grants=[{function="identify"}]', "role.r.grants[0].units", "is missing"),
        ('grants=[{manage=["everything"]}]', "role.r.grants[0].manage", "nothing to manage"),
        ('grants=[{units="1", read="file 0"}]', "role.r.grants[0].read", "names no cells"),
        ('grants=[{units="1", read="file 1 9999-10000"}]', "role.r.grants[0].read", "no range"),
        ('issuers=["CN=plant"]', "role.r.issuers[0]", "names no issuer"),
        ('deny=["all"]', "role.r.deny", "unknown key"),
    ],
)
def test_a_wrong_grant_is_refused_with_its_place(role: str, where: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(role)
    assert caught.value.where == f"p.toml: {where}"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("unix:ann", "other", "not declared"),
        ("unix:ann", "NULL", "not declared"),
        ("user:ann", "r", "none of the three forms"),
        ("unix:", "r", "none of the three forms"),
        ("key:SHA256:abcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "r", "none of the three forms"),
        ("key:MD5:abc", {"name": "a", "role": "r"}, "none of the three forms"),
    ],
)
def test_a_wrong_identity_is_refused(name: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy("", {name: value})
    assert caught.value.where == f"p.toml: identity.{name}"
    assert problem in caught.value.problem


@pytest.mark.parametrize("name", ["INVALID", "x" * 129, ""])
def test_a_role_that_no_certificate_could_carry_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="role"):
        parse({"role": {name: {}}}, where="p")
