"""`fieldgate server audit`: begin a trail's chain, and verify a trail."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fieldgate_core.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from fieldgate_server.trail_chain import Pair
    from fieldgate_server.trail_verify import Place, Report

EXIT_BROKEN = 1
_MOST_FAULTS = 50

_INIT = """\
Begins the chain of a trail: prints its first key, once, on stdout. Keep that
key away from this machine; whoever verifies the trail needs it, and nothing
here can print it again. What stays is FILE.chain (0600), which moves forward
with every line. Run it as the server's user, with the server stopped; `verify`
takes a key file that only its owner can read.

example:
  (umask 077; fieldgate server audit init audit.log > audit.key)
"""

_VERIFY = """\
Finds lines that were changed, are missing, stand in the wrong place or were cut
off, and names each by file, line and sequence. Files that were rotated away
from FILE (FILE.1, FILE.2, ..., or FILE-20261203 and the like by logrotate's
dateext) are read first, the oldest first; compressed ones must be unpacked
before. A cut at the very end shows only against a head, which the server sends
to the remote syslog each minute and shows as a metric.
Exit code 0: the trail is sound; 1: it is not; 2: it could not be verified.
"""

_VERIFY_EXAMPLES = """\
examples:
  fieldgate server audit verify audit.log --key audit.key
  fieldgate server audit verify audit.log --key - \\
      --head 4711:9c0f... < audit.key
"""


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `audit` with its two commands to those of `fieldgate server`."""
    audit = commands.add_parser(
        "audit",
        help="begin the trail's chain, or verify the trail",
        description="The trail's chain: begin it, and verify it later.",
    )
    kinds = audit.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    begin = kinds.add_parser(
        "init", help="begin the chain; prints its key once", description=_INIT, formatter_class=raw
    )
    begin.add_argument("file", type=Path, metavar="FILE", help="the trail, which need not be there yet")
    begin.set_defaults(carry_out=lambda options: begin_chain(options.file))
    check = kinds.add_parser(
        "verify", help="find what was changed", description=_VERIFY, epilog=_VERIFY_EXAMPLES, formatter_class=raw
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the trail")
    check.add_argument("--key", required=True, metavar="KEYFILE", help="what `audit init` printed; - reads stdin")
    check.add_argument("--head", metavar="SEQ:DIGEST", help="the newest head that was sent elsewhere")
    check.set_defaults(carry_out=lambda options: check_trail(options.file, options.key, options.head))


def begin_chain(trail: Path) -> int:
    """Make a chain's first key, print it, and keep only its state. Raises ConfigError."""
    from fieldgate_server import trail_state
    from fieldgate_server.trail_chain import BEGINNING, Link, Pair
    from fieldgate_server.trail_tail import tail

    with _nobody_writes(trail):
        try:
            sequence = tail(trail).sequence + 1
        except OSError as error:
            raise ConfigError(str(trail), f"cannot be read: {error.strerror}") from None
        key = secrets.token_bytes(32)
        trail_state.create(trail, Link(sequence, key, BEGINNING))
        try:
            sys.stdout.write(f"{Pair(sequence, key)}\n")
            sys.stdout.flush()
        except OSError as error:
            trail_state.path_of(trail).unlink()
            raise ConfigError("the key", f"could not be printed, and no chain was begun: {error.strerror}") from None
    sys.stderr.write(
        f"This is the key of {trail}. Keep it away from this machine: it is not stored here, and\n"
        "`fieldgate server audit verify` asks for it. The chain begins with the server's next start.\n"
    )
    return EXIT_OK


@contextlib.contextmanager
def _nobody_writes(trail: Path) -> Iterator[None]:
    """Hold off a server while the chain begins; the server holds the same lock while it runs."""
    try:
        stream = trail.open("rb")
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise ConfigError(str(trail), f"cannot be read: {error.strerror}") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(str(trail), "a server is writing this trail", hint="stop it first") from None
        yield


def check_trail(trail: Path, key_file: str, head: str | None) -> int:
    """Verify a trail and say what was found; gives the exit code. Raises ConfigError for what cannot be read."""
    from fieldgate_server.trail_chain import pair
    from fieldgate_server.trail_tail import compressed, older
    from fieldgate_server.trail_verify import verify

    first_key = _key(key_file)
    try:
        wanted = pair(head) if head is not None else None
    except ValueError as error:
        raise ConfigError("--head", str(error)) from None
    if not trail.exists():
        raise ConfigError(str(trail), "no such file")
    try:
        files = [*reversed(older(trail)), trail]
    except OSError as error:
        raise ConfigError(str(error.filename), f"cannot be read: {error.strerror}") from None
    report = verify(_lines(files), first_key, wanted)
    for path in compressed(trail):
        sys.stdout.write(f"{path.name} was not read: it is compressed, so unpack it and verify again\n")
    _say(report, first_key.sequence)
    return EXIT_BROKEN if report.faults else EXIT_OK


def _key(name: str) -> Pair:
    from fieldgate_server.trail_chain import pair

    where = "stdin" if name == "-" else name
    try:
        if name == "-":
            text = sys.stdin.read()
        else:
            with Path(name).open() as stream:
                found = os.fstat(stream.fileno()).st_mode
                if stat.S_ISREG(found) and found & (stat.S_IRWXG | stat.S_IRWXO):
                    raise ConfigError(where, "others can read this key", hint=f"chmod 600 {name}")
                text = stream.read()
        return pair(text)
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(where, "holds no key as `fieldgate server audit init` prints it") from None


def _lines(files: list[Path]) -> Iterator[tuple[Place, bytes]]:
    from fieldgate_server.trail_verify import Place

    for path in files:
        try:
            with path.open("rb") as stream:
                for number, data in enumerate(stream, 1):
                    # a file that a server left for a new one is as whole as it will be
                    ended = data if data.endswith(b"\n") or path == files[-1] else data + b"\n"
                    yield Place(path.name, number), ended
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None


def _say(report: Report, start: int) -> None:
    say = sys.stdout.write
    for fault in report.faults[:_MOST_FAULTS]:
        say(f"{fault}\n")
    if len(report.faults) > _MOST_FAULTS:
        say(f"and {len(report.faults) - _MOST_FAULTS} more\n")
    if report.unchained:
        say(f"{report.unchained} lines before the chain began: nothing proves them\n")
    if report.first > start:
        say(f"sequence {start} to {report.first - 1} is not in these files: rotated away, or taken away\n")
    if report.torn:
        say(f"{report.torn} torn lines, which the server closed off and said so\n")
    if report.faults and not report.chained:
        say("no line fits: is this the right key for this trail, and has the server started since `audit init`?\n")
    if report.faults:
        count = len(report.faults)
        say(f"broken: {count} {'fault' if count == 1 else 'faults'}, {report.chained} lines fit the chain\n")
    else:
        say(f"sound: {report.chained} lines, sequence {report.first} on; head {report.head}\n")
