"""JSON Lines: syntax errors are reported with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.tables import assert_fault, write


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": }\n', ["line 2", "column 10", "JSON"]),
        ("a.jsonl", "[1]\n", ["line 1", "expected a JSON object, found an array"]),
        ("a.jsonl", f'{{"text": "x", "value": {"9" * 5000}}}\n', ["line 1", "column 24", "5,000 digits"]),
        ("a.jsonl", f'{{"text": "x", "label": {"[" * 99_999}}}\n', ["line 1", "column 123", "nested too deeply"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)
