"""The launcher's list of running programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.launcher import programs


def test_a_listed_process_that_is_not_a_trainer_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "a.json").write_text(json.dumps({"pid": os.getpid(), "started_at": 0.0, "job": "a"}))
    (tmp_path / "trainers" / "b.json").write_text("{half")
    assert programs.Trainers(tmp_path).read() == []


def test_trainers_are_found_although_the_folder_was_empty_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_runs", lambda module, pid: True)
    trainers = programs.Trainers(tmp_path)
    assert trainers.read() == []
    (folder := tmp_path / "trainers").mkdir()
    os.utime(folder, ns=(1, 1))
    assert trainers.read() == []
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("an unchanged empty folder was read again"))
    assert trainers.read() == []
    monkeypatch.undo()
    monkeypatch.setattr(programs, "_runs", lambda module, pid: True)
    listed = folder / "a.json"
    listed.write_text("{half")
    assert trainers.read() == []
    listed.write_text(json.dumps({"pid": os.getpid(), "started_at": 0.0, "job": "a"}))  # the folder does not change
    assert [trainer.job for trainer in trainers.read()] == ["a"]
    listed.unlink()
    assert trainers.read() == []


def test_a_file_added_within_the_resolution_of_the_folders_time_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_runs", lambda module, pid: True)
    (folder := tmp_path / "trainers").mkdir()
    trainers = programs.Trainers(tmp_path)
    now = os.stat(folder).st_mtime_ns
    assert trainers.read() == []
    (folder / "a.json").write_text(json.dumps({"pid": os.getpid(), "started_at": 0.0, "job": "a"}))
    os.utime(folder, ns=(now, now))
    assert [trainer.job for trainer in trainers.read()] == ["a"]


def test_dead_programs_are_left_out_of_the_list(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    this_process = programs.Program("api", os.getpid(), 1.0)
    programs.write(tmp_path, [this_process, programs.Program("engine", dead.pid, 1.0)])
    assert programs.read(tmp_path) == [this_process]
    assert list(tmp_path.iterdir()) == [tmp_path / "programs.json"]


def test_the_url_is_that_of_the_running_api(tmp_path: Path) -> None:
    assert programs.api_url(tmp_path) is None
    running = programs.Program("engine", os.getpid(), 1.0)
    programs.write(tmp_path, [running, programs.Program("api", os.getpid(), 1.0, url="http://127.0.0.1:1234")])
    assert programs.api_url(tmp_path) == "http://127.0.0.1:1234"
    programs.write(tmp_path, [running])
    assert programs.api_url(tmp_path) is None
    (tmp_path / "programs.json").write_text("{half")
    assert programs.api_url(tmp_path) is None
