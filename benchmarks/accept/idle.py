"""Measures the processor time of all programs of a service that has a loaded version but receives no requests."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from benchmarks import checkpoints
from benchmarks.accept.record import Record
from benchmarks.bench import corpus
from benchmarks.cost import processor_seconds
from benchmarks.service import Service, running

SETTLE_SECONDS, SECONDS = 20, 60
MOST = 1.0  # percent of one core


def shares(service: Service, seconds: float) -> dict[str, float]:
    """Measure how much of a core, in percent, the launcher and each of its programs use."""
    assert service.process is not None
    pids = {"launcher": service.process.pid} | {p["program"]: p["pid"] for p in service.programs()}
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(seconds)
    used = {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
    return {name: 100 * each / (time.monotonic() - began) for name, each in used.items()}


def check(record: Record, data: Path | None, folder: Path) -> None:
    checkpoints.SHAPES["small"] = replace(checkpoints.SHAPES["classify-lstm"], layers=1, width=16)
    checkpoint = checkpoints.pack(checkpoints.write("small", corpus(), folder))
    with running(folder / "data", ready_in=600) as service:
        service.import_checkpoint("small", checkpoint)
        service.classify("small", checkpoints.texts(corpus(), 1)[0])
        time.sleep(SETTLE_SECONDS)
        used = shares(service, SECONDS)
    record.notes["percent of a core"] = {name: round(share, 3) for name, share in used.items()}
    record.at_most("percent of a core that all programs use without requests", sum(used.values()), MOST)
