"""Checks that the service is as fast, relative to plain FastAPI + torch, as promised in `benchmarks/bench.py`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.accept.record import Record
from benchmarks.bench import RESULTS, ROOT, run
from benchmarks.report import write_performance


def check(record: Record, data: Path | None, folder: Path) -> None:
    result = run(argparse.Namespace(rounds=3, seconds=8.0, dtype="float32", only=""))
    (RESULTS / "bench-float32.json").write_text(json.dumps(result, indent=1) + "\n")
    write_performance(RESULTS, ROOT / "docs" / "performance.md")
    for case in result["cases"]:
        record.at_least(f"{case['model']} at {case['connections']}: ratio", case["ratio"], case["promised"])
        record.equal(f"{case['model']} at {case['connections']}: errors", case["errors"], 0)
