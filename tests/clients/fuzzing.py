"""Sends requests that schemathesis generates from the OpenAPI document to a service, and counts the findings.

`python -m tests.clients.fuzzing --examples 100` prints a JSON object with the number of cases and the findings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.clients.service import serving

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "build" / "tools" / "bin"  # `make tools`
KEY = "me:0123456789abcdef"
REPLACED = "positive_data_acceptance,negative_data_rejection"  # checks that fuzz_hooks.py replaces
CASES = re.compile(r"^  (\d[\d,]*) generated", re.MULTILINE)


@dataclass
class Findings:
    """The result of a run: the number of requests and the text of each finding."""

    cases: int
    findings: list[str]
    output: str


def fuzz(examples: int, phases: str, seed: int = 1) -> Findings:
    """Run every check of schemathesis with at most `examples` random cases for each operation and phase."""
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch), KEY) as api:
        command = [str(TOOLS / "schemathesis"), "run", f"{api.url}/openapi.json"]
        command += ["--checks", "all", "--exclude-checks", REPLACED, "--continue-on-failure", "--no-color"]
        command += ["--max-examples", str(examples), "--phases", phases, "--seed", str(seed)]
        # A NUL character is refused, because PostgreSQL cannot store it, and the schema cannot say so for each string.
        command += ["--generation-allow-x00", "false", "--generation-database", "none", "--warnings", "off"]
        command += ["--request-timeout", "300"]  # in seconds; a request may ask for a million tokens
        command += ["-H", f"Authorization: Bearer {KEY.partition(':')[2]}", "--suppress-health-check", "all"]
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.clients.fuzz_hooks", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    match = CASES.search(output)
    cases = int(match[1].replace(",", "")) if match else 0
    findings = re.findall(r"^- (ST\d+ .*|.*finding.*)$", output, re.MULTILINE)
    if done.returncode and not findings:
        findings = [f"schemathesis ended with status {done.returncode}"]
    return Findings(cases, findings, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--seed", type=int, default=1)
    print(json.dumps(asdict(fuzz(**vars(parser.parse_args())))))
