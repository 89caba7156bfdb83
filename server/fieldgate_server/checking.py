"""All that is wrong with a server's files, at once and before it starts; nothing is opened but these files."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from fieldgate_core import crl, revocation, settings, trusted_file
from fieldgate_core import identity_folder as names
from fieldgate_core.clock import WRONG
from fieldgate_core.errors import ConfigError
from fieldgate_core.revocation import Revoked
from fieldgate_server import lock
from fieldgate_server import policy as policies
from fieldgate_server.configuration import INTEGRITY_ONLY
from fieldgate_server.settings import Settings
from fieldgate_tunnel import crl_files, ssh, tls, unix_socket
from fieldgate_tunnel import identity_files as files
from fieldgate_tunnel.limits import Limits

SOON = timedelta(days=30)
"""A credential that ends within this time is worth a warning."""
_FOREVER = 0xFFFF_FFFF_FFFF_FFFF


class Finding(NamedTuple):
    """What is wrong where, and what to do; an error keeps the server from starting, a warning does not."""

    is_error: bool
    where: str
    problem: str
    hint: str


def check(file: Path) -> list[Finding]:
    """Check a settings file and every file that it names. Never raises: what cannot be read is a finding."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in _findings(file):
        found.setdefault((finding.where, finding.problem), finding)
    return sorted(found.values(), key=lambda finding: not finding.is_error)


def _findings(file: Path) -> Iterator[Finding]:
    try:
        raw = settings.read_toml(file)
    except ConfigError as error:
        yield _error(error)
        return
    base = file.resolve().parent
    _, faults = settings.examine(raw, Settings, where=str(file), base=base)
    yield from map(_error, faults)
    # each file by its own path: one that is wrong hides nothing in the others
    policy = _path(raw.get("policy"), base)
    if policy is not None:
        yield from _policy(policy)
    revoked = _path(raw.get("revoked"), base)
    if revoked is not None:
        yield from _tried(lambda: trusted_file.check(revoked), lambda: read_revoked(revoked))
    audit = raw.get("audit")
    trail = _path(audit.get("file") if isinstance(audit, dict) else audit, base)
    if trail is not None:
        yield from _tried(lambda: _check_writable(trail))
    syslog = audit.get("syslog") if isinstance(audit, dict) else None
    if isinstance(syslog, dict):
        yield from _syslog(_path(syslog.get("ca"), base), _path(syslog.get("identity"), base))
    yield from _of_operators(_path(raw.get("control"), base), _path(raw.get("state"), base))
    metrics = raw.get("metrics")
    if isinstance(metrics, dict):
        yield from _readers(metrics.get("users"), file)
    if isinstance(table := raw.get("tls"), dict) and table.get("confidentiality") == "none":
        yield from _integrity_only(f"{file}: tls.confidentiality", _path(table.get("identity"), base))
    for door, look in (("tls", _tls), ("ssh", _ssh)):
        table = raw.get(door)
        folder = _path(table.get("identity"), base) if isinstance(table, dict) else None
        if folder is not None:
            yield from look(folder)
    for dial in raw["dial"] if isinstance(raw.get("dial"), list) else []:
        folder = _path(dial.get("identity"), base) if isinstance(dial, dict) else None
        if folder is not None:
            yield from _tried(partial(files.check_ssh_identity, folder))
    door_of_tls = raw.get("tls")
    if isinstance(door_of_tls, dict):
        lists, folder = _path(door_of_tls.get("crl"), base), _path(door_of_tls.get("identity"), base)
        if lists is not None and folder is not None:
            yield from _crl(lists, folder, door_of_tls.get("crl_expired", crl.DENY))


def _path(written: object, base: Path) -> Path | None:
    return base / Path(written).expanduser() if isinstance(written, str) and written else None


def read_revoked(file: Path) -> Revoked:
    """Read the list of revoked names. Raises ConfigError that names file and line."""
    try:
        return revocation.parse(file.read_bytes().decode(), where=str(file))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None


def _check_writable(file: Path) -> None:
    """Check that a file can be appended to, or made. Raises OSError; nothing is made here."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        if not os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True):
            raise


def _of_operators(socket: Path | None, state: Path | None) -> Iterator[Finding]:
    """Look at the folders of the control socket and of the lock."""
    if socket is not None:
        yield from _tried(
            lambda: unix_socket.check_place(socket, where=f"control {socket}"), lambda: _check_folder(socket.parent)
        )
    if state is not None:
        yield from _tried(lambda: lock.check_folder(state), lambda: _check_folder(state))


def _check_folder(folder: Path) -> None:
    """Check that files can be made in a folder that is there. Raises ConfigError."""
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigError(str(folder), "no file can be made there", hint=f"chown {os.geteuid()} {folder}")


def _readers(users: object, file: Path) -> Iterator[Finding]:
    for name in users if isinstance(users, list) else ():
        try:
            pwd.getpwnam(str(name))
        except KeyError:
            yield _warning(f"{file}: metrics.users", f"this machine has no user {name!r}")


def _syslog(trust: Path | None, identity: Path | None) -> Iterator[Finding]:
    """Look at the certificates that speak to a remote syslog, by the code that loads them."""
    if trust is not None:
        yield from _tried(lambda: tls.verifying_context(trust))
        yield from _ends(trust, _certificates(trust), expired=True)
    if trust is not None and identity is not None:
        yield from _tried(lambda: tls.verifying_context(trust, identity))
        chain = identity / names.TLS_CHAIN
        yield from _ends(chain, _certificates(chain)[:1], expired=False)


def _policy(file: Path) -> Iterator[Finding]:
    yield from _tried(lambda: trusted_file.check(file))
    try:
        raw = settings.read_toml(file)
    except ConfigError as error:
        yield _error(error)
        return
    policy, faults = policies.examine(raw, where=str(file))
    yield from map(_error, faults)
    yield from _unknown_users(raw, file)
    now = time.time()
    for role in policy.roles if policy else ():
        for grant in policy.not_now(role) if policy else ():
            if grant.period.ends is not None and grant.period.ends <= now:
                yield _warning(f"{file}: role.{role}", f"grant {grant.name} has ended: it held {grant.period}")


def _unknown_users(raw: dict[str, Any], file: Path) -> Iterator[Finding]:
    identity = raw.get("identity")
    for key in identity if isinstance(identity, dict) else ():
        kind, _, name = key.partition(":")
        where = f"{file}: identity.{key}"
        try:
            if kind == "unix":
                pwd.getpwnam(name)
            elif kind == "group":
                grp.getgrnam(name)
        except KeyError:
            yield _warning(where, f"this machine has no {'user' if kind == 'unix' else 'group'} {name!r}")


def _crl(path: Path, folder: Path, rule: object) -> Iterator[Finding]:
    """Judge the CRLs of the TLS door."""
    try:
        grace = crl.grace(str(rule))
        found = crl_files.read(path, tls.client_anchors(folder), grace=grace)
    except ValueError:
        # the settings' own check has said so
        return
    except ConfigError as error:
        yield _error(error)
        return
    for one in found:
        ageing = one.ageing(time.time())
        if ageing:
            yield _warning(str(path), ageing, "fetch a new one; what an expired one means is `crl_expired`")


def _tls(folder: Path) -> Iterator[Finding]:
    chain, anchors = folder / names.TLS_CHAIN, folder / names.TLS_CLIENT_CA
    yield from _tried(
        lambda: files.private(folder, names.TLS_KEY),
        lambda: files.check_dates(files.file(folder, names.TLS_CHAIN), early=True),
        lambda: trusted_file.check(files.file(folder, names.TLS_CLIENT_CA)),
        lambda: tls.client_anchors(folder),
        lambda: tls.server_context(folder, early=True),
    )
    yield from _early(lambda: files.check_dates(chain))
    shown = _certificates(chain)
    for leaf, above in pairwise(shown):
        if not _has_signed(above, leaf):
            problem = f"{_name(above)} has not signed {_name(leaf)}, which stands before it"
            yield _finding(chain, problem, "a chain is the certificate, then its issuer, up to the root")
    # the first of the chain is judged above, and one that has expired keeps the server from starting
    yield from _ends(chain, shown[:1], expired=False)
    yield from _ends(chain, shown[1:], expired=True)
    yield from _ends(anchors, _certificates(anchors), expired=True)


def _integrity_only(where: str, folder: Path | None) -> Iterator[Finding]:
    yield _warning(where, INTEGRITY_ONLY, 'write "required" unless every network in between may read along')
    shown = _certificates(folder / names.TLS_CHAIN)[:1] if folder else []
    if shown and not isinstance(shown[0].public_key(), RSAPublicKey):
        problem = "has no effect: the one suite without encryption needs an RSA key, and the certificate has another"
        yield _warning(where, problem)


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return []


def _has_signed(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a name"


def _ends(file: Path, certificates: Iterable[x509.Certificate], *, expired: bool) -> Iterator[Finding]:
    """Warn of certificates that end soon, and of those that have expired if nobody else does."""
    now = datetime.now(UTC)
    for certificate in certificates:
        ends = certificate.not_valid_after_utc
        if ends <= now if expired else False:
            yield _warning(str(file), f"{_name(certificate)} expired on {_day(ends)}: whom it vouches for is refused")
        elif now < ends <= now + SOON:
            yield _warning(str(file), f"{_name(certificate)} ends on {_day(ends)}", "issue a new one in time")


def _ssh(folder: Path) -> Iterator[Finding]:
    certificate = folder / names.SSH_HOST_CERTIFICATE
    yield from _tried(
        lambda: files.private(folder, names.SSH_HOST_KEY),
        lambda: files.check_ssh_certificate(files.file(folder, names.SSH_HOST_CERTIFICATE), early=True),
        lambda: ssh.server_options(
            folder, login_deadline=Limits().handshake_deadline, shown=ssh.host_keys(folder, early=True)
        ),
    )
    yield from _early(lambda: files.check_ssh_certificate(certificate))
    try:
        found = load_ssh_public_identity(certificate.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        return
    if isinstance(found, SSHCertificate) and found.valid_before != _FOREVER:
        now, ends = datetime.now(UTC), datetime.fromtimestamp(found.valid_before, UTC)
        if now < ends <= now + SOON:
            yield _warning(str(certificate), f"the host certificate ends on {_day(ends)}", "issue a new one in time")


def _early(check: Callable[[], object]) -> Iterator[Finding]:
    """Warn of a certificate that begins later than the clock says: the server starts, and its doors stay shut."""
    try:
        check()
    except ConfigError as error:
        if error.problem.startswith(WRONG):
            yield _warning(error.where, error.problem, error.hint)


def _tried(*checks: Callable[[], object]) -> Iterator[Finding]:
    """Run checks that raise, each whatever the others found."""
    for one in checks:
        try:
            one()
        except ConfigError as error:
            yield _error(error)
        except OSError as error:
            yield _finding(error.filename, f"cannot be opened: {error.strerror}")


def _day(moment: datetime) -> str:
    return moment.isoformat(" ", "minutes")


def _error(error: ConfigError) -> Finding:
    return Finding(True, error.where, error.problem, error.hint)


def _finding(where: object, problem: str, hint: str = "") -> Finding:
    return Finding(True, str(where), problem, hint)


def _warning(where: str, problem: str, hint: str = "") -> Finding:
    return Finding(False, where, problem, hint)
