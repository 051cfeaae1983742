"""A short run of schemathesis over the OpenAPI document; `make accept CHECKS=fuzz` is the long one.

The short run leaves out two phases. `coverage` would take four fifths of its time for requests that are the same in
every run, and `stateful` needs many requests before it finds anything. The long run has all phases.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.clients.fuzzing import TOOLS, fuzz

HOOKS = Path(__file__).parent / "fuzz_hooks.py"


@pytest.mark.e2e
def test_generated_requests_are_answered_as_documented() -> None:
    if not (TOOLS / "schemathesis").exists():
        pytest.skip("schemathesis is missing: `make tools` installs it")
    result = fuzz(examples=4, phases="examples,fuzzing")
    assert result.findings == [], result.output
    assert result.cases >= 700


def test_each_exception_has_a_reason() -> None:
    calls = [node for node in ast.walk(ast.parse(HOOKS.read_text())) if isinstance(node, ast.Call)]
    entries = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Reason"]
    assert len(entries) > 20 and all(len(entry) == 3 and ast.literal_eval(entry[2]) for entry in entries)
