"""Levels that several processes change at the same time."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.shared_levels import Level, SharedLevels

ROOT = Path(__file__).parents[1]
COUNT = """
import sys; from pathlib import Path; from app.shared_levels import Level, SharedLevels
levels = SharedLevels(Path(sys.argv[1]), 2, "x", patience=60.0)
for _ in range(500):
    with levels.locked(1):
        levels[1] = Level(levels[1].left + 1, 1.0)
"""
HOLD = """
import sys; from pathlib import Path; from app.shared_levels import Level, SharedLevels
with SharedLevels(Path(sys.argv[1]), 2, "x").locked(1):
    print("held", flush=True); sys.stdin.read()
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_no_change_is_lost_between_processes(tmp_path: Path) -> None:
    levels = SharedLevels(tmp_path, 2, "x")
    levels[1] = Level(0.0, 1.0)
    others = [start(COUNT, tmp_path) for _ in range(3)]
    for other in others:
        other.communicate()
        assert other.returncode == 0
    assert levels[1] == Level(1500.0, 1.0) and levels[0] is None
    levels.close()


def test_a_process_that_keeps_the_lock_stops_no_other(tmp_path: Path) -> None:
    levels = SharedLevels(tmp_path, 2, "x")
    with start(HOLD, tmp_path) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with levels.locked(1):
            levels[1] = Level(5.0, 1.0)
        other.communicate()
    assert levels[1] == Level(5.0, 1.0)
    levels.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"short", *(struct.pack("<dd", *pair) for pair in [(0.0, 1e300), (float("nan"), 1.0), (-1.0, 1.0)])],
)
def test_a_file_that_was_damaged_is_repaired_from_the_level_of_this_process(content: bytes, tmp_path: Path) -> None:
    levels = SharedLevels(tmp_path, 1, "x")
    level = Level(5.0, time.monotonic())
    [file] = tmp_path.iterdir()
    file.write_bytes(content)
    assert levels[0] is None
    levels[0] = level
    file.write_bytes(content)
    assert levels[0] == level
    levels[0] = level
    other = SharedLevels(tmp_path, 1, "x")
    assert other[0] == level
    other.close()
    levels.close()


def test_each_process_counts_for_itself_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    levels = SharedLevels(tmp_path, 1, "x")
    monkeypatch.setattr(os, "pwrite", full)
    for left in (5.0, 4.0):
        with levels.locked(0):
            levels[0] = Level(left, 1.0)
        assert levels[0] == Level(left, 1.0)
    assert len(caplog.records) == 1 and "counts the use of quotas separately: No space left" in caplog.text
    monkeypatch.setattr(os, "posix_fallocate", full)
    SharedLevels(tmp_path, 1, "y")
    assert len(caplog.records) == 2


def test_a_system_that_cannot_reserve_space_shares_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS does not have `posix_fallocate`."""
    monkeypatch.delattr(os, "posix_fallocate")
    levels, others = SharedLevels(tmp_path, 2, "x"), SharedLevels(tmp_path, 2, "x")
    levels[1] = Level(5.0, 1.0)
    assert others[1] == Level(5.0, 1.0) and others[0] is None
    levels.close()
    others.close()


def test_only_files_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    levels = [SharedLevels(tmp_path, 1, contents) for contents in "xy"]
    assert len(list(tmp_path.iterdir())) == 2
    for file in tmp_path.iterdir():
        os.utime(file, (0, 0))
    levels.append(SharedLevels(tmp_path, 1, "z"))
    assert len(list(tmp_path.iterdir())) == 1
    for each in levels:
        each.close()
