"""Checks types, style and import contracts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.accept.record import Record

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMMANDS = (["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"])


def check(record: Record, data: Path | None, folder: Path) -> None:
    for program, *arguments in COMMANDS:
        done = subprocess.run([str(BIN / program), *arguments], cwd=ROOT, capture_output=True, text=True)
        record.equal(" ".join([program, *arguments]), done.returncode, 0)
        if done.returncode:
            record.notes[program] = done.stdout[-2000:]
