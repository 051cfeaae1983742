"""Rows of every shape are read as examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.example import Turn
from app.training.failures import BadData
from tests.training.data.tables import read, write


def test_completions_are_learned_and_prompts_are_not(tmp_path: Path) -> None:
    layout, examples = read(
        write(tmp_path, "b.jsonl", '{"prompt": "", "completion": "b"}\n{"prompt": "a", "completion": ""}')
    )
    assert layout.task == "generation"
    assert examples[0].turns == (Turn("", False, False), Turn("b", True, True))
    assert [example.usable for example in examples] == [True, False]


def test_features_are_read_from_json_and_parquet(tmp_path: Path) -> None:
    rows = [{"features": [[1.0, 2.0], [3.0, 4.0]], "value": 0.5}, {"features": [[5.0, 6.0]], "value": 1.5}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    for name in ("a.parquet", "a.jsonl"):
        layout, examples = read(tmp_path / name)
        assert layout.task == "regression"
        assert [(e.features_TF.tolist(), e.value) for e in examples if e.features_TF is not None] == [
            ([[1.0, 2.0], [3.0, 4.0]], 0.5),
            ([[5.0, 6.0]], 1.5),
        ]


@pytest.mark.parametrize(
    ("row", "key", "task"),
    [
        ({"text": "x", "label": "y"}, "split", None),
        ({"text": "x", "label": "y"}, "text_pair", None),
        ({"text": "x"}, "label", None),
        ({"text": "x"}, "value", None),
        ({"text": "x", "label": "y"}, "value", ""),
        ({"text": "x"}, "label", "generation"),
        ({"text": "x"}, "text_pair", "generation"),
        ({"prompt": "x", "completion": "y"}, "split", None),
        ({"series": "x", "height": 1, "label": "y"}, "time", None),
    ],
)
def test_a_key_that_first_appears_late_is_reported(
    row: dict[str, Any], key: str, task: str | None, tmp_path: Path
) -> None:
    """Unless it would have no meaning in the first records either."""
    rows = [*[row] * 120, row | {key: 1}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    if task is not None:
        read(path, task or None)
        return
    message = f"a.jsonl, line 121, column '{key}': no earlier record has the key '{key}'; add it to every record, or to"
    with pytest.raises(BadData, match=message):
        read(path)
