"""The rules of a hub: names of boxes, who may what, how many connections a second; and of what a box dials."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldgate_core.credentials import SshCertificateCredentials, SshKeyCredentials
from fieldgate_core.errors import ConfigError
from fieldgate_tunnel.accept_rate import AcceptRate
from fieldgate_tunnel.dial_settings import DialSettings
from fieldgate_tunnel.dialled import Door
from fieldgate_tunnel.hub_names import box_at, box_behind, socket_of
from fieldgate_tunnel.hub_policy import BoxSettings, HubPolicy, names_of, subject_of

KEY = "key:SHA256:" + 43 * "A"


def test_a_box_has_one_path_and_one_port() -> None:
    assert box_at(socket_of("box-7")) == "box-7"
    assert box_behind("box-7", 802) == "box-7"


@pytest.mark.parametrize(
    "path", ["/box-7", "/box-7/mbaps/", "box-7/mbaps", "//mbaps", "/../mbaps", "/a/b/mbaps", "/Box/mbaps", "/x/mbaps\0"]
)
def test_no_other_path_means_a_box(path: str) -> None:
    assert box_at(path) is None


@pytest.mark.parametrize(("host", "port"), [("box-7", 22), ("", 802), ("localhost.", 802), ("127.0.0.1", 802)])
def test_no_other_port_means_a_box(host: str, port: int) -> None:
    assert box_behind(host, port) is None


def test_a_policy_permits_what_it_names_and_nothing_else() -> None:
    policy = HubPolicy([BoxSettings("box-7", ("box-7", KEY), ("ops",)), BoxSettings("box-8", ("box-8",))])
    assert policy.may_offer("box-7", "box-7")
    assert policy.may_offer(KEY, "box-7")
    assert policy.may_reach("ops", "box-7")
    assert not policy.may_reach("box-7", "box-7")
    assert not policy.may_offer("ops", "box-7")
    assert not policy.may_offer("box-7", "box-8")
    assert not policy.may_reach("ops", "box-8")
    assert not policy.may_offer("box-7", "box-9")
    assert policy.knows("ops")
    assert not policy.knows("")


def test_a_certificate_whose_principal_looks_like_a_key_is_nobody() -> None:
    proof = SshCertificateCredentials("peer", KEY, "SHA256:ca", 7, "id", (KEY,), "SHA256:own", None)
    assert subject_of(proof) == ""
    assert names_of(proof) == ("ssh:SHA256:ca/7/id", "key:SHA256:own", "key:SHA256:ca")
    key = SshKeyCredentials("peer", "anybody", KEY.removeprefix("key:"))
    assert subject_of(key) == KEY


@pytest.mark.parametrize(
    ("name", "offered_by"), [("Box", ("x",)), ("box", ()), ("box", ("",)), ("box", ("key:MD5:aa",))]
)
def test_a_box_that_makes_no_sense_is_refused(name: str, offered_by: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"no name|names nobody|no principal"):
        BoxSettings(name, offered_by)


def test_connections_are_taken_at_a_rate() -> None:
    now = [0.0]
    rate = AcceptRate(10, clock=lambda: now[0])
    assert [rate.take() for _ in range(11)] == [*(10 * [True]), False]
    now[0] += 0.25
    assert [rate.take() for _ in range(3)] == [True, True, False]
    now[0] += 100
    assert sum(rate.take() for _ in range(30)) == 10
    assert rate.turned_away == 22


@pytest.mark.parametrize("text", ["127.0.0.1:502", "192.0.2.1:5020", "[::1]:502"])
def test_a_port_of_plain_modbus_is_no_tls_door(text: str) -> None:
    with pytest.raises(ConfigError, match="plain Modbus"):
        Door.read(text)


@pytest.mark.parametrize("text", ["", "802", "host:", "host:0", "host:x", ":802"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        Door.read(text)


def test_an_address_is_read() -> None:
    assert str(Door.read("127.0.0.1:802")) == "127.0.0.1:802"
    assert Door.read("[2001:db8::1]:1802") == Door("2001:db8::1", 1802)


@pytest.mark.parametrize(("url", "keepalive"), [("modbus+ssh://hub", "normal"), ("modbus+tls+ssh://hub/b", "often")])
def test_what_dials_no_hub_is_refused(url: str, keepalive: str) -> None:
    with pytest.raises(ValueError, match=r"names no hub|is none of"):
        DialSettings(url, Path("x"), keepalive)
