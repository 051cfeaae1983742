"""Measures the API process's processor time per request, in milliseconds and relative to that of an empty route.

Processor time is measured because the request rate also depends on other processes on a shared machine. The service and
an empty FastAPI route (`benchmarks/empty_server.py`) are measured in turn, and the result has the medians of times and
ratios over all rounds. The versions are small, so that the engine is not the bottleneck. Generates load with wrk or, if
it is not installed, with `benchmarks/load.py`. Usage: python -m benchmarks.cost [--rounds 5] [--seconds 4]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from benchmarks import checkpoints
from benchmarks.bench import RESULTS, ROOT, corpus
from benchmarks.load import load
from benchmarks.machine import describe
from benchmarks.service import Service, free_port, running, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
SCRIPT = """
local bodies, i = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
request = function()
  i = i %% #bodies + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[i])
end
"""
IDLE_SECONDS = 20


@dataclass(frozen=True)
class Case:
    """Requests to one URL of one process. If there are no bodies, they are GET requests."""

    name: str
    pid: int
    url: str
    connections: int
    bodies: Sequence[str] = ()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def send(case: Case, seconds: int, folder: Path) -> int:
    """Send requests for `seconds`, and return their number. Raises RuntimeError if a reply is an error."""
    if not shutil.which("wrk"):
        if not case.bodies:
            raise RuntimeError("wrk is needed for GET requests")
        figures = load(case.url, [body.encode() for body in case.bodies], case.connections, seconds, 0.0)
        if figures.errors:
            raise RuntimeError(f"{case.name}: {figures.errors} errors")
        return figures.requests
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", case.url]
    if case.bodies:
        (folder / "bodies").write_text("\n".join(case.bodies))
        (folder / "wrk.lua").write_text(SCRIPT % (folder / "bodies"))
        command += ["-s", str(folder / "wrk.lua")]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    if errors := [line.strip() for line in lines if "Non-2xx" in line]:
        raise RuntimeError(f"{case.name}: {errors[0]}")
    return next(int(line.split()[0]) for line in lines if "requests in" in line)


def milliseconds(case: Case, seconds: int, folder: Path) -> float:
    """Measure the processor time per request."""
    before = processor_seconds(case.pid)
    requests = send(case, seconds, folder)
    return 1000 * (processor_seconds(case.pid) - before) / requests


@contextmanager
def empty_route() -> Iterator[Case]:
    """Run a server with an empty route, and yield the requests to this route."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.empty_server", str(port)], cwd=ROOT)

    def up() -> bool:
        try:
            return httpx.get(url, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(up, 60, "the empty route")
        yield Case("empty FastAPI route", process.pid, url, 64)
    finally:
        process.terminate()
        process.wait(20)


def cases_of(service: Service, texts: list[str]) -> list[Case]:
    """Return the requests to measure."""
    pid = service.pid("api")
    assert pid is not None
    one = [json.dumps({"model": "small", "input": text}) for text in texts]
    many = [json.dumps({"model": "small", "input": texts[i : i + 32]}) for i in range(0, len(texts) - 32, 16)]
    classify, embed = f"{service.url}/v1/classify", f"{service.url}/v1/embeddings"
    return [
        Case("/livez", pid, f"{service.url}/livez", 64),
        Case("/v1/classify, one text", pid, classify, 64, one),
        Case("/v1/classify, one text, one connection", pid, classify, 1, one),
        Case("/v1/classify, 32 texts", pid, classify, 16, many),
        Case("/v1/embeddings, one text", pid, embed, 64, one),
    ]


def idle(service: Service) -> dict[str, float]:
    """Measure how much of a core, in percent, each program uses while there are no requests."""
    before = {p["program"]: processor_seconds(p["pid"]) for p in service.programs()}
    time.sleep(IDLE_SECONDS)
    return {
        p["program"]: 100 * (processor_seconds(p["pid"]) - before[p["program"]]) / IDLE_SECONDS
        for p in service.programs()
    }


def run(rounds: int, seconds: int) -> dict[str, object]:
    """Measure all cases. Returns the content of the result file."""
    shape = replace(checkpoints.SHAPES["classify-lstm"], layers=1, width=16)
    checkpoints.SHAPES["small"] = shape
    with tempfile.TemporaryDirectory() as name, empty_route() as empty:
        folder = Path(name)
        checkpoint = checkpoints.pack(checkpoints.write("small", corpus(), folder))
        with running(folder / "data") as service:
            service.import_checkpoint("small", checkpoint)
            resting = idle(service)
            cases = [empty, *cases_of(service, checkpoints.texts(corpus(), 512))]
            for case in cases:
                send(case, 1, folder)
            figures = [{case.name: milliseconds(case, seconds, folder) for case in cases} for _ in range(rounds)]
    rows = {
        case.name: {
            "ms": statistics.median(round_[case.name] for round_ in figures),
            "ratio": statistics.median(round_[case.name] / round_[empty.name] for round_ in figures),
        }
        for case in cases
    }
    return {"machine": describe(), "rounds": rounds, "rows": rows, "idle_percent": resting}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    result = run(options.rounds, options.seconds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
