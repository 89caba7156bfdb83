"""The box's half of an issue: make keys that never leave it, and put the signed answer beside them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature

from fieldgate_certs import disk, issued, keys, layout, requests
from fieldgate_certs.authority import private_files
from fieldgate_certs.issued import Issued
from fieldgate_certs.layout import File, Files
from fieldgate_certs.subjects import KeyKind, check_name
from fieldgate_core.errors import PkiError

PENDING = "pending"
"""The folder of the keys that wait for their certificates."""
_DONE = ".done"
_PENDING_KEYS = (layout.TLS_KEY, layout.SSH_KEY)
_COMMON = frozenset({layout.TLS_CHAIN})
_PUBLIC = {
    "server": frozenset(
        {layout.TLS_CLIENT_CA, layout.SSH_HOST_KEY_PUB, layout.SSH_HOST_KEY_CERT, layout.SSH_USER_CA} | _COMMON
    ),
    "client": frozenset({layout.TLS_SERVER_CA, layout.SSH_KEY_PUB, layout.SSH_KEY_CERT, layout.KNOWN_HOSTS} | _COMMON),
}


class Pending(NamedTuple):
    """A request that was made here: its file, to be carried, and its fingerprint."""

    file: Path
    fingerprint: str


def request(folder: Path, name: str, key: KeyKind) -> Pending:
    """Make the keys and the request of a holder in `folder`, which is made if it is not there.

    Raises PkiError if a request waits there already: its keys are not overwritten.
    """
    check_name(name)
    tls_key, ssh_key = keys.new(key), keys.new_ssh()
    data = requests.make(name, tls_key, ssh_key)
    file = File(f"{name}.request")
    pending = folder / PENDING
    with disk.told(folder):
        disk.make_folder(folder)
        disk.refuse_writable_by_others(folder)
        with disk.locked(folder):
            if pending.exists():
                hint = f"carry {pending}/*.request to be signed, or remove that folder to begin again"
                raise PkiError(str(pending), "a request waits for its answer already", hint=hint)
            with disk.staged(folder, {**private_files("client", tls_key, ssh_key), file: data}) as stage:
                stage.rename(pending)
                disk.sync_folder(folder)
    return Pending(pending / file.path, requests.fingerprint(data))


def answer(kind: str, name: str, files: Files) -> bytes:
    """Give the file that carries what was signed back to the box: public, and JSON."""
    texts = {file.path: data.decode() for file, data in files.items()}
    return json.dumps({"kind": kind, "name": name, "files": texts}, indent=1).encode() + b"\n"


def install(folder: Path, data: bytes, where: str) -> tuple[Path, Issued]:
    """Put a signed answer beside the keys that wait for it in `folder`, as a new generation, and in force.

    Raises PkiError, and changes nothing, if it does not belong to these keys or is not in force.
    """
    kind, files = _read_answer(data, where)
    with disk.told(folder), disk.locked(folder):
        pending = folder / PENDING
        tls, ssh = (pending / file.path for file in _PENDING_KEYS)
        if not tls.exists():
            hint = "make one first: fieldgate certs request NAME --dir DIR"
            raise PkiError(str(pending), "no request waits for an answer here", hint=hint)
        tls_key = keys.read_pem(disk.read(tls, private=True), str(tls), hint=_AGAIN)
        ssh_key = keys.read_ssh(disk.read(ssh, private=True), str(ssh), hint=_AGAIN)
        private = private_files(kind, tls_key, ssh_key)
        with disk.staged(folder, files) as stage:
            found = issued.read(stage)
        _check(found, where)
        if found.leaf.public_key() != tls_key.public_key():
            raise PkiError(where, "its certificate is for another key than the one that waits here", hint=_AGAIN)
        if found.ssh is None:
            private = {layout.TLS_KEY: private[layout.TLS_KEY]}
        elif found.ssh.public_key() != ssh_key.public_key():
            raise PkiError(where, "its SSH certificate is for another key than the one that waits here", hint=_AGAIN)
        generation = disk.add_generation(folder, {**private, **files})
        disk.clear(folder / _DONE)
        pending.rename(folder / _DONE)
        disk.clear(folder / _DONE)
    return generation, found


_AGAIN = "is this the answer to another request? remove the folder `pending` to begin again"


def _read_answer(data: bytes, where: str) -> tuple[str, Files]:
    try:
        found = json.loads(data)
        kind, texts = found["kind"], found["files"]
        known = {file.path: file for file in _PUBLIC[kind]}
        files = {known[path]: text.encode() for path, text in texts.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "carry the file that `fieldgate certs sign` made"
        raise PkiError(where, "is not an answer to a request", hint=hint) from None
    return kind, files


def _check(found: Issued, where: str) -> None:
    try:
        found.leaf.verify_directly_issued_by(found.issuing)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError(where, "its certificate was not issued by the CA that stands behind it") from None
    now = datetime.now(UTC)
    if not found.life.not_before <= now < found.life.not_after:
        begins, ends = found.life
        problem = f"its certificate is valid from {begins:%Y-%m-%d %H:%M} until {ends:%Y-%m-%d %H:%M} UTC, not now"
        raise PkiError(where, problem, hint="is this machine's clock right?")
