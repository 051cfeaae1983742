"""The batch program as a process: how it ends when it is asked to stop, and when a disk fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from app.disk_errors import EXIT_CODE
from app.runs.batch_spool import SpoolReader
from app.settings import REFUSED, Settings
from app.wire.batch import ANSWERS, INPUT, SPEC, BatchSpec
from app.wire.trainer import DataFile
from tests.jobs.batch_fixtures import ENDPOINT, line_of
from tests.jobs.fixtures import ROOT
from tests.serving import Shelf, wait_until

UNREADABLE = Path("/proc/self/mem")  # whose first bytes cannot be read (EIO), as those of a failing disk


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with a request that is refused without an engine, and one that waits for an engine."""
    run = tmp_path / "run"
    (run / "inputs").mkdir(parents=True)
    (run / INPUT).write_text(line_of(0, {"model": "mood", "inputs": "x"}) + line_of(1, {"model": "mood", "input": "x"}))
    (run / SPEC).write_bytes(msgspec.json.encode(BatchSpec(ENDPOINT, "local", DataFile(INPUT, "x", ""))))
    return run


@contextmanager
def started(run: Path, settings: Settings, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")}
    env = kept | {"OSTINATO_DATA_DIR": settings.data_dir, "PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-m", "app.batches", str(run)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
        try:
            yield program
        finally:
            program.kill()


def finish(program: subprocess.Popen[bytes]) -> str:
    """Wait for the end of the program, and return its log."""
    return program.communicate(timeout=60)[1].decode()


def test_sigterm_ends_the_program_with_0_and_leaves_the_open_request(
    shelf: Shelf, settings: Settings, run: Path
) -> None:
    shelf.classifier("mood")
    with started(run, settings) as program:
        wait_until(lambda: program.poll() is not None or SpoolReader(run / ANSWERS).read().answers, 60)
        program.send_signal(signal.SIGTERM)
        log = finish(program)
    assert program.returncode == 0 and "Traceback" not in log, log
    first, second = SpoolReader(run / ANSWERS).read().in_order(2)
    assert first is not None and second is None
    assert (first[0], json.loads(first[1])["response"]["status_code"]) == (False, 400)


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs a file that cannot be read")
def test_an_error_of_the_disk_ends_the_program_with_74(shelf: Shelf, settings: Settings, run: Path) -> None:
    (run / INPUT).unlink()
    (run / INPUT).symlink_to(UNREADABLE)
    with started(run, settings) as program:
        log = finish(program)
    assert program.returncode == EXIT_CODE and "Input/output error" in log, log


def test_another_error_of_the_system_ends_the_program_with_1(shelf: Shelf, settings: Settings, run: Path) -> None:
    (run / INPUT).unlink()
    with started(run, settings) as program:
        log = finish(program)
    assert program.returncode == 1 and "No such file" in log, log


def test_a_setting_that_is_not_valid_is_refused(shelf: Shelf, settings: Settings, run: Path) -> None:
    with started(run, settings, OSTINATO_LOG_LEVEL="loud") as program:
        log = finish(program)
    assert program.returncode == REFUSED and log.startswith("ostinato batch program: OSTINATO_LOG_LEVEL"), log
