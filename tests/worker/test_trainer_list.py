"""The list of trainers that run on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from app.worker.trainer_list import TrainerList


def test_a_sweep_removes_only_the_entries_of_ended_processes(tmp_path: Path) -> None:
    trainers = TrainerList(tmp_path)
    with trainers.listed("ftjob-1", 1, os.getpid()):
        (tmp_path / "ftjob-2.json").write_text('{"pid": 4194999}')
        (tmp_path / "ftjob-3.json").write_text("torn")
        trainers.sweep()
        assert [path.name for path in tmp_path.iterdir()] == ["ftjob-1.json"]
        trainers.kill_stray("ftjob-1", Path("/no/such/run"))  # this process is not the trainer of that run
    assert list(tmp_path.iterdir()) == []


def test_the_entry_of_a_later_attempt_stays(tmp_path: Path) -> None:
    with TrainerList(tmp_path).listed("ftjob-1", 1, os.getpid()):
        (tmp_path / "ftjob-1.json").write_text('{"pid": 1, "attempt": 2}')
    assert (tmp_path / "ftjob-1.json").exists()


def test_the_entry_of_a_trial_names_its_job(tmp_path: Path) -> None:
    with TrainerList(tmp_path).listed("ftjob-2", 1, os.getpid(), "ftjob-1"):
        assert json.loads((tmp_path / "ftjob-2.json").read_text())["parent"] == "ftjob-1"
    with TrainerList(tmp_path).listed("ftjob-1", 1, os.getpid()):
        assert "parent" not in json.loads((tmp_path / "ftjob-1.json").read_text())
