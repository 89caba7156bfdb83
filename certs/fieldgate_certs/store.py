"""Keep a PKI's folder: its CAs, the generations of each identity, what is trusted and revoked, and its journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from fieldgate_certs import disk, layout
from fieldgate_certs.disk import CURRENT
from fieldgate_certs.layout import ISSUING_CERT, File, Files
from fieldgate_certs.subjects import Subject
from fieldgate_core.errors import PkiError

_TOPS = ("x509", "ssh", "issued")


class Holder(NamedTuple):
    """Who was issued to: `kind` is server or client."""

    kind: str
    name: str


class Store:
    """A folder that holds a PKI. Raises PkiError if it holds none, or if others may write in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with disk.told(folder):
            if not (folder / ISSUING_CERT.path).exists():
                hint = "name the PKI's folder (--dir DIR), or make one: fieldgate certs init DIR"
                raise PkiError(str(folder), "holds no PKI", hint=hint)
            disk.refuse_writable_by_others(folder)

    @classmethod
    def create(cls, folder: Path, files: Files) -> Store:
        """Write a new PKI in `folder`, which may be there already. Raises PkiError if it holds one, or half of one."""
        cls.prepare(folder)
        with disk.told(folder), disk.locked(folder):
            cls.refuse_taken(folder)
            tops = sorted({Path(file.path).parts[0] for file in files})
            with disk.staged(folder, files) as stage:
                for name in tops:
                    (stage / name).rename(folder / name)
                disk.sync_folder(folder)
        return cls(folder)

    @classmethod
    def prepare(cls, folder: Path) -> None:
        """Make the folder of a new PKI, if it is not there. Raises PkiError where none could be made in it."""
        with disk.told(folder):
            cls.refuse_taken(folder)
            disk.make_folder(folder)
            disk.refuse_writable_by_others(folder)

    @staticmethod
    def refuse_taken(folder: Path) -> None:
        """Raise PkiError if a folder holds a PKI, or half of one."""
        for name in _TOPS:
            if os.path.lexists(folder / name):
                hint = "choose another folder; to issue from a PKI that is there: fieldgate certs issue --help"
                raise PkiError(str(folder / name), "is there already, and nothing is overwritten", hint=hint)

    def read(self, file: File) -> bytes:
        """Read one file of the PKI. Raises PkiError for a private key that group or others have rights to."""
        return disk.read(self.folder / file.path, private=file.private)

    def has(self, file: File) -> bool:
        """Tell whether a file of the PKI is there."""
        return (self.folder / file.path).exists()

    def add(self, subject: Holder | Subject, files: Files) -> Path:
        """Write a new generation of an identity, put it in force, and return its folder."""
        folder = self._holder(Holder(subject.kind, subject.name))
        with disk.told(folder), disk.locked(self.folder):
            for parent in (folder.parent.parent, folder.parent, folder):
                disk.make_folder(parent)
            return disk.add_generation(folder, files)

    def add_ca(self, name: str, files: Files) -> None:
        """Write one more issuing CA. Raises PkiError if there is one of that name."""
        ca = layout.ca_files(name)
        ssh, x509 = (self.folder / Path(file.path).parent for file in (ca.host_ca, ca.cert))
        with disk.told(x509), disk.locked(self.folder):
            if os.path.lexists(x509) or ssh.is_file():
                raise PkiError(str(x509), "is there already, and nothing is overwritten", hint="choose another name")
            disk.clear(ssh)  # of a run that was killed: the certificate comes last
            with disk.staged(self.folder, files) as stage:
                for target in (ssh, x509):
                    (stage / target.relative_to(self.folder)).rename(target)
                    disk.sync_folder(target.parent)

    def ca_names(self) -> list[str | None]:
        """Name the issuing CAs: None is the one that `init` made."""
        folder = self.folder / Path(ISSUING_CERT.path).parent
        with disk.told(folder):
            return [None, *sorted(path.parent.name for path in folder.glob("*/cert.pem"))]

    def holders(self) -> list[Holder]:
        """Name everybody who was issued to."""
        found = (self.folder / "issued").glob(f"*/*/{CURRENT}")
        return sorted(Holder(path.parent.parent.name, path.parent.name) for path in found)

    def find(self, name: str) -> Holder:
        """Find who was issued to, by NAME or KIND/NAME. Raises PkiError if there is nobody, or two."""
        found = [one for one in self.holders() if name in (one.name, f"{one.kind}/{one.name}")]
        if not found:
            raise PkiError(name, "nothing was issued to this name", hint=f"who there is: ls {self.folder}/issued/*")
        if len(found) > 1:
            raise PkiError(name, "is a server and a client", hint=f"say server/{name} or client/{name}")
        return found[0]

    def current(self, holder: Holder) -> Path:
        """Give the generation in force of an identity. Raises PkiError if there is none."""
        path = self._holder(holder) / CURRENT
        if not path.exists():
            raise PkiError(str(path), "nothing was issued to this name", hint="fieldgate certs issue --help")
        return path.resolve()

    def generations(self, holder: Holder) -> list[Path]:
        """Give every generation of an identity, the oldest first."""
        folder = self._holder(holder)
        return sorted(path for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []

    def record(self, now: datetime, act: str, **facts: object) -> None:
        """Add a line to the PKI's journal, safe on disk."""
        path = self.folder / layout.JOURNAL.path
        told = {name: fact for name, fact in facts.items() if fact is not None}
        line = json.dumps({"time": f"{now:%Y-%m-%dT%H:%M:%SZ}", "act": act} | told, ensure_ascii=True, default=str)
        with disk.told(path):
            disk.append(path, line)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the PKI alone, to read and write its lists."""
        with disk.told(self.folder), disk.locked(self.folder):
            yield

    def put(self, file: File, data: bytes) -> Path:
        """Put a public file of the PKI in the place of an older one, by one rename; the caller holds the PKI alone."""
        path = self.folder / file.path
        for parent in reversed(path.relative_to(self.folder).parents[:-1]):
            disk.make_folder(self.folder / parent)
        disk.replace(path, data)
        return path

    def _holder(self, holder: Holder) -> Path:
        return self.folder / "issued" / holder.kind / holder.name
