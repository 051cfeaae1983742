"""The run directory: invalid paths, the lock, and the events of earlier attempts."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from app.errors import CheckpointInvalid
from app.runs.run_directory import RunBusy, RunDirectory
from app.wire.trainer import Phase


def test_events_of_earlier_attempts_are_read_in_order_without_torn_lines(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    run.create()
    for attempt in (10, 2, 9):
        line = msgspec.json.encode(Phase(str(attempt)))
        run.events(attempt).write_bytes(line + b"\n" + line[:5])
    assert [event for batch in run.earlier_events(10) for event in batch] == [Phase("2"), Phase("9")]


def test_a_trainer_can_name_only_paths_inside_its_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    run.create()
    (run.path / "link").symlink_to("/etc")
    assert run.inside("checkpoints/step-3") == run.path.resolve() / "checkpoints/step-3"
    for path in ("../ftjob-2", "/etc/passwd", "link/passwd"):
        with pytest.raises(CheckpointInvalid):
            run.inside(path)


def test_the_lock_lasts_until_its_last_descriptor_is_closed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "ftjob-1")
    run.create()
    descriptor = run.lock(0.0, lambda: None)
    shared = os.dup(descriptor)  # as a child process inherits it
    os.close(descriptor)
    checks: list[int] = []
    with pytest.raises(RunBusy):
        run.lock(0.2, lambda: checks.append(1))
    assert checks
    os.close(shared)
    os.close(run.lock(0.0, lambda: None))


def test_a_run_shares_what_another_has_prepared_and_keeps_what_it_has(tmp_path: Path) -> None:
    parent, trial = RunDirectory(tmp_path, "ftjob-1"), RunDirectory(tmp_path, "ftjob-2")
    for run in (parent, trial):
        run.create()
    trial.share(parent)
    assert not (trial.path / "prepared").exists(), "the data may have been prepared on another machine"
    for name in ("prepared", "baseline"):
        (parent.path / name).mkdir()
        (parent.path / name / "file").write_text(name)
    (trial.path / "baseline").mkdir()
    (trial.path / ".prepared.shared").mkdir()  # left by a killed worker
    trial.share(parent)
    assert os.path.samefile(trial.path / "prepared/file", parent.path / "prepared/file")
    assert list((trial.path / "baseline").iterdir()) == []
    assert not (trial.path / ".prepared.shared").exists()
