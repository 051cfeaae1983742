import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.training.baseline import process, store
from app.training.baseline.process import load_or_fit
from app.training.baseline.result import Fitted
from app.training.baseline.work import BaselineLimits
from app.training.failures import StopRequested


def _never() -> None:
    pass


def _fit(run: Path, max_seconds: float | None = None, check: Any = _never) -> Fitted:
    return load_or_fit(run, BaselineLimits(), 64, max_seconds, check)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The programs that have been started. Instead of fitting a baseline, each waits for the end of its input."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        waiting = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        started.append(subprocess.Popen(waiting, **options))
        return started[-1]

    class _Subprocess:
        Popen, PIPE, TimeoutExpired = staticmethod(start), subprocess.PIPE, subprocess.TimeoutExpired

    monkeypatch.setattr(process, "subprocess", _Subprocess)
    return started


def test_a_stop_ends_the_program(tmp_path: Path, programs: list[subprocess.Popen[bytes]]) -> None:
    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        _fit(tmp_path, check=stop)
    assert programs[0].returncode is not None
    assert store.load(tmp_path) is None  # the next attempt fits it again


def test_max_seconds_ends_the_program(tmp_path: Path, programs: list[subprocess.Popen[bytes]]) -> None:
    assert _fit(tmp_path, 0.01).reason == "it was not fitted within max_seconds (0.01)"
    assert programs[0].returncode is not None
    assert _fit(tmp_path).reason == "it was not fitted within max_seconds (0.01)"  # in all later attempts
    assert len(programs) == 1


def test_a_program_that_fails_leaves_a_reason(tmp_path: Path) -> None:
    assert _fit(tmp_path).reason == "it could not be fitted"  # there is no prepared data


def test_the_program_ends_with_the_trainer(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    os.mkfifo(tmp_path / "prepared" / "facts.json")  # reading it blocks
    options = ["--work=1", "--seed=1", "--context-length=1", "--watch-input"]
    command = [sys.executable, "-m", "app.training.baseline", str(tmp_path), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as program:
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(60) == 1
