"""Class names that Hugging Face's `datasets` writes to the schema of a Parquet file become labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.failures import BadData
from tests.training.data.tables import read, remarks_of

CLASSES = {"names": ["bill", "delivery"], "_type": "ClassLabel"}


def parquet(folder: Path, labels: list[Any], feature: Any, **columns: list[Any]) -> Path:
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature, "text": {"dtype": "string"}}}})}
    table = pa.table({"text": [f"x{i}" for i in range(len(labels))], "label": labels, **columns})
    pq.write_table(table.replace_schema_metadata(metadata), folder / "a.parquet")
    return folder / "a.parquet"


def test_numbers_become_names(tmp_path: Path) -> None:
    layout, examples = read(parquet(tmp_path, [1, 0, 1], CLASSES))
    assert [example.labels for example in examples] == [("delivery",), ("bill",), ("delivery",)]
    assert "class names of the schema: bill, delivery" in remarks_of(layout.source)["class_names"]


@pytest.mark.parametrize(
    "feature",
    [{"feature": CLASSES, "_type": "Sequence"}, {"feature": CLASSES, "length": -1, "_type": "List"}, [CLASSES]],
)
def test_numbers_in_lists_become_names(feature: Any, tmp_path: Path) -> None:
    path = parquet(tmp_path, [[0, 1], [], [1]], feature)
    assert [example.labels for example in read(path, "multilabel")[1]] == [("bill", "delivery"), (), ("delivery",)]


def test_numbers_that_are_values_stay_numbers(tmp_path: Path) -> None:
    path = parquet(tmp_path, [1, 0], CLASSES)
    assert [example.value for example in read(path, "regression", value="label")[1]] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("number", "message"),
    [(2, "row 2, column 'label': the class 2 has no name; the schema has 2 names"), (-1, "row 2, column 'label'")],
)
def test_numbers_without_a_name_are_faults_of_their_row(number: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=message):
        read(parquet(tmp_path, [0, number], CLASSES))


@pytest.mark.parametrize("feature", [{"dtype": "int64", "_type": "Value"}, None, {"names": 3, "_type": "ClassLabel"}])
def test_columns_without_names_stay_as_they_are(feature: Any, tmp_path: Path) -> None:
    assert [example.labels for example in read(parquet(tmp_path, [1, 0], feature))[1]] == [("1",), ("0",)]
