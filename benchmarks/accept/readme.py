"""Runs the README's commands in order, in a fresh clone, as a newcomer would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.accept.record import Record

ROOT = Path(__file__).parents[2]


def check(record: Record, data: Path | None, folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "tests/test_readme.py", "--whole-readme", "-x", "-q"]
    command += ["-o", "faulthandler_timeout=0"]  # the run takes an hour, longer than the usual limit of a test
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    record.equal("the README's commands", done.returncode, 0)
    record.notes["output"] = done.stdout[-3000:]
