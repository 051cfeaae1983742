"""Runs clients generated from the OpenAPI document, and thousands of requests that schemathesis generates from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.accept.record import Record, Skip

ROOT = Path(__file__).parents[2]
CASES, EXAMPLES = 20_000, 220  # the minimum number of requests in total; random requests per operation and phase


def check(record: Record, data: Path | None, folder: Path) -> None:
    if not (ROOT / "build" / "tools" / "bin" / "schemathesis").exists():
        raise Skip("schemathesis is missing: `make tools` installs it")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "tests/clients", "-k", "client", "-rs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    record.equal("generated clients in Python and TypeScript", done.returncode, 0)
    record.notes["clients"] = done.stdout[-3000:]
    command = [sys.executable, "-m", "tests.clients.fuzzing", "--examples", str(EXAMPLES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    result = json.loads(done.stdout)
    record.at_least("requests made from the document", result["cases"], CASES)
    record.equal("findings", result["findings"], [])
    if result["findings"]:
        record.notes["output"] = result["output"][-20_000:]
