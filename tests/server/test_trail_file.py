"""The trail on disk: it goes on over restarts, kills, rotation and renames, and what was torn off is closed off."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldgate_core.cli import main
from fieldgate_core.errors import ConfigError
from fieldgate_server import trail_file
from fieldgate_server.audit import Audit, AuditError
from fieldgate_server.trail_settings import AuditSettings

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def key(file: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Begin the chain by the real command, and keep its key where a person would not."""
    return begin(file, capsys)


def begin(file: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["server", "audit", "init", str(file)]) == 0
    kept = file.with_name("kept.key")
    kept.touch(0o600)
    kept.write_text(capsys.readouterr().out)
    return kept


@pytest.fixture
def verify(file: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verify by the real command: its exit code and what it says."""

    def run(key: Path, *more: str) -> tuple[int, str]:
        code = main(["server", "audit", "verify", str(file), "--key", str(key), *more])
        return code, capsys.readouterr().out

    return run


def write(file: Path, *events: str, **settings: object) -> str:
    """Open the trail, write lines and close it; gives the head."""
    audit = Audit(AuditSettings(file, **settings))  # type: ignore[arg-type]
    for event in events:
        audit.line(event)
    audit.close()
    sequence, digest = audit.head
    return f"{sequence}:{digest}"


def sequences(file: Path) -> list[int]:
    return [int(number) for number in re.findall(r" seq=(\d+) ", file.read_text())]


def test_the_sequence_goes_on_over_restarts(file: Path) -> None:
    write(file, "a", "b")
    write(file, "c")
    assert sequences(file) == [1, 2, 3]
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 clock=(synced|unsynced|unknown) seq=1 ", file.read_text()
    )


def test_a_chain_goes_on_over_restarts(file: Path, key: Path, verify: Verify) -> None:
    write(file, "a", "b")
    head = write(file, "c")
    code, said = verify(key, "--head", head)
    assert (code, said) == (0, f"sound: 3 lines, sequence 1 on; head {head}\n")
    file.write_text(file.read_text().replace("event=b", "event=x"))
    code, said = verify(key)
    assert code == 1
    assert "audit.log:2: sequence 2: changed\n" in said


def test_a_chain_may_begin_behind_lines_that_were_not_chained(
    file: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, "a", "b")
    key = begin(file, capsys)
    assert key.read_text().startswith("3:")
    write(file, "c")
    code, said = verify(key)
    assert (code, said.splitlines()[0]) == (0, "2 lines before the chain began: nothing proves them")
    assert sequences(file) == [1, 2, 3]


def test_the_key_is_printed_once_and_only_its_successor_stays(file: Path, key: Path) -> None:
    state = file.with_name("audit.log.chain")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    write(file, "a")
    first = key.read_text().strip().partition(":")[2]
    assert first not in state.read_text()
    assert all(first not in path.read_text() for path in file.parent.iterdir() if path != key)
    before = state.read_bytes()
    assert main(["server", "audit", "init", str(file)]) == 2, "never over another"
    assert state.read_bytes() == before


def test_a_running_server_holds_off_another_and_a_new_chain(file: Path, tmp_path: Path, key: Path) -> None:
    audit = Audit(file)
    audit.line("a")
    with pytest.raises(ConfigError, match="another server writes this trail"):
        Audit(file)
    audit.close()
    Audit(file).close()
    other = tmp_path / "plain.log"
    plain = Audit(other)
    plain.line("a")
    assert main(["server", "audit", "init", str(other)]) == 2
    plain.close()
    assert main(["server", "audit", "init", str(other)]) == 0


@pytest.mark.parametrize("behind", [1, 2, 5])
def test_a_state_that_is_behind_catches_up(file: Path, key: Path, verify: Verify, behind: int) -> None:
    """A kill between a line and its state leaves the state behind."""
    state = file.with_name("audit.log.chain")
    write(file, *"a" * (6 - behind))
    old = state.read_bytes()
    write(file, *"b" * behind)
    state.write_bytes(old)
    head = write(file, "c")
    assert sequences(file) == [1, 2, 3, 4, 5, 6, 7]
    assert verify(key, "--head", head)[0] == 0


@pytest.mark.parametrize("left", [1, 40, 100, -2, -1])
def test_a_torn_last_line_is_closed_off_and_said(file: Path, key: Path, verify: Verify, left: int) -> None:
    state = file.with_name("audit.log.chain")
    write(file, "a", "b")
    old, size = state.read_bytes(), file.stat().st_size
    write(file, "c")
    state.write_bytes(old)
    last = file.read_bytes()[size:]
    os.truncate(file, size + (left if left > 0 else len(last) + left))
    if left != -1:
        assert verify(key)[0] == 1, "until the server has said that it was torn"
    write(file, "d")
    code, said = verify(key)
    assert code == 0, said
    # one of which only the newline is missing is whole
    assert ("event=trail state=continued" in file.read_text()) is (left != -1)
    assert ("1 torn lines" in said) is (left != -1)
    write(file, "e")
    assert verify(key)[0] == 0
    if left != -1:
        lines = file.read_bytes().splitlines(keepends=True)
        piece = lines.pop(2)
        file.write_bytes(b"".join(lines))
        code, said = verify(key)
        assert code == 1
        assert f"audit.log:3: sequence 3: {len(piece) - 1} torn bytes that stood before it are missing" in said


@pytest.mark.parametrize("short_of", [1, 2, 70])
def test_a_line_that_is_torn_while_the_server_runs_is_closed_off(
    file: Path, key: Path, verify: Verify, short_of: int
) -> None:
    """A real short write: the file may grow to a limit within the second line."""
    audit = Audit(file)
    audit.line("a")
    size = file.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size - short_of, limits[1]))
        # one of which only the newline is missing is written
        with contextlib.nullcontext() if short_of == 1 else pytest.raises(AuditError):
            audit.line("b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    audit.line("c")
    audit.close()
    code, said = verify(key)
    assert code == 0, said
    assert bool(re.search(r"event=b mac=[0-9a-f]{64}\n", file.read_text())) is (short_of == 1)


def test_an_unchained_torn_line_is_closed_off_and_said(file: Path) -> None:
    write(file, "a", "b")
    os.truncate(file, file.stat().st_size - 5)
    write(file, "c")
    assert sequences(file) == [1, 2, 2, 3]
    assert " event=trail state=continued torn=" in file.read_text().splitlines()[2]


def test_lines_that_were_cut_before_a_start_are_said_and_found(file: Path, key: Path, verify: Verify) -> None:
    write(file, "a", "b", "c")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:1]))
    write(file, "d")
    assert "state=continued previous=" in file.read_text()
    assert "end=unexpected" in file.read_text()
    code, said = verify(key)
    assert code == 1
    assert "audit.log:2: sequence 2: missing, and all up to sequence 3" in said


@pytest.mark.parametrize("spoil", ["mode", "bytes", "short"])
def test_a_state_that_is_not_in_order_is_refused(file: Path, key: Path, spoil: str) -> None:
    state = file.with_name("audit.log.chain")
    if spoil == "mode":
        state.chmod(0o640)
    elif spoil == "bytes":
        state.write_bytes(state.read_bytes().replace(b"1 0", b"1 9"))
    else:
        os.truncate(state, 100)
    with pytest.raises(ConfigError):
        Audit(file)


# rotation


def test_a_new_file_begins_by_size_and_the_chain_goes_on(file: Path, key: Path, verify: Verify) -> None:
    head = write(file, *"abcdefghij", rotate_bytes=600, keep=20)
    assert len(list(file.parent.glob("audit.log.*"))) > 3
    code, said = verify(key, "--head", head)
    assert (code, len(said.splitlines())) == (0, 1), said
    older = file.with_name("audit.log.2")
    older.write_bytes(older.read_bytes().replace(b"event=trail", b"event=trial"))
    assert "audit.log.2:1: sequence" in verify(key)[1]


def test_only_so_many_files_stay_and_what_is_left_is_sound(file: Path, key: Path, verify: Verify) -> None:
    head = write(file, *"abcdefghijklmnop", rotate_bytes=600, keep=2)
    assert {path.name for path in file.parent.glob("audit.log*")} == {
        "audit.log",
        "audit.log.1",
        "audit.log.2",
        "audit.log.chain",
    }
    code, said = verify(key, "--head", head)
    assert code == 0
    assert "is not in these files: rotated away, or taken away" in said
    file.with_name("audit.log.1").unlink()
    assert verify(key)[0] == 1


def test_files_that_the_server_did_not_number_are_left_alone(file: Path) -> None:
    others = [file.with_name(f"audit.log.{end}") for end in ("20261203", "1001", "2026-12-03", "3.gz")]
    for path in others:
        path.write_text("somebody else's\n")
    write(file, *"abcdefghijklmnop", rotate_bytes=300, keep=2)
    assert file.with_name("audit.log.2").exists()
    assert [path.read_text() for path in others] == ["somebody else's\n"] * 4


def test_the_trail_says_which_older_files_were_deleted(file: Path, key: Path, verify: Verify) -> None:
    write(file, *"abcdefghij", rotate_bytes=600, keep=5)
    assert file.with_name("audit.log.3").exists()
    assert "state=deleted" not in "".join(path.read_text() for path in file.parent.glob("audit.log*"))
    above = sorted(int(path.suffix[1:]) for path in file.parent.glob("audit.log.[0-9]") if path.suffix > ".2")
    head = write(file, *"klm", rotate_bytes=600, keep=2)
    found = "".join(file.with_name(name).read_text() for name in ("audit.log.2", "audit.log.1", "audit.log"))
    said = re.findall(r" event=trail state=deleted file=audit\.log\.(\d+) mac=", found)
    assert [int(number) for number in said[: len(above) + 1]] == [*reversed(above), 2]
    assert not any(file.with_name(f"audit.log.{number}").exists() for number in above)
    assert verify(key, "--head", head)[0] == 0


class Killed(BaseException):
    """Stands for a kill: nothing after it runs."""


@pytest.mark.parametrize("survived", range(5))
def test_a_kill_between_any_two_steps_of_a_rotation_breaks_nothing(
    file: Path, key: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    settings = AuditSettings(file, rotate_bytes=600, keep=3)
    write(file, *"abcdefgh", rotate_bytes=600, keep=3)
    trail = trail_file.TrailFile(settings)
    left = survived

    def step(real: Callable[..., object]) -> Callable[..., object]:
        def perhaps(*args: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(*args)

        return perhaps

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", step(Path.rename))
        patched.setattr(trail_file, "_open", step(trail_file._open))
        patched.setattr(trail_file.TrailFile, "_compose", step(trail_file.TrailFile._compose))
        with contextlib.suppress(Killed):
            while True:
                trail.append([(0.0, "event=x")])
    trail.close()
    head = write(file, *"klmn", rotate_bytes=600, keep=3)
    code, said = verify(key, "--head", head)
    assert code == 0, said


def test_a_file_that_was_renamed_by_others_is_left_alone(
    file: Path, key: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(file)
    audit.line("a")
    file.rename(file.with_name("audit.log.1"))
    audit.reopen()
    audit.line("b")
    file.rename(file.with_name("audit.log.2"))
    file.with_name("audit.log.1").rename(file.with_name("audit.log.3"))
    # without being told: it looks by itself
    monkeypatch.setattr(trail_file, "_LOOK_EVERY", 0.0)
    audit.line("c")
    audit.close()
    assert "event=c" in file.read_text()
    assert "state=new-file" in file.read_text().splitlines()[0]
    head = audit.head
    assert verify(key, "--head", f"{head[0]}:{head[1]}")[0] == 0


DATES = {"dateext": "-2026120", "with a point": ".2026120", "dateformat": "-2026-12-0"}


@pytest.mark.parametrize("dates", DATES)
def test_files_that_logrotate_has_named_by_date_are_read_in_their_order(
    file: Path, key: Path, verify: Verify, dates: str
) -> None:
    for day in (1, 2, 3):
        write(file, "a", "b")
        file.rename(file.with_name(f"audit.log{DATES[dates]}{day}"))
    head = write(file, "c")
    code, said = verify(key, "--head", head)
    assert (code, len(said.splitlines())) == (0, 1), said
    assert "end=unexpected" not in file.read_text()
    middle = file.with_name(f"audit.log{DATES[dates]}2")
    middle.write_bytes(middle.read_bytes().replace(b"event=b", b"event=x"))
    code, said = verify(key, "--head", head)
    assert code == 1
    assert f"{middle.name}:3: sequence 5: changed" in said


def test_files_by_date_and_by_number_follow_each_other_by_their_lines(file: Path, key: Path, verify: Verify) -> None:
    for name in ("audit.log-20261203", "audit.log.2", "audit.log-20261201", "audit.log.1"):
        write(file, "a", "b")
        file.rename(file.with_name(name))
    assert verify(key, "--head", write(file, "c"))[0] == 0


def test_without_a_chain_the_sequence_goes_on_behind_a_file_with_a_date(file: Path) -> None:
    for day in ("20261203", "20261204"):
        write(file, "a", "b")
        file.rename(file.with_name(f"audit.log-{day}"))
    write(file, "c")
    assert sequences(file) == [5]


def test_a_compressed_file_is_said_not_to_be_read(file: Path, key: Path, verify: Verify) -> None:
    write(file, "a", "b")
    file.rename(file.with_name("audit.log-20261203.gz"))
    write(file, "c")
    code, said = verify(key)
    assert code == 0
    assert said.startswith("audit.log-20261203.gz was not read: it is compressed")
    assert "sequence 1 to 2 is not in these files" in said


# what it knows of the time


LINE = "{} clock=synced seq={} event={}\n"


@pytest.mark.parametrize(
    ("lines", "latest"),
    [
        ([], 0.0),
        (["2030-01-01T00:00:00.000+00:00 a", "2029-01-01T00:00:00.000+00:00 b"], 1893456000.0),
        (["2030-01-01T00:00:00.000+00:00 a", "2029-01-01T00:00:00.500+00:00 server state=started"], 1861920000.5),
        (
            [
                "2001-01-01T00:00:00.000+00:00 server state=started latest=2030-01-01T00:00:00.000+00:00",
                "2001-01-01T00:00:01.000+00:00 b",
            ],
            1893456000.0,
        ),
        (["2030-01-01T00:00:00.000+00:00 refused who=latest=2099-01-01T00:00:00.000+00:00"], 1893456000.0),
        (["2030-99-99T00:00:00.000+00:00 a"], 0.0),
    ],
)
def test_the_latest_time_is_that_since_the_last_start_and_what_it_knew(
    file: Path, lines: list[str], latest: float
) -> None:
    told = [line.partition(" ") for line in lines]
    file.write_text("".join(LINE.format(at, number, event) for number, (at, _, event) in enumerate(told, 1)) + "torn")
    audit = Audit(file)
    assert audit.latest == latest
    audit.close()


# the commands


def test_the_key_may_come_from_stdin_and_is_not_for_others_to_read(
    file: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, "a")
    with key.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert main(["server", "audit", "verify", str(file), "--key", "-"]) == 0
    key.chmod(0o644)
    assert main(["server", "audit", "verify", str(file), "--key", str(key)]) == 2


@pytest.mark.parametrize("spoil", ["no trail", "no key", "not a key", "not a head"])
def test_what_cannot_be_verified_is_exit_code_2(file: Path, key: Path, spoil: str) -> None:
    write(file, "a")
    if spoil == "not a key":
        key.write_text("1:abc")
    words = ["--key", "/nowhere/key" if spoil == "no key" else str(key)]
    words += ["--head", "1:zz"] if spoil == "not a head" else []
    trail = file.with_name("none.log") if spoil == "no trail" else file
    assert main(["server", "audit", "verify", str(trail), *words]) == 2


def test_without_a_chain_the_log_names_the_command_that_begins_it(
    file: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, "a")
    assert f"is not chained: `fieldgate server audit init {file}`" in caplog.text
    caplog.clear()
    begin(file, capsys)
    write(file, "a")
    assert "not chained" not in caplog.text


def test_where_no_line_fits_the_key_itself_is_asked_about(file: Path, key: Path, verify: Verify) -> None:
    write(file, "a", "b")
    other = file.with_name("other.key")
    other.touch(0o600)
    other.write_text(f"{key.read_text().partition(':')[0]}:{64 * '0'}\n")
    code, said = verify(other)
    assert code == 1
    assert "no line fits: is this the right key for this trail" in said
    file.write_text(file.read_text().replace("event=b", "event=c"))
    code, said = verify(key)
    assert code == 1
    assert "right key" not in said
    assert "broken: 1 fault, " in said
