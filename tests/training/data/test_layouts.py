"""The names of the columns determine the task and the role of each column."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.failures import BadData
from tests.training.data.tables import assert_fault, read, write


def test_a_requested_column_that_is_missing_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "review,label\nx,y\n")
    with pytest.raises(BadData) as caught:
        read(path, text="reviews")
    assert caught.value.param == "columns.text"
    assert "no column 'reviews' (its columns are 'review', 'label'); did you mean 'review'?" in caught.value.message


@pytest.mark.parametrize("named", [{}, {"features": "t0,t1,t2"}])
def test_a_table_with_one_series_per_row_is_told_how_to_be_written(named: dict[str, str], tmp_path: Path) -> None:
    rows = "".join(f"{n},0.{n},1.{n},2.{n},{'ab'[n % 2]}\n" for n in range(1, 30))
    path = write(tmp_path, "a.csv", f"id,t0,t1,t2,label\n{rows}")
    with pytest.raises(BadData) as caught:
        read(path, **named)
    assert "write each step of a series as a row of its own" in caught.value.message
    assert caught.value.param == ("columns.features" if named else "columns.text")
    with pytest.raises(BadData, match="has no column 't9'"):
        read(path, features="t0,t9")


@pytest.mark.parametrize(
    ("header", "named", "task", "expected"),
    [
        ("text,label,value", {}, None, "classification"),
        ("text,label,score", {"value": "score"}, None, "regression"),
        ("text,value", {}, None, "regression"),
        ("text,other", {}, None, "generation"),
        ("text,label", {}, "multilabel", "multilabel"),
        ("Text,LABEL", {}, None, "classification"),
        ("series,Time,Label", {}, None, "classification"),
        ("text,label", {}, "generation", "generation"),
    ],
)
def test_columns_settle_the_task(
    header: str, named: dict[str, str], task: str | None, expected: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    assert read(path, task, **named)[0].task == expected


@pytest.mark.parametrize(
    ("header", "named", "task", "expected", "ignored"),
    [
        ("text,id", {}, None, "generation", ("id",)),
        ("text,volume", {}, None, "generation", ("volume",)),
        ("text,lable", {}, "generation", "generation", ("lable",)),
        ("text,lable", {"label": "lable"}, None, "classification", ()),
        ("text,label,values", {}, None, "classification", ("values",)),
        ("text,label,text_pair", {}, None, "classification", ()),
        ("text,label,text_pair", {}, "generation", "generation", ("label", "text_pair")),
        ("features,label,id", {}, None, "classification", ("id",)),
        ("series,time,value,label", {}, None, "classification", ()),
        ("series,x,y,label", {"features": "x,"}, None, "classification", ("y",)),
    ],
)
def test_columns_without_a_meaning_are_listed_as_ignored(
    header: str, named: dict[str, str], task: str | None, expected: str, ignored: tuple[str, ...], tmp_path: Path
) -> None:
    row = ",".join("[1]" if name == "features" else "1" for name in header.split(","))
    path = write(tmp_path, "a.csv", f"{header}\n{row}\n")
    named = {key: value.rstrip(",") for key, value in named.items()}
    layout, _ = read(path, task, **named)
    assert (layout.task, layout.ignored) == (expected, ignored)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "tekst,label\nx,y\n", ["no column 'text'", "'tekst'", "did you mean", "columns.text"]),
        ("a.csv", "text,lable\nx,y\n", ["column 'lable'", "did you mean 'label'?", "columns.label"]),
        ("a.csv", "text,Values\nx,1\n", ["column 'Values'", "did you mean 'value'?"]),
        ("a.csv", "text,label,splits\nx,y,train\n", ["column 'splits'", "did you mean 'split'?"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)
