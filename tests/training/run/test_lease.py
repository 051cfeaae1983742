"""The trainer program and its lease."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.wire.trainer import Metrics
from tests.training import runs

pytestmark = pytest.mark.long

SMALL = {"width": 16, "layers": 1, "eval_every": 40}


def test_the_program_exits_without_renewals_and_at_the_end_of_its_input(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(), training={**SMALL, "max_steps": 100_000})
    with runs.trainer(run, "--lease-seconds", "1.0") as process:
        assert process.wait(timeout=60) == 75
    with runs.trainer(run, "--lease-seconds", "60") as process:
        assert process.stdin is not None
        for event in runs.events(process):
            if isinstance(event, Metrics):
                process.stdin.write(b"renewed\n")
                process.stdin.close()
                break
        assert process.wait(timeout=60) == 75


def test_renewals_keep_the_program_alive_for_longer_than_the_lease(tmp_path: Path) -> None:
    run = runs.make(tmp_path / "run", "rows.csv", runs.table(), training={**SMALL, "max_steps": 50_000})
    lease, ended = 5.0, threading.Event()
    with runs.trainer(run, "--lease-seconds", str(lease)) as process, ThreadPoolExecutor(1) as threads:
        assert process.stdin is not None
        stdin = process.stdin

        def renew() -> None:
            while not ended.wait(0.2):
                stdin.write(b"\n")
                stdin.flush()

        renewing = threads.submit(renew)
        times: list[float] = []
        for event in runs.events(process):
            if isinstance(event, Metrics):
                times.append(time.monotonic())
                if times[-1] - times[0] > lease:
                    process.terminate()
        ended.set()
        assert process.wait() == 0
        assert times[-1] - times[0] > lease
        assert not renewing.exception() or isinstance(renewing.exception(), BrokenPipeError)
