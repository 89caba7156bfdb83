"""Find the root's key, which lies off this machine but when it is needed, and open it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fieldgate_certs import authority, disk, keys, layout, passphrase
from fieldgate_certs.authority import Root
from fieldgate_certs.layout import File
from fieldgate_certs.store import Store
from fieldgate_core.errors import PkiError

_NAME = "key.pem"


def load(store: Store, folder: Path | None, passphrase_file: Path | None) -> Root:
    """Open the root's key in `folder`, or in the PKI's own; its passphrase comes from a file or the terminal.

    Raises PkiError if it is not there or does not open.
    """
    path = folder / _NAME if folder else store.folder / layout.ROOT_KEY.path
    if not path.exists():
        raise PkiError(str(path), "the root's key is not here", hint="bring it, and name its folder: --root DIR")
    data = disk.read(path, private=True)
    phrase = None
    if keys.is_encrypted(data):
        phrase = passphrase.from_file(passphrase_file) if passphrase_file else passphrase.ask("the root's key")
    return authority.load_root(store.read(layout.ROOT_CERT), data, str(path), phrase)


def is_at_hand(store: Store, folder: Path | None) -> bool:
    """Tell whether the root's key can be opened: it was named, or it lies in the PKI."""
    return folder is not None or store.has(layout.ROOT_KEY)


def take_out(files: Mapping[File, bytes], folder: Path) -> dict[File, bytes]:
    """Write the root's key and certificate in a folder of their own, and give the files that remain for the PKI.

    Raises PkiError if there is a key already.
    """
    with disk.told(folder):
        disk.make_folder(folder)
    disk.create(folder / _NAME, files[layout.ROOT_KEY], private=True)
    disk.create(folder / "cert.pem", files[layout.ROOT_CERT], private=False)
    return {file: data for file, data in files.items() if file != layout.ROOT_KEY}
