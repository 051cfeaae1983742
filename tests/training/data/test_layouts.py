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


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"text": "a", "label": "a"}, "'a' both as text and as label"),
        ({"text": "a", "value": "a"}, "'a' both as text and as value"),
        ({"text": "a", "text_pair": "a", "label": "b"}, "'a' both as text and as text_pair"),
        ({"text": "a", "label": "b", "split": "b"}, "'b' both as label and as split"),
        ({"text": "a", "label": "a,b"}, "'a' both as text and as label"),
        ({"series": "a", "time": "a", "label": "b"}, "'a' both as series and as time"),
        ({"series": "a", "features": "b,c", "label": "b"}, "'b' both as label and as features"),
    ],
)
def test_a_column_with_two_roles_is_refused(named: dict[str, str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "a,b,c\n1,0,0\n2,1,1\n")
    with pytest.raises(BadData, match=f"uses the column {message}; name another column in columns"):
        read(path, **named)


def test_the_time_of_a_step_may_be_one_of_its_features(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "a,b,c\n1,1,0\n2,1,1\n")
    assert read(path, series="a", time="b", features="b", label="c")[0].steps == ("b",)


def test_series_without_a_target_are_told_how_to_name_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "Pump,Time,Heat,State\n1,1,0,ok\n")
    with pytest.raises(BadData) as caught:
        read(path, series="Pump", time="Time")
    assert "no column to predict: set columns.label" in caught.value.message
    assert "or columns.value" in caught.value.message and "are 'Heat', 'State')" in caught.value.message
    with pytest.raises(BadData, match="contains numbers, but generation requires text"):
        read(path, "generation", series="Pump", time="Time")
