"""What nobody foresaw: told by its kind, tried again, and ended where it comes again at the same place."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from app.training.data.files import detect, lines
from app.training.loop.progress import Progress, save
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.trainer import Broke, TrainEvent, TrainFailed
from tests.training import runs


def broken(run: Path, error: Exception) -> TrainEvent:
    """The last word of an attempt that went from the newest resume point to this error."""
    return Session(run, runs.Heard(), lambda: False, Machine()).break_off(error)


def test_a_fault_that_comes_again_at_the_same_place_ends_the_job(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    assert broken(run, KeyError("/secret/path")) == Broke("KeyError")
    assert broken(run, ValueError("x")) == Broke("ValueError")
    save(run / "resume", Progress(step=3), {}, {})
    assert broken(run, ValueError("x")) == Broke("ValueError")
    for point in (run / "resume").iterdir():
        os.utime(point, (0, 0))  # clocks of file systems may stand still for longer than a save takes
    save(run / "resume", Progress(step=3, evaluations=1), {}, {})
    assert broken(run, ValueError("x")) == Broke("ValueError")
    last = broken(run, ValueError("/secret/path"))
    assert isinstance(last, TrainFailed) and (last.code, last.param) == ("internal_error", None)
    assert "(ValueError)" in last.message and "/" not in last.message


def test_a_machine_that_lacks_something_is_tried_again(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    assert [broken(run, OSError("disk")) for _ in range(3)] == [Broke("OSError")] * 3


def test_the_program_says_what_it_broke_off_by(tmp_path: Path) -> None:
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    (run / "prepared").mkdir()
    (run / "prepared" / "facts.json").write_text("torn")
    for kind in (Broke, TrainFailed):
        with runs.trainer(run) as process:
            *_, last = runs.events(process)
            assert (type(last), process.wait()) == (kind, 1)
    assert "JSONDecodeError" in str(last)


def test_a_machine_that_cannot_read_is_not_the_file_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\nx,y\n"))
    source = detect(tmp_path / "a.csv.gz", "a.csv.gz")

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr("gzip.GzipFile", fail)
    with pytest.raises(OSError, match="disk"):
        list(lines(source))


def test_a_base_that_the_machine_cannot_read_is_not_the_base_s_fault(tmp_path: Path) -> None:
    """Nor is the machine's path told."""
    with pytest.raises(FileNotFoundError):
        runs.train(runs.make(tmp_path, "a.csv", runs.table(20), "base"))
