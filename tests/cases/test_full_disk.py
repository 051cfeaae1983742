"""A disk that fills up during a training run, with the whole service and the command line."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import runs

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).parent / "full_disk.sh"
PATIENCE = 1800.0  # seconds; three trainers start, one after the other


# The disk is mounted in a separate namespace. When its last process ends, the file system disappears.
NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


def mounts(folder: Path) -> bool:
    """Whether this user may mount a file system."""
    mount = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_job_waits_for_the_disk_says_so_and_goes_on(tmp_path: Path) -> None:
    if not mounts(tmp_path):
        pytest.skip("this user cannot mount a file system")
    program = tmp_path / "ostinato"
    program.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m app.cli "$@"\n')
    program.chmod(0o755)
    table = tmp_path / "rows.csv"
    table.write_text(runs.table(80))
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path), "PORT": str(free_port()),
    }  # fmt: skip
    done = subprocess.run(
        [*NAMESPACE, "bash", str(SCRIPT), str(table)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    before, _, after = done.stdout.partition("now there is room again")
    assert "uploaded tmp" in before  # 24 MB on a disk of 30 MB
    assert "The disk of the worker's machine is full: the job waits and continues when the problem is solved" in before
    assert before.count("started\n") == 2, before  # the service's "training started", and one of the job
    assert "full:1 is ready" in after and "fail" not in done.stdout, done.stdout
