"""The PKI's folder: modes, nothing overwritten, whole generations only (R-19; pitfalls 15 and 16)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fieldgate_certs import authority, layout
from fieldgate_certs.authority import Authority, Identity
from fieldgate_certs.disk import CURRENT
from fieldgate_certs.layout import Files
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import Client, Server
from fieldgate_core.errors import PkiError

ANA = Client("ana", "operator")
BOX = Server("box-1", ("localhost",))
PRIVATE = {"key.pem", "user-ca", "host-ca", "tls-key.pem", "ssh-key", "ssh-host-key", "journal"}
ISSUE_ANA = ("issue", "client", "ana", "--role", "operator", "--dir", "pki")


def command(*args: str) -> list[str]:
    return [sys.executable, "-B", "-m", "fieldgate_core.cli", "certs", *args]


def run(folder: Path, *args: str, umask: int = -1, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *command(*args)], cwd=folder, umask=umask, capture_output=True, text=True, check=False
    )


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def generations(store: Store) -> list[str]:
    return names(store.folder / "issued/client/ana")


def in_force(store: Store) -> Path:
    """The generation that `current` names, after a look whether it is whole: the key fits the certificate."""
    current = store.folder / "issued/client/ana" / CURRENT
    key = load_pem_private_key((current / "tls-key.pem").read_bytes(), None)
    leaf = x509.load_pem_x509_certificates((current / "tls-chain.pem").read_bytes())[0]
    assert key.public_key() == leaf.public_key()
    assert {path.name for path in current.iterdir()} == {
        "tls-key.pem",
        "tls-chain.pem",
        "tls-server-ca.pem",
        "ssh-key",
        "ssh-key.pub",
        "ssh-key-cert.pub",
        "known_hosts",
    }
    return current.resolve()


@pytest.mark.parametrize(("umask", "public"), [(0o000, 0o644), (0o077, 0o600)])
def test_modes_under_any_umask(tmp_path: Path, umask: int, public: int) -> None:
    for args in (("init", "pki"), ISSUE_ANA, ("issue", "server", "box-1", "--dns", "localhost", "--dir", "pki")):
        assert run(tmp_path, *args, umask=umask).returncode == 0
    found = modes(tmp_path)
    assert len(found) == 12 + 8 + 7 + 7 + 1  # folders, the PKI, a client, a server, the journal
    for path, mode in found.items():
        if (tmp_path / path).is_dir():
            assert mode == 0o700, path
        else:
            assert mode == (0o600 if Path(path).name in PRIVATE else public), path


def test_what_was_written_is_what_was_made(store: Store, pki_files: Files, ana: Identity) -> None:
    assert content(store.folder) == {file.path: data for file, data in pki_files.items()}
    generation = store.add(ANA, ana.files)
    assert content(generation) == {file.path: data for file, data in ana.files.items()}


def test_a_second_pki_in_a_folder_is_refused(store: Store, pki_files: Files, ana: Identity) -> None:
    store.add(ANA, ana.files)
    before = content(store.folder)
    with pytest.raises(PkiError, match="is there already, and nothing is overwritten"):
        Store.create(store.folder, pki_files)
    assert content(store.folder) == before


@pytest.mark.parametrize("name", ["x509", "ssh", "issued"])
def test_a_folder_with_a_part_of_a_pki_is_refused(tmp_path: Path, pki_files: Files, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(PkiError, match=f"{name}: is there already"):
        Store.create(tmp_path, pki_files)
    assert names(tmp_path) == [name]


def test_a_pki_may_stand_in_a_folder_with_other_things(tmp_path: Path, pki_files: Files) -> None:
    (tmp_path / "README").write_text("ours")
    Store.create(tmp_path, pki_files)
    assert names(tmp_path) == ["README", "ssh", "x509"]


def test_a_folder_without_pki_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="holds no PKI"):
        Store(tmp_path)


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_may_write_in_is_refused(
    store: Store, tmp_path: Path, pki_files: Files, mode: int
) -> None:
    store.folder.chmod(mode)
    with pytest.raises(PkiError, match="group or others may write here") as caught:
        Store(store.folder)
    assert caught.value.hint == f"chmod go-w {store.folder}"
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(mode)
    with pytest.raises(PkiError, match="group or others may write here"):
        Store.create(other, pki_files)
    store.folder.chmod(0o755)
    assert Store(store.folder).folder == store.folder


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
@pytest.mark.parametrize("key", [layout.ISSUING_KEY, layout.USER_CA, layout.HOST_CA])
def test_a_ca_key_that_others_can_use_is_refused_with_its_mend(store: Store, key: layout.File, mode: int) -> None:
    path = store.folder / key.path
    path.chmod(mode)
    with pytest.raises(PkiError, match=rf"rights to this private key \(mode {mode:04o}\)") as caught:
        authority.load(store.read)
    assert caught.value.where == str(path)
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert authority.load(store.read)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_ca_key_of_another_user_is_refused_with_its_mend(store: Store) -> None:
    os.chown(store.folder / layout.USER_CA.path, 65534, -1)
    with pytest.raises(PkiError, match=r"belongs to another user \(uid 65534\)") as caught:
        authority.load(store.read)
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert authority.load(store.read)


def test_issuing_never_needs_the_roots_key(store: Store, ana: Identity) -> None:
    (store.folder / layout.ROOT_KEY.path).unlink()
    assert authority.load(store.read)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (layout.ROOT_CERT, "was not issued by this PKI's root"),
        (layout.ISSUING_CERT, "was not issued by this PKI's root"),
        (layout.ISSUING_KEY, "is not the key of cert.pem beside it"),
        (layout.USER_CA, "user-ca.pub: is not the public half"),
        (layout.HOST_CA_PUB, "host-ca.pub: is not the public half"),
    ],
)
def test_parts_of_two_pkis_are_not_mixed(pki_files: Files, ca: Authority, file: layout.File, problem: str) -> None:
    stranger = authority.create("plant", ca.root.not_valid_before_utc)
    mixed = {**pki_files, file: stranger[file]}
    with pytest.raises(PkiError, match=problem):
        authority.load(mixed.__getitem__)


@pytest.mark.parametrize("file", [layout.ROOT_CERT, layout.ISSUING_KEY, layout.USER_CA, layout.HOST_CA_PUB])
@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_file_is_named(pki_files: Files, file: layout.File, data: bytes) -> None:
    damaged = {**pki_files, file: data}
    with pytest.raises(PkiError) as caught:
        authority.load(damaged.__getitem__)
    assert caught.value.where == file.path


def test_each_issue_makes_a_generation_and_swaps_current(store: Store, ca: Authority, ana: Identity) -> None:
    first = store.add(ANA, ana.files)
    assert in_force(store) == first
    before = content(first)
    second = store.add(ANA, ca.issue(ANA, 90, ca.issuing.not_valid_before_utc).files)
    assert in_force(store) == second
    assert (second.parent / CURRENT).readlink() == Path(second.name) == Path("000002")
    assert content(first) == before
    assert content(second) != before
    assert generations(store) == ["000001", "000002", CURRENT]


def test_a_number_is_never_given_again(store: Store, ana: Identity) -> None:
    for _ in range(2):
        store.add(ANA, ana.files)
    shutil.rmtree(store.folder / "issued/client/ana/000001")
    assert store.add(ANA, ana.files).name == "000003"


def test_a_server_and_a_client_of_one_name_stand_apart(store: Store, box: Identity, ana: Identity) -> None:
    client = store.add(Client("box-1", "operator"), ana.files)
    server = store.add(BOX, box.files)
    assert (client.parent / CURRENT).resolve() != (server.parent / CURRENT).resolve()


def test_many_issuers_at_once_give_each_its_generation(store: Store) -> None:
    args = command(*ISSUE_ANA)
    runs = [subprocess.Popen(args, cwd=store.folder.parent, stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [issuer.wait() for issuer in runs] == [0] * 6
    assert generations(store) == [f"{number:06}" for number in range(1, 7)] + [CURRENT]
    assert in_force(store).name == "000006"


@pytest.mark.parametrize("size", [100, 300, 1000])
def test_a_write_that_fails_leaves_the_old_generation_in_force(store: Store, ana: Identity, size: int) -> None:
    """The kernel refuses to let a file grow past `size`: the TLS key, the SSH key, and the chain are cut short."""
    old = store.add(ANA, ana.files)
    failed = run(store.folder.parent, *ISSUE_ANA, prefix=("prlimit", f"--fsize={size}"))
    assert failed.returncode == 2
    assert "File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert in_force(store) == old
    assert generations(store) == ["000001", CURRENT]
    assert run(store.folder.parent, *ISSUE_ANA).returncode == 0
    assert in_force(store).name == "000002"


def test_an_init_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    failed = run(tmp_path, "init", "pki", prefix=("prlimit", "--fsize=300"))
    assert failed.returncode == 2
    assert "File too large" in failed.stderr
    assert names(tmp_path / "pki") == []
    assert run(tmp_path, "init", "pki").returncode == 0


def traces() -> bool:
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode == 0


@pytest.mark.skipif(not traces(), reason="needs strace, and the right to trace")
@pytest.mark.parametrize(("call", "times"), [("mkdir", 1), ("fsync", 11), ("rename", 2), ("symlink", 1)])
def test_a_power_cut_at_any_step_leaves_a_whole_generation_in_force(
    store: Store, ana: Identity, call: str, times: int
) -> None:
    """Pitfall 15: the process is killed as it enters the n-th call, for every n; the next issue works."""
    store.add(ANA, ana.files)
    killed = 0
    while True:
        before = in_force(store)
        strace = ("strace", "-f", "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={killed + 1}")
        done = run(store.folder.parent, *ISSUE_ANA, prefix=strace)
        after = in_force(store)
        if done.returncode == 0:
            break
        killed += 1
        assert after == before or int(after.name) > int(before.name)
        assert run(store.folder.parent, *ISSUE_ANA).returncode == 0
        assert int(in_force(store).name) > int(after.name)
    assert killed == times
