"""Keep what the holders of a CA trust beside it: the CAs of a PKI that comes, or goes."""

from __future__ import annotations

from fieldgate_certs import authority, disk, issued, layout
from fieldgate_certs.authority import Authority, Trust
from fieldgate_certs.store import Store
from fieldgate_certs.subjects import check_name
from fieldgate_core.errors import PkiError


def load(store: Store, name: str | None) -> Authority:
    """Load a CA of a PKI with all that its holders trust. Raises PkiError."""
    if name is not None and not store.has(layout.ca_files(name).cert):
        known = ", ".join(one for one in store.ca_names() if one) or "none but the one that init made"
        raise PkiError(
            f"--ca {name}", "this PKI has no such issuing CA", hint=f"known: {known}; fieldgate certs issuing"
        )
    files = [layout.trust_files(name, theirs) for theirs in sources(store, name)]
    roots = dict.fromkeys(store.read(one.root) for one in files)
    roots.pop(store.read(layout.ROOT_CERT), None)
    trust = Trust(
        b"".join(roots),
        b"".join(store.read(one.issuing) for one in files),
        b"".join(store.read(one.user_ca) for one in files),
        b"".join(store.read(one.host_ca) for one in files),
    )
    return authority.load(store.read, name, trust)


def sources(store: Store, name: str | None) -> list[str]:
    """Name the CAs that the holders of a CA trust beside it."""
    return sorted(path.parent.name for path in (store.folder / layout.trust_folder(name)).glob("*/host-ca.pub"))


def add(store: Store, ours: str | None, other: Store, theirs: str | None) -> str:
    """Let the holders of a CA trust another one as well, from their next certificate on; return its name.

    Raises PkiError if the two have the same name: a policy could not tell them apart.
    """
    files = layout.ca_files(theirs)
    mine = authority.issuing_certificate(store.read, ours)
    root = authority.certificate(other.read(layout.ROOT_CERT), layout.ROOT_CERT.path)
    issuing = authority.issuing_certificate(other.read, theirs)
    if issuing.subject == mine.subject:
        problem = f"both CAs are called {issuing.subject.rfc4514_string()}, and a policy could not tell them apart"
        raise PkiError(str(other.folder), problem, hint="make the new one under another name: init --name")
    name = check_name(issued.common_name(issuing.subject))
    to = layout.trust_files(ours, name)
    with store.alone():
        # the last one written makes it count
        for file, data in (
            (to.root, authority.pem(root)),
            (to.issuing, authority.pem(issuing)),
            (to.user_ca, other.read(files.user_ca_pub)),
            (to.host_ca, other.read(files.host_ca_pub)),
        ):
            store.put(file, data)
    return name


def remove(store: Store, ours: str | None, theirs: str) -> None:
    """End the trust in another CA, from the holders' next certificate on. Raises PkiError if there was none."""
    if theirs not in sources(store, ours):
        known = ", ".join(sources(store, ours)) or "none"
        raise PkiError(theirs, "is not trusted beside this CA", hint=f"trusted beside it: {known}")
    folder = store.folder / layout.trust_folder(ours) / theirs
    with store.alone():
        (store.folder / layout.trust_files(ours, theirs).host_ca.path).unlink()  # what makes it count
        disk.clear(folder)
