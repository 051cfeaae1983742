"""The trainer's process: its environment and its supervision."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from app.runs.run_directory import RunDirectory
from app.runs.trainer import Trainer, environment
from app.worker import trainer_list
from app.worker.trainer_list import TrainerList
from tests.jobs.fixtures import until


def test_a_trainer_inherits_what_it_needs_and_no_secrets() -> None:
    needed = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONPATH": "/p", "OMP_NUM_THREADS": "1"}
    needed |= {"CUDA_VISIBLE_DEVICES": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_CACHE_DIR": "/t"}
    secrets = {"OSTINATO_API_KEYS": "a:b", "OSTINATO_DATABASE_URL": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    secrets |= {"PGPASSWORD": "z", "HF_TOKEN": "t", "DATABASE_URL": "x", "SSH_AUTH_SOCK": "s", "GITHUB_TOKEN": "g"}
    assert environment(needed | secrets) == needed


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
def test_processes_are_watched_without_proc_and_waitid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has neither /proc nor `waitid`."""
    monkeypatch.setattr(trainer_list, "PROCESSES", tmp_path / "no-proc")
    monkeypatch.delattr(os, "waitid")
    run = RunDirectory(tmp_path / "runs", "ftjob-1")
    run.create()
    program = (sys.executable, "-c", "import sys; sys.stdin.read()")
    trainer = Trainer(program, run.path, events=run.events(1), log=run.log, lease_seconds=9.0, about=("", "ftjob-1"))
    trainers = TrainerList(tmp_path / "trainers")
    with trainers.listed("ftjob-1", 1, trainer.pid):
        trainers.sweep()
        assert trainer.running() and [path.name for path in trainers.folder.iterdir()] == ["ftjob-1.json"]
        trainers.kill_stray("ftjob-1", Path("/no/such/run"))
        assert trainer.running()
        trainers.kill_stray("ftjob-1", run.path)
        until(lambda: not trainer.running())
        assert trainer.close() == -signal.SIGKILL
        trainers.sweep()
        assert list(trainers.folder.iterdir()) == []
