"""Site URLs: what is accepted, and what plain Modbus beyond loopback is answered."""

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.url import Scheme, SiteUrl, check_domain, is_loopback, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modbus://127.0.0.1", SiteUrl(Scheme.PLAIN, "127.0.0.1", 5020, None)),
        ("modbus://localhost:502", SiteUrl(Scheme.PLAIN, "127.0.0.1", 502, None)),
        ("modbus://[::1]:5021", SiteUrl(Scheme.PLAIN, "::1", 5021, None)),
        ("modbus+tls://box.example.com", SiteUrl(Scheme.TLS, "box.example.com", 802, None)),
        ("mbaps://box.example.com:1802", SiteUrl(Scheme.TLS, "box.example.com", 1802, None)),
        ("modbus+ssh://operator@box", SiteUrl(Scheme.SSH, "box", None, "operator")),
        ("modbus+ssh://box:2222/", SiteUrl(Scheme.SSH, "box", 2222, None)),
        ("modbus+tls+ssh://hub/box-7", SiteUrl(Scheme.HUB, "hub", None, None, "box-7")),
        ("modbus+tls+ssh://ops@[2001:db8::1]:2222/b", SiteUrl(Scheme.HUB, "2001:db8::1", 2222, "ops", "b")),
        ("MODBUS+TLS://[2001:db8::1]", SiteUrl(Scheme.TLS, "2001:db8::1", 802, None)),
    ],
)
def test_a_url_is_read(text: str, expected: SiteUrl) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("box.example.com", "bare host"),
        ("10.0.0.5:502", "bare host"),
        ("modbus://10.0.0.5", "loopback only"),
        ("modbus://box.example.com:5020", "loopback only"),
        ("modbus://localhost.example.com", "loopback only"),
        ("http://box", "unknown scheme"),
        ("modbus+tls://", "names no host"),
        ("modbus+tls://box:99999", "not a URL"),
        ("modbus+tls://box:0", "port 0"),
        ("modbus+tls://box/unit/3", "nothing may follow"),
        ("modbus+tls://box?unit=3", "nothing may follow"),
        ("modbus+tls://operator@box", "only modbus+ssh"),
        ("modbus+ssh://operator:secret@box", "no password"),
        ("modbus+tls+ssh://operator:secret@hub/box", "no password"),
        ("modbus+tls+ssh://hub", "no name of a box"),
        ("modbus+tls+ssh://hub/", "no name of a box"),
        ("modbus+tls+ssh://hub/Box", "no name of a box"),
        ("modbus+tls+ssh://hub/-box", "no name of a box"),
        ("modbus+tls+ssh://hub/box.acme", "no name of a box"),
        ("modbus+tls+ssh://hub/a/b", "no name of a box"),
        ("modbus+tls+ssh://hub/..", "no name of a box"),
        ("modbus+tls+ssh://hub/%2e", "no name of a box"),
        ("modbus+tls+ssh://hub/" + 64 * "a", "no name of a box"),
        ("modbus+tls+ssh://hub/box?x", "nothing may follow"),
    ],
)
def test_a_url_that_means_nothing_safe_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_plain_modbus_beyond_loopback_is_told_the_two_doors() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("modbus://10.0.0.5")
    assert "modbus+ssh://ROLE@10.0.0.5" in caught.value.hint
    assert "modbus+tls://10.0.0.5" in caught.value.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.com", "LOCALHOST.", "", "::ffff:10.0.0.1"]
)
def test_everything_else_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_the_name_to_be_verified_is_the_boxs_in_its_domain_and_never_the_hubs() -> None:
    hub = parse("modbus+tls+ssh://hub/box-7")
    assert hub._replace(domain="acme.example").server_name == "box-7.acme.example"
    with pytest.raises(ConfigError, match=r"box-7\.DOMAIN"):
        _ = hub.server_name
    assert parse("modbus+tls://box").server_name == "box"


@pytest.mark.parametrize("domain", ["acme", "plant.acme.example"])
def test_a_domain_is_a_host_name(domain: str) -> None:
    check_domain(domain)


@pytest.mark.parametrize("domain", ["", ".", "acme.", "Acme", "*.acme", "a..b", "-a", 200 * "a"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="is no domain"):
        check_domain(domain)
