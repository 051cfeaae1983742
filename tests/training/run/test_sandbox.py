"""A process in the sandbox cannot reach the data folder, other processes or the network, but can do its work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app
import models
from app.training.run import sandbox

pytestmark = pytest.mark.skipif(sandbox._version() < sandbox.OLDEST, reason="this system has no Landlock")

PROGRAM = """
import json, os, socket, subprocess, sys, tempfile
from pathlib import Path
from app.training.run import limits, sandbox

run, port, outside = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
limits._drop_privileges()
assert sandbox.enter(run)
data = run.parents[1]
attempts = {
    "read the database": lambda: (data / "ostinato.db").read_bytes(),
    "list the runs": lambda: os.listdir(run.parent),
    "write beside the run": lambda: (run.parent / "other").write_text("x"),
    "let a shell write": lambda: subprocess.check_call(f"echo x > {data}/other", shell=True),
    "read the home": lambda: os.listdir(Path("~").expanduser()),
    "connect": lambda: socket.create_connection(("127.0.0.1", port)).close(),
    "signal": lambda: os.kill(outside, 0),
    "read the environment": lambda: Path(f"/proc/{outside}/environ").read_bytes(),
    "read its inputs": lambda: (run / "inputs" / "a.csv").read_bytes(),
    "move a file": lambda: (run / "inputs" / "a.csv").rename(run / "b.csv"),
    "link a file": lambda: os.link(run / "b.csv", run / "inputs" / "c.csv"),
    "write a temporary file": lambda: tempfile.TemporaryFile().write(b"x"),
    "start Python": lambda: subprocess.check_call([sys.executable, "-c", "import numpy, torch, sklearn.linear_model"]),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except (PermissionError, subprocess.CalledProcessError):
        pass
print(json.dumps(done))
"""
WORK = ["read its inputs", "move a file", "link a file", "write a temporary file", "start Python"]


def test_only_the_work_can_be_done(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "job"
    (run / "inputs").mkdir(parents=True)
    (run / "inputs" / "a.csv").write_text("a\n")
    (tmp_path / "ostinato.db").write_text("rows")
    # The home is a folder of this test, so that the packages of a user are not in it.
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-c", PROGRAM, str(run), str(port), str(os.getpid())]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == WORK
    assert not (tmp_path / "other").exists() and not (tmp_path / "runs" / "other").exists()


def test_programs_find_the_packages_in_a_folder_that_contains_the_data_folder(tmp_path: Path) -> None:
    """By default, the data folder is in the folder from which the service was installed and started."""
    run = tmp_path / "ostinato-data" / "runs" / "job"
    run.mkdir(parents=True)
    (tmp_path / "ostinato-data" / "ostinato.db").write_text("rows")
    for package in (app, models):
        [path] = package.__path__
        (tmp_path / package.__name__).symlink_to(path)
    script = (
        "import subprocess, sys; from pathlib import Path; from app.training.run import sandbox; "
        "assert sandbox.enter(Path(sys.argv[1])); "
        "subprocess.check_call([sys.executable, '-S', '-c', 'import app.training.baseline, models']); "
        "print(Path(sys.argv[1]).parents[1].joinpath('ostinato.db').read_text())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script, str(run)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "PermissionError" in done.stderr and "ostinato.db" in done.stderr, done.stderr
    assert "CalledProcessError" not in done.stderr


def test_a_gpu_that_may_be_used_stays_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "CUDA", tmp_path)  # as if there were a GPU
    assert not sandbox.enter(tmp_path, "auto")


@pytest.mark.parametrize("version", [0, 1])
def test_a_system_without_it_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    monkeypatch.setattr(sandbox, "_version", lambda: version)
    assert not sandbox.enter(tmp_path)
