"""Unexpected errors are reported with their class and retried. The job fails if they recur at the same step."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from app.training.data.detection import detect
from app.training.data.files import lines
from app.training.loop.progress import Progress, save
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.trainer import Broke, TrainEvent, TrainFailed
from tests.training import runs


def broken(run: Path, error: Exception) -> TrainEvent:
    """The last event of an attempt that fails with this error after the newest resume point."""
    return Session(run, runs.Heard(), lambda: False, Machine()).break_off(error)


def test_an_error_that_recurs_after_the_same_resume_point_fails_the_job(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    assert broken(run, KeyError("/secret/path")) == Broke("KeyError")
    assert broken(run, ValueError("x")) == Broke("ValueError")
    save(run / "resume", Progress(step=3), {}, {})
    assert broken(run, ValueError("x")) == Broke("ValueError")
    for point in (run / "resume").iterdir():
        os.utime(point, (0, 0))  # two saves may have the same time: file systems have coarse clocks
    save(run / "resume", Progress(step=3, evaluations=1), {}, {})
    assert broken(run, ValueError("x")) == Broke("ValueError")
    last = broken(run, ValueError("/secret/path"))
    assert isinstance(last, TrainFailed) and (last.code, last.param) == ("internal_error", None)
    assert "(ValueError)" in last.message and "/" not in last.message


def test_an_error_of_the_machine_is_retried_each_time(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    assert [broken(run, OSError("disk")) for _ in range(3)] == [Broke("OSError")] * 3


def test_the_program_reports_an_unexpected_error(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    (run / "prepared").mkdir()
    (run / "prepared" / "facts.json").write_text("torn")
    for kind in (Broke, TrainFailed):
        with runs.trainer(run) as process:
            *_, last = runs.events(process)
            assert (type(last), process.wait()) == (kind, 1)
    assert "JSONDecodeError" in str(last)


def test_an_error_of_the_disk_is_not_put_down_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\nx,y\n"))
    source = detect(tmp_path / "a.csv.gz", "a.csv.gz")

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr("gzip.GzipFile", fail)
    with pytest.raises(OSError, match="disk"):
        list(lines(source))


def test_a_base_directory_that_is_missing_is_not_put_down_to_the_base_version(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        runs.train(runs.make(tmp_path, "a.csv", runs.table(20), "base"))
