"""Measures every figure that the documentation promises, and writes one result file for each check (`make accept`).

Usage: python -m benchmarks.accept [CHECK …]   (default: all checks; ACCEPT_DATA is the folder of the data sets)
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.accept.record import Record, Skip
from benchmarks.machine import describe

RESULTS = Path(__file__).parents[1] / "results"
CHECKS = {  # name -> module with `check(record, data, folder)`
    "static": "benchmarks.accept.static",
    "fuzz": "benchmarks.accept.fuzz",
    "fuzz_raw": "benchmarks.accept.fuzz_raw",
    "clients": "benchmarks.accept.clients",
    "dialects": "benchmarks.accept.dialects",
    "load_generator": "benchmarks.accept.load_generator",
    "console": "benchmarks.accept.console",
    "readme": "benchmarks.accept.readme",
    "newcomer": "benchmarks.accept.newcomer",
    "demo": "benchmarks.accept.demo",
    "sentiment": "benchmarks.accept.sentiment",
    "baselines": "benchmarks.accept.baselines",
    "calibration": "benchmarks.accept.calibration",
    "text": "benchmarks.accept.text",
    "large": "benchmarks.accept.large",
    "crowd": "benchmarks.accept.crowd",
    "kills": "benchmarks.accept.kills",
    "auto_kills": "benchmarks.accept.auto_kills",
    "batches": "benchmarks.accept.batches",
    "compose": "benchmarks.accept.compose",
    "bench": "benchmarks.accept.speed",
    "digits": "benchmarks.accept.digits",
    "languages": "benchmarks.accept.languages",
    "scores": "benchmarks.accept.scores",
    "estimates": "benchmarks.accept.estimates",
    "abuse": "benchmarks.accept.abuse",
    "faults": "benchmarks.accept.faults",
    "idle": "benchmarks.accept.idle",
}


def data_folder() -> Path | None:
    path = os.environ.get("ACCEPT_DATA")
    return Path(path) if path else None


def run(name: str) -> str:
    """Run one check and write its result file. Returns the outcome in one word."""
    print(f"{name}:", flush=True)
    record, started = Record(), time.time()
    try:
        with tempfile.TemporaryDirectory(prefix="ostinato-accept-") as folder:
            importlib.import_module(CHECKS[name]).check(record, data_folder(), Path(folder))
    except Skip as reason:
        print(f"  skipped: {reason}", flush=True)
        return "skipped"
    except Exception as error:
        record.add("completed", f"{type(error).__name__}: {error}"[:2000], "no exception", False)
    result = {"check": name, "seconds": round(time.time() - started, 1), "machine": describe(), **record.to_dict()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"accept-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return "met" if record.met else "MISSED"


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"unknown check {', '.join(unknown)}; the checks are {', '.join(CHECKS)}")
        return 2
    outcomes = {name: run(name) for name in names or CHECKS}
    for name, outcome in outcomes.items():
        print(f"{name:12} {outcome}")
    return int("MISSED" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
