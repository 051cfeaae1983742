"""The training file and the validation file must have the same columns, and differences are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.training.data.checking import DataReport, check_files
from app.wire.training_options import Columns
from tests.training.data.tables import write

PAIRS = "text,text_pair,label\n" + "".join(f"a {n},b {n},{'pq'[n % 2]}\n" for n in range(12))
TEXTS = "text,label\n" + "".join(f"a {n},{'pq'[n % 2]}\n" for n in range(12))
STEPS = "series,time,x,label\n" + "".join(f"{'abcd'[n // 3]},{n},{n},{'pq'[n // 3 % 2]}\n" for n in range(12))
UNTIMED = "series,x,label\n" + "".join(f"{'abcd'[n // 3]},{n},{'pq'[n // 3 % 2]}\n" for n in range(12))


def check(folder: Path, training: str, validation: str) -> DataReport:
    return check_files(write(folder, "a.csv", training), write(folder, "b.csv", validation))


@pytest.mark.parametrize(
    ("training", "validation", "message"),
    [
        (PAIRS, TEXTS, "b.csv has no column 'text_pair', but a.csv has one"),
        (TEXTS, PAIRS, "b.csv has the column 'text_pair', but a.csv does not"),
        (STEPS, UNTIMED, "b.csv has no column 'time', but a.csv has one"),
    ],
)
def test_both_files_must_have_the_columns_that_are_inputs(
    training: str, validation: str, message: str, tmp_path: Path
) -> None:
    error = check(tmp_path, training, validation).error
    assert error is not None and message in error.message, error


def test_columns_of_the_validation_file_that_are_not_used_are_told(tmp_path: Path) -> None:
    result = check(tmp_path, TEXTS, "text,label,note\nx,p,1\ny,q,2\n")
    assert result.error is None and result.report["ignored_columns"] == ["note"]


def test_train_rows_in_a_validation_file_are_told(tmp_path: Path) -> None:
    result = check(tmp_path, TEXTS, "text,label,split\nx,p,train\ny,q,\nz,q,test\n")
    assert result.report["rows"] == {"train": 12, "validation": 2, "test": 1}
    [message] = [remark["message"] for remark in result.report["remarks"] if remark["kind"] == "split_overruled"]
    assert message == (
        "b.csv, line 2: 1 row is marked as a training row, but is used as a validation row, because it is in the "
        "validation file"
    )


@pytest.mark.parametrize(
    ("table", "columns", "roles"),
    [
        ("id,text,label\n1,a,x\n2,b,y\n3,c,x\n", {}, {"text": "text", "label": "label"}),
        ("body,text_pair,stars\na,c,1\nb,d,2\ne,f,1\n", {"text": "body", "label": "stars"},
         {"text": "body", "text_pair": "text_pair", "label": "stars"}),
        ("text,p,q,rest\na,1,0,z\nb,0,1,z\nc,1,1,z\n", {"label": "p,q"}, {"text": "text", "label": ["p", "q"]}),
        ("series,x,y,value\na,1,2,1\na,1,3,1\nb,2,2,4\nc,2,2,7\n", {},
         {"series": "series", "value": "value", "features": ["x", "y"]}),
    ],
)  # fmt: skip
def test_the_report_names_the_column_of_each_role(
    tmp_path: Path, table: str, columns: dict[str, str], roles: dict[str, Any]
) -> None:
    (tmp_path / "a.csv").write_text(table)
    result = check_files(tmp_path / "a.csv", columns=Columns(**columns))
    assert result.error is None and result.report["columns"] == roles
