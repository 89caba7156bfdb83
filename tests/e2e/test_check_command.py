"""`fieldgate server check`: all that is wrong at once, each with its place and what to do; nothing is started."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, SSHCertificateType
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.in_process import Done, command
from support.mint import HOUR, Ca, Ssh, Tls, crl, issuing_ca, root_ca
from support.site import TABLES_OF_THE_VECTORS, Pki, write_files

DAY = 24 * HOUR
Spoil = Callable[[Path, Pki], None]


def check(folder: Path) -> Done:
    return command("server", "check", "--config", str(folder / "server.toml"))


@pytest.fixture
def folder(site_pki: Pki, tmp_path: Path) -> Path:
    """A folder that is well: server.toml, policy.toml and an identity folder `id`."""
    box = tmp_path / "box"
    box.mkdir()
    write_files(site_pki, box, user=getpass.getuser(), grants=None, units=TABLES_OF_THE_VECTORS, extra="")
    shutil.copytree(site_pki.server.resolve(), box / "id")
    text = (box / "server.toml").read_text().replace(str(site_pki.server), "id")
    (box / "server.toml").write_text(text)
    return box


def edit(name: str, old: str, new: str) -> Spoil:
    def spoil(folder: Path, _pki: Pki) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return spoil


def chmod(name: str, mode: int) -> Spoil:
    return lambda folder, _pki: (folder / name).chmod(mode)


def remove(name: str) -> Spoil:
    return lambda folder, _pki: (folder / name).unlink()


def swap_key(folder: Path, _pki: Pki) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "id/tls-key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def tls_that_lasts(starts: float, ends: float) -> Spoil:
    def spoil(folder: Path, pki: Pki) -> None:
        minted = Tls(issuing_ca(pki), starts=starts, ends=ends, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
        made = minted.identity(pki, folder / "minted")
        for name in ("tls-key.pem", "tls-chain.pem"):
            shutil.copy(made / name, folder / "id" / name)

    return spoil


def ssh_that_lasts(starts: float, ends: float) -> Spoil:
    def spoil(folder: Path, pki: Pki) -> None:
        minted = Ssh(ca="host-ca", kind=SSHCertificateType.HOST, starts=starts, ends=ends, extensions=())
        key = minted.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (folder / "id/ssh-host-key").write_bytes(key)
        (folder / "id/ssh-host-key.pub").unlink(missing_ok=True)
        (folder / "id/ssh-host-key-cert.pub").write_bytes(minted.line(pki))

    return spoil


def crl_of(ca: Callable[[Pki], Ca], *, ends: float, broken: bool = False) -> Spoil:
    """Name a CRL of a CA."""

    def spoil(folder: Path, pki: Pki) -> None:
        made = crl(ca(pki), ends=ends)
        (folder / "list.crl").write_bytes(made.replace(b"-\nM", b"-\nA") if broken else made)
        settings = (folder / "server.toml").read_text()
        (folder / "server.toml").write_text(settings.replace("[tls]", '[tls]\ncrl = "list.crl"'))

    return spoil


def wrong_chain(folder: Path, _pki: Pki) -> None:
    """Leave the issuing CA out, so that the root stands behind a certificate that it has not signed."""
    leaf, _, root = (folder / "id/tls-chain.pem").read_text().split("-----END CERTIFICATE-----\n")[:3]
    (folder / "id/tls-chain.pem").write_text("".join(f"{one}-----END CERTIFICATE-----\n" for one in (leaf, root)))


def recording(folder: Path, _pki: Pki) -> None:
    (folder / "values.csv").write_text("input 0\nmany\n")
    with (folder / "server.toml").open("a") as settings:
        settings.write('[[unit.simulate]]\ncells = "input 0"\nkind = "csv"\nfile = "values.csv"\n')


def revoked(folder: Path, _pki: Pki) -> None:
    """Name a list of revoked identities with a name that is none."""
    (folder / "revoked").write_text("unix:ann\nann\n")
    settings = (folder / "server.toml").read_text()
    (folder / "server.toml").write_text(f'revoked = "revoked"\n{settings}')


def operators_folder(lines: str) -> Spoil:
    """Write settings for the operator's commands; `open` is a folder that everybody can write."""

    def spoil(folder: Path, _pki: Pki) -> None:
        (folder / "open").mkdir(exist_ok=True)
        (folder / "open").chmod(0o777)
        text = (folder / "server.toml").read_text()
        (folder / "server.toml").write_text(f"{lines}\n{text}")

    return spoil


def exporter(ca: str = "ca.pem", identity: str = "odd", starts: float = -DAY, ends: float = 31 * DAY) -> Spoil:
    """Name a remote syslog whose CA is in `ca.pem`, and a certificate to show it in the folder `odd`."""

    def spoil(folder: Path, pki: Pki) -> None:
        shutil.copy(pki.client("viewer") / "tls-server-ca.pem", folder / "ca.pem")
        minted = Tls(issuing_ca(pki), starts=starts, ends=ends)
        shutil.copytree(minted.identity(pki, folder / "minted"), folder / "odd")
        syslog = f'host = "logs", ca = "{ca}", identity = "{identity}"'
        audit = f'audit = {{ file = "audit.log", syslog = {{ {syslog} }} }}'
        lines = (folder / "server.toml").read_text().splitlines()
        told = [audit if line.startswith("audit =") else line for line in lines]
        assert audit in told
        (folder / "server.toml").write_text("\n".join(told))

    return spoil


def metrics(line: str) -> Spoil:
    def spoil(folder: Path, _pki: Pki) -> None:
        with (folder / "server.toml").open("a") as file:
            file.write(f"\n[metrics]\n{line}\n")

    return spoil


def test_what_is_well_is_said_to_be(folder: Path) -> None:
    before = sorted(path.name for path in folder.rglob("*"))
    done = check(folder)
    assert done.returncode == 0, done
    assert done.stdout == f"{folder / 'server.toml'}: 0 errors, 0 warnings\n"
    assert sorted(path.name for path in folder.rglob("*")) == before, "it makes no file"


ERRORS: list[tuple[Spoil, str, str]] = [
    (edit("server.toml", "audit =", "audti ="), "server.toml: audti: unknown key", "did you mean audit?"),
    (edit("server.toml", "port = 0", "port = 70000"), "server.toml: listen: port 70000 is not 0 to 65535", ""),
    (edit("server.toml", "[tls]", "[tls"), "server.toml: is not valid TOML", ""),
    (edit("server.toml", 'policy = "policy.toml"', 'policy = "p.toml"'), "p.toml: cannot be read", ""),
    (edit("server.toml", "audit.log", "none/audit.log"), "none/audit.log: cannot be opened", ""),
    (edit("policy.toml", '"operator"\n', '"operater"\n'), "identity.unix:", "[role.operater]"),
    (edit("policy.toml", 'units = "1"', 'units = "0"'), "role.viewer.grants[0].units: '0' is no unit", "from 1 to 254"),
    (chmod("policy.toml", 0o666), "policy.toml: others can write this file", "chmod go-w"),
    (edit("server.toml", 'identity = "id"', 'identity = "di"'), "/di: no such file or folder", "certs issue"),
    (chmod("id/tls-key.pem", 0o640), "id/tls-key.pem: others can read this private key", "chmod 600"),
    (chmod("id/ssh-host-key", 0o604), "id/ssh-host-key: others can read this private key", "chmod 600"),
    (chmod("id/tls-client-ca.pem", 0o664), "id/tls-client-ca.pem: others can write this file", "chmod go-w"),
    (remove("id/tls-client-ca.pem"), "id/tls-client-ca.pem: no such file", "certs issue"),
    (remove("id/ssh-host-key-cert.pub"), "id/ssh-host-key-cert.pub: no such file", "certs issue"),
    (swap_key, "id/tls-key.pem: does not fit tls-chain.pem", ""),
    (wrong_chain, "id/tls-chain.pem: CN=test-root-1 has not signed", "up to the root"),
    (tls_that_lasts(-2 * DAY, -DAY), "id/tls-chain.pem: the certificate expired on", "issue a new one"),
    (ssh_that_lasts(-2 * DAY, -DAY), "id/ssh-host-key-cert.pub: the certificate expired on", "issue a new one"),
    (crl_of(issuing_ca, ends=HOUR, broken=True), "list.crl: holds a CRL that is damaged", "fetch it anew"),
    (crl_of(root_ca, ends=HOUR), "list.crl: holds no CRL of CN=test-issuing-1", "fetch it anew"),
    (revoked, "revoked: line 2: 'ann' is no typed name", "unix:USER"),
    (operators_folder('control = "none/socket"\nstate = "."'), "none/socket: there is no such folder", "mkdir -m 750"),
    (operators_folder('state = "none"'), "/none: no such folder", "mkdir -m 700"),
    (operators_folder('state = "open"'), "/open: others can write this file", "chmod go-w"),
    (operators_folder('control = "open/socket"\nstate = "."'), "/open: others can write this file", "chmod go-w"),
    (operators_folder('control = "policy.toml"\nstate = "."'), "is there already, and is no socket", "another path"),
    (exporter(ca="none.pem"), "none.pem: cannot be read", ""),
    (exporter(ca="policy.toml"), "policy.toml: holds no CA certificate", ""),
    (exporter(identity="none"), "/none: no such file or folder", ""),
    (exporter(starts=-2 * DAY, ends=-DAY), "odd/tls-chain.pem: the certificate expired on", "issue a new one"),
    (metrics('host = "0.0.0.0"'), "metrics: host '0.0.0.0' is not loopback", ""),
    (recording, "values.csv: line 2, column input 0: 'many' is not a whole number", ""),
]


@pytest.mark.parametrize(("spoil", "error", "hint"), ERRORS)
def test_an_error_has_its_place_and_its_hint(folder: Path, site_pki: Pki, spoil: Spoil, error: str, hint: str) -> None:
    spoil(folder, site_pki)
    done = check(folder)
    assert done.returncode == 2, done
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(set(errors))
    assert any(error in line for line in errors), done.stdout
    assert hint in done.stdout
    assert "Traceback" not in done.stderr


def test_all_errors_are_told_at_once(folder: Path, site_pki: Pki) -> None:
    together = [ERRORS[index] for index in (0, 1, 5, 6, 7, 9, 10, 11)]
    for spoil, _, _ in together:
        spoil(folder, site_pki)
    done = check(folder)
    assert done.returncode == 2
    for _, error, hint in together:
        assert error in done.stdout
        assert hint in done.stdout
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.stdout.endswith(f"server.toml: {len(errors)} errors, 0 warnings\n")


WARNINGS: list[tuple[Spoil, str]] = [
    (edit("policy.toml", '"unix:daemon"', '"unix:no-such-user"'), "this machine has no user 'no-such-user'"),
    (edit("policy.toml", '"unix:daemon"', '"group:no-such-group"'), "this machine has no group 'no-such-group'"),
    (tls_that_lasts(-DAY, 29 * DAY), "id/tls-chain.pem: CN=odd ends on"),
    (ssh_that_lasts(-DAY, 29 * DAY), "id/ssh-host-key-cert.pub: the host certificate ends on"),
    (ssh_that_lasts(DAY, 60 * DAY), "id/ssh-host-key-cert.pub: the clock looks wrong"),
    (tls_that_lasts(DAY, 60 * DAY), "id/tls-chain.pem: the clock looks wrong"),
    (crl_of(issuing_ca, ends=-60), "list.crl: the CRL of CN=test-issuing-1 expired on"),
    (crl_of(issuing_ca, ends=HOUR / 2), "list.crl: the CRL of CN=test-issuing-1 is past half of its life"),
    (exporter(ends=29 * DAY), "odd/tls-chain.pem: CN=odd ends on"),
    (metrics('users = ["no-such-user", "root"]'), "metrics.users: this machine has no user 'no-such-user'"),
    (
        edit("policy.toml", 'units = "1", read', 'until = "2020-01-01", units = "1", read'),
        "role.viewer: grant viewer[0] has ended: it held until 2020-01-01",
    ),
]


@pytest.mark.parametrize(("spoil", "warning"), WARNINGS)
def test_a_warning_keeps_nothing_from_starting(folder: Path, site_pki: Pki, spoil: Spoil, warning: str) -> None:
    spoil(folder, site_pki)
    done = check(folder)
    assert done.returncode == 0, done
    [line] = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert warning in line
    assert done.stdout.endswith("server.toml: 0 errors, 1 warning\n")


@pytest.mark.parametrize(
    "spoil",
    [
        *(tls_that_lasts(-DAY, 31 * DAY), ssh_that_lasts(-DAY, 31 * DAY), exporter(), metrics('users = ["root"]')),
        operators_folder('control = "socket"\nstate = "."'),
    ],
)
def test_what_ends_later_is_no_warning(folder: Path, site_pki: Pki, spoil: Spoil) -> None:
    spoil(folder, site_pki)
    assert check(folder).stdout.endswith("0 errors, 0 warnings\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_an_error(folder: Path) -> None:
    os.chown(folder / "id/tls-key.pem", 1, 1)
    assert "this private key belongs to another user" in check(folder).stdout


def test_no_settings_at_all(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 2
    assert "server.toml: cannot be read: No such file" in done.stdout
