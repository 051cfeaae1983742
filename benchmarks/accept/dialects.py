"""Measures how much the other HTTP dialects slow down native routes, compared with an API process without them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks import checkpoints
from benchmarks.accept.record import Record
from benchmarks.bench import ROOT, corpus
from benchmarks.cost import Case, milliseconds, send
from benchmarks.service import Service, free_port, running, wait_until

ROUNDS, SECONDS, STARTS = 60, 1, 3  # many short rounds, so that other work affects both processes equally
API = """
import sys
from types import SimpleNamespace

if sys.argv[1] == "native":
    from app.api.native.dialect import DIALECT

    constants = ("DIALECT", "DECISIONS", "SYSTEM_ONE", "TEI")
    for name in ("decisions", "huggingface", "ollama", "openai", "openinference", "torchserve"):
        empty = SimpleNamespace(**dict.fromkeys(constants))
        sys.modules[f"app.api.{name}.dialect"] = empty  # so that the real module is not imported
    from app.api import application

    application.DIALECTS = (DIALECT,)
from app.api.__main__ import main

sys.exit(main())
"""


def check(record: Record, data: Path | None, folder: Path) -> None:
    checkpoints.SHAPES["small"] = replace(checkpoints.SHAPES["classify-lstm"], layers=1, width=16)
    checkpoint = checkpoints.pack(checkpoints.write("small", corpus(), folder))
    bodies = [json.dumps({"model": "small", "input": text}) for text in checkpoints.texts(corpus(), 512)]
    with running(folder / "data") as service:
        service.import_checkpoint("small", checkpoint)
        sizes = {kind: statistics.median(_size(service, kind) for _ in range(STARTS)) for kind in ("native", "all")}
        with api(service, "native", bodies) as alone, api(service, "all", bodies) as together:
            for case in (alone, together):
                send(case, SECONDS, folder)
            rounds = [_round(alone, together, folder, number) for number in range(ROUNDS)]
    ratio = statistics.median(second / first for first, second in rounds)
    record.at_most("processor time of a classification with all dialects, as a multiple", ratio, 1.03)
    record.at_most("memory of the API process for other dialects, in MiB", sizes["all"] - sizes["native"], 10)
    record.notes |= {"milliseconds": rounds, "MiB": sizes}


def _round(alone: Case, together: Case, folder: Path, number: int) -> list[float]:
    """Return the milliseconds per request of both processes. The order of the measurements alternates."""
    order = (alone, together) if number % 2 else (together, alone)
    measured = {case.name: milliseconds(case, SECONDS, folder) for case in order}
    return [measured[alone.name], measured[together.name]]


def _size(service: Service, kind: str) -> float:
    """Return the memory of an API process that has just started, in MiB."""
    with api(service, kind, []) as case:
        status = Path(f"/proc/{case.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


@contextmanager
def api(service: Service, kind: str, bodies: list[str]) -> Iterator[Case]:
    """Run another API process of the service. `kind` is "native" or "all"."""
    port = free_port()
    settings = {"OSTINATO_PORT": str(port), "OSTINATO_DATA_DIR": str(service.data)}
    with (service.data / "api.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", API, kind], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError((service.data / "api.log").read_text())
        try:
            return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(ready, 60, "the API process")
        yield Case(kind, process.pid, f"{url}/v1/classify", 64, bodies)
    finally:
        process.terminate()
        process.wait(30)
