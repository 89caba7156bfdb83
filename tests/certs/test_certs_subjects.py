"""Names, hosts and roles: what may stand in a certificate, and what is refused before a key is made."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldgate_certs.subjects import Client, Server, check_name, check_pki_name, check_role, dns_host, ip_host
from fieldgate_core.errors import PkiError


@pytest.mark.parametrize("name", ["a", "box-17", "ana.silva", "_x", "7", "a" * 64, "current"])
def test_a_safe_name_passes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "a\0", "é", "a" * 65, "٣"])
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(PkiError, match="a name is 1 to 64 letters"):
        check_name(name)


@given(st.text(max_size=70))
def test_what_passes_as_a_name_is_one_plain_path_component(name: str) -> None:
    try:
        check_name(name)
    except PkiError:
        return
    assert name.isascii()
    assert not set(name) & set("/\\\0 \n")
    assert name[0] not in ".-"
    assert len(name) <= 64


def test_the_names_of_a_pki_leave_room_for_what_is_appended() -> None:
    assert check_pki_name("a" * 54)
    with pytest.raises(PkiError, match="1 to 54"):
        check_pki_name("a" * 55)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", "localhost"),
        ("Box-1.Example.COM", "box-1.example.com"),
        ("1a.example", "1a.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_a_dns_name_passes_in_lower_case(text: str, host: str) -> None:
    assert dns_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a,b", "a\n", "10.0.0"),
        *("*.example.com", "bücher.example", "a" * 64, ".".join(["a" * 63] * 4)),
    ],
)
def test_what_is_no_dns_name_is_refused(text: str) -> None:
    with pytest.raises(PkiError, match="not the DNS name of a host"):
        dns_host(text)


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1"])
def test_an_address_given_as_dns_name_is_refused_with_the_right_option(text: str) -> None:
    with pytest.raises(PkiError, match="an address, not a DNS name") as caught:
        dns_host(text)
    assert caught.value.hint == f"say --ip {text}"


@given(st.ip_addresses())
def test_every_address_passes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert ip_host(str(address)) == address


@pytest.mark.parametrize("text", ["", "box-1", "192.0.2.256", "192.0.2.0/24", "fe80::1%eth0", "192.0.2.1:802", "[::1]"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PkiError, match="not an IP address"):
        ip_host(text)


def test_a_server_has_each_host_once() -> None:
    server = Server.parse("box-1", ["LOCALHOST", "localhost"], ["::1", "0::1"])
    assert server.hosts == ("localhost", ipaddress.IPv6Address("::1"))


@pytest.mark.parametrize("count", [0, 257])
def test_a_server_without_hosts_or_with_too_many_is_refused(count: int) -> None:
    with pytest.raises(PkiError, match=f"1 to 256 hosts, this one has {count}"):
        Server.parse("box-1", [f"host-{number}" for number in range(count)], [])


@pytest.mark.parametrize("role", ["operator", "shift-lead", "view.er_2", "a@b", "opérateur", "r" * 128])
def test_a_role_that_both_doors_can_carry_passes(role: str) -> None:
    assert Client("ana", role).role == role


@pytest.mark.parametrize(
    "role",
    [
        *("a,b", "a b", "a\tb", "a\n", "a\u00a0b", "a\u2028b", "a\x00b", "a\x7f", "a\u202eb"),
        *("-a", "a;b", "a`b", 'a"b', "a\\b"),
    ],
)
def test_a_role_that_ssh_cannot_carry_is_refused(role: str) -> None:
    with pytest.raises(PkiError, match="an SSH login name cannot hold"):
        Client("ana", role)


@pytest.mark.parametrize(
    ("role", "problem"),
    [
        ("", "1 to 128 bytes, this one has 0"),
        ("r" * 129, "this one has 129"),
        ("é" * 65, "this one has 130"),
        ("NULL", "a reserved word"),
        ("INVALID", "a reserved word"),
        ("a\udc80", "not UTF-8"),
    ],
)
def test_a_role_that_x509_cannot_carry_is_refused(role: str, problem: str) -> None:
    with pytest.raises(PkiError, match=problem):
        Client("ana", role)


def test_one_error_tells_what_is_wrong_at_both_doors() -> None:
    with pytest.raises(PkiError) as caught:
        check_role("a, " * 50)
    problem = "an SSH login name cannot hold ' ' ','; a role has 1 to 128 bytes, this one has 150"
    assert caught.value.problem == problem
