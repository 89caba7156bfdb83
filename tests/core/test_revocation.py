"""The list of revoked identities: what it names is revoked, and nothing beside it; what names nothing is refused."""

from __future__ import annotations

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_core.revocation import parse

CA = "SHA256:" + "a/B+" * 10 + "abc"
OTHER_CA = "SHA256:" + "b/B+" * 10 + "abc"


@pytest.mark.parametrize(
    ("entry", "revoked", "not_revoked"),
    [
        ("unix:scada", "unix:scada", "unix:scada2"),
        (f"key:{CA}", f"key:{CA}", f"key:{OTHER_CA}"),
        ("tls:CN=i/1F/joe", "tls:CN=i/1F/joe", "tls:CN=i/2F/joe"),
        ("tls:CN=i/1F", "tls:CN=i/1F/joe", "tls:CN=i/1F0/joe"),
        ("tls:CN=i/1F", "tls:CN=i/1F/", "tls:CN=ii/1F/joe"),
        ("tls:CN=i/1F", "tls:CN=i/1F/a/b", "tls:CN=i/F/1F"),
        ("tls:CN=i/001f", "tls:CN=i/1F/joe", "tls:CN=i/1/joe"),
        ("tls:CN=i/001f/cafe", "tls:CN=i/1F/cafe", "tls:CN=i/1F/CAFE"),
        ("tls:CN=a/b/1F", "tls:CN=a/b/1F/joe", "tls:CN=a/b/2F/joe"),
        (f"ssh:{CA}/7/joe", f"ssh:{CA}/7/joe", f"ssh:{CA}/7/jane"),
        (f"ssh:{CA}/7", f"ssh:{CA}/7/joe", f"ssh:{CA}/71/joe"),
        (f"ssh:{CA}/7", f"ssh:{CA}/7/joe", f"ssh:{OTHER_CA}/7/joe"),
        (f"ssh:{CA}/0017/joe", f"ssh:{CA}/17/joe", f"ssh:{CA}/17/jane"),
        (f"ssh:{CA}/0017/01/joe", f"ssh:{CA}/17/01/joe", f"ssh:{CA}/17/1/joe"),
        (f"ssh:{CA}/0017", f"ssh:{CA}/17/joe", f"ssh:{CA}/1/joe"),
        (f"ssh:{CA}/0/joe", f"ssh:{CA}/0/joe", f"ssh:{CA}/0/jane"),
        (f"ssh:{CA}/00/joe", f"ssh:{CA}/0/joe", f"ssh:{CA}/0/jane"),
        ("tls:CN=a/001/001f/joe", "tls:CN=a/001/1F/joe", "tls:CN=a/001/1/joe"),
        ('"tls:CN=i/1F/joe #2"', "tls:CN=i/1F/joe #2", "tls:CN=i/1F/joe"),
        ("tls:CN=i/1F/joe#2", "tls:CN=i/1F/joe#2", "tls:CN=i/1F/joe"),
        ("unix:PLANT\\joe", "unix:PLANT\\joe", "unix:joe"),
        ('"tls:CN=i/1F/two words"', "tls:CN=i/1F/two words", "tls:CN=i/1F/two"),
        ('"tls:CN=i/1F/a\\"b"', 'tls:CN=i/1F/a"b', "tls:CN=i/1F/ab"),
        ("tls:CN=i/1F/two\\nlines", "tls:CN=i/1F/two\nlines", "tls:CN=i/1F/two lines"),
        ("tls:CN=i/1F/j\u00f6", "tls:CN=i/1F/j\u00f6", "tls:CN=i/1F/jo"),
        ("tls:CN=i/1F/j\\xf6", "tls:CN=i/1F/j\u00f6", "tls:CN=i/1F/jo"),
    ],
)
def test_an_entry_names_one_identity_and_no_other(entry: str, revoked: str, not_revoked: str) -> None:
    found = parse(f"# those who left\n\n  {entry}  \nunix:nobody-else\n", where="list")
    assert revoked in found
    assert not_revoked not in found


def test_an_empty_list_revokes_nobody() -> None:
    assert "unix:root" not in parse("# nobody\n", where="list")


@pytest.mark.parametrize(
    "entry",
    [
        "scada",
        "unix:",
        "tls:CN=i",
        "tls:CN=i/",
        "tls:CN=i/1F/*",
        "tls:CN=i/*",
        "ssh:somebody/7/joe",
        f"ssh:{CA}",
        f"ssh:{CA}/0",
        f"ssh:{CA}/00",
        "key:SHA256:short",
        "role:operator",
        "unix:contractor  # left",
        "unix:contractor # left",
        "unix:contractor#left",
        "unix:two words",
        '"unix:two words"',
        "unix:a:b",
        "unix:a/b",
        f"ssh:{CA}/17/joe  # left",
        "tls:CN=i/1F/joe\t# left",
        f"key:{CA}  # left",
    ],
)
def test_a_line_that_names_nobody_is_refused_by_its_number(entry: str) -> None:
    with pytest.raises(ConfigError, match="list: line 2: ") as caught:
        parse(f"unix:scada\n{entry}\n", where="list")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("entry", "what", "hint"),
    [
        ("unix:contractor  # left", "a comment stands behind a name", "a line of its own"),
        ("unix:two words", "a user's name holds no blank", "comments stand on lines of their own"),
    ],
)
def test_an_error_says_what_is_wrong_and_where_comments_stand(entry: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"list: line 1: .*{what}") as caught:
        parse(entry, where="list")
    assert hint in (caught.value.hint or "")


def test_what_a_crl_and_a_krl_have_to_list() -> None:
    ca, other = ("SHA256:" + letter * 43 for letter in "ab")
    found = parse(
        "tls:CN=plant/00AB/ana\ntls:CN=plant/cd\ntls:CN=plant-2/EF/bob\ntls:O=a/b,CN=plant/12/carl\n"
        f"ssh:{ca}/017/ana\nssh:{ca}/18\nssh:{ca}/0/old key\nssh:{other}/19/bob\nkey:{other}\nunix:dan\n",
        where="list",
    )
    assert found.x509_serials("CN=plant") == {0xAB, 0xCD}
    assert found.x509_serials("O=a/b,CN=plant") == {0x12}
    assert found.x509_serials("CN=nobody") == frozenset()
    assert found.ssh_serials(ca) == {17, 18}
    assert found.ssh_key_ids(ca) == {"old key"}
    assert found.ssh_serials(other) == {19}
    assert found.ssh_key_ids(other) == frozenset()
    assert found.keys == {other}
