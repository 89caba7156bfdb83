"""The emergency lock on disk: it is there before it is told, and what can't be read counts as locked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fieldgate_core.errors import ConfigError
from fieldgate_server.lock import Lock


async def test_a_lock_is_found_again_with_its_holder_until_it_is_released(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    await lock.take("unix:joe")
    found = Lock(tmp_path)
    assert found.held is not None
    assert found.held == lock.held
    assert found.held.by == "unix:joe"
    await found.take("unix:jane")
    assert found.held == lock.held, "it stays with who has locked first"
    await found.release()
    assert [found.held, Lock(tmp_path).held] == [None, None]


@pytest.mark.parametrize("kind", ["empty", "junk", "list", "nothing in it", "folder", "dangling link"])
async def test_what_cannot_be_read_counts_as_locked(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "locked"
    if kind == "folder":
        file.mkdir()
    elif kind == "dangling link":
        file.symlink_to("nowhere")
    else:
        file.write_bytes({"empty": b"", "junk": b"\xff{", "list": b"[]", "nothing in it": b"{}"}[kind])
    lock = Lock(tmp_path)
    assert lock.held is not None
    assert lock.held.by is None
    if kind == "folder":
        with pytest.raises(ConfigError, match="cannot be removed"):
            await lock.release()
        assert lock.held is not None
    else:
        await lock.release()
        assert Lock(tmp_path).held is None


async def test_a_lock_that_cannot_be_kept_holds_all_the_same(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    (tmp_path / "locked.new").mkdir()
    with pytest.raises(ConfigError, match="only until the server ends"):
        await lock.take("unix:joe")
    assert lock.held is not None
    (tmp_path / "locked.new").rmdir()
    await lock.take("unix:joe")
    assert Lock(tmp_path).held == lock.held


async def test_without_a_folder_there_is_no_lock() -> None:
    lock = Lock()
    with pytest.raises(ConfigError, match="state"):
        await lock.take("unix:joe")
    assert lock.held is None


def test_a_folder_that_is_missing_or_that_others_can_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Lock(tmp_path / "missing")
    tmp_path.chmod(tmp_path.stat().st_mode | stat.S_IWOTH)
    with pytest.raises(ConfigError, match="others can write"):
        Lock(tmp_path)
