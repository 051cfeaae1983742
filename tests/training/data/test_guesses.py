"""If a table has no label column, a usual name is accepted. Other columns that look like labels are errors."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns
from tests.training.data.tables import write


def table(*columns: tuple[str, str], count: int = 40) -> str:
    """A CSV file with texts and further columns. Each pair has a column's name, and its values, separated by spaces."""
    lines = [",".join(["text", *(name for name, _ in columns)])]
    for n in range(count):
        cells = [values.split()[n % len(values.split())] for _, values in columns]
        lines.append(",".join([f"row {n}", *cells]))
    return "\n".join(lines)


MANY = " ".join(f"{n}.5" for n in range(40))


@pytest.mark.parametrize("name", ["category", "sentiment", "class", "target", "labels", "Sentiment", "intent"])
def test_a_column_with_a_usual_name_holds_the_labels(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table((name, "a b"), ("id", "1 2 3")))
    result = check_files(path)
    assert (result.task, result.error) == ("classification", None)
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "usual_name"]
    assert f"{name!r} is used for the labels; set task to generation" in remark["message"]
    assert result.report["ignored_columns"] == ["id"]
    assert check_files(path, path).report["rows"] == {"train": 40, "validation": 40}
    explicit = check_files(path, task="generation")
    assert explicit.task == "generation" and explicit.report["ignored_columns"] == [name, "id"]


@pytest.mark.parametrize(
    ("columns", "ways"),
    [
        ([("category", "a b"), ("sentiment", "x y")], ["label column, such as 'category'"]),
        (
            [("toxic", "0 1 1"), ("insult", "0 1")],
            ["if each label has its own column, set columns.label to the columns of zeros and ones, 'toxic,insult'"],
        ),
        ([("spam", "True False")], ["label column, such as 'spam'"]),
        ([("department", "sales it hr")], ["label column, such as 'department'"]),
        ([("Datum", "16.03.2026 17.03.2026"), ("Kategorie", "a b c")], ["label column, such as 'Kategorie'"]),
        ([("annotator", "bob cat"), ("choice", "good bad bad")], ["label column, such as 'choice'"]),
        ([("level", "1 2"), ("unit", "a b c d e"), ("kind", "a b c")], ["label column, such as 'kind'"]),
        ([("score", MANY)], ["its column, such as 'score'"]),
        ([("target", MANY), ("spam", "0 1")], ["its column, such as 'target'", "label column, such as 'spam'"]),
    ],
)
def test_what_looks_like_labels_is_asked_about(columns: list[tuple[str, str]], ways: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table(*columns))
    error = check_files(path).error
    assert error is not None and error.param == "columns.label"
    assert [way for way in [*ways, "set task to generation"] if way not in error.message] == [], error.message
    assert check_files(path, task="generation").error is None


@pytest.mark.parametrize(
    ("name", "values", "count"),
    [
        ("department", ["sales", "it"], 9000),  # the first 2,000 rows, and many more, have the same label
        ("spam", ["0", "1"], 9000),
        ("queue", [f"queue {n}" for n in range(350)], 20000),
    ],
)
def test_labels_are_recognised_in_a_sorted_table(name: str, values: list[str], count: int, tmp_path: Path) -> None:
    rows = (f"row {n},{values[n * len(values) // count]}" for n in range(count))
    path = write(tmp_path, "a.csv", f"text,{name}\n" + "\n".join(rows))
    error = check_files(path).error
    assert error is not None and f"the name of the label column, such as {name!r}" in error.message
    assert check_files(path, task="generation").error is None


def test_several_hundred_short_labels_are_recognised(tmp_path: Path) -> None:
    rows = (f"row {n},department {n % 300}" for n in range(3000))
    error = check_files(write(tmp_path, "a.csv", "text,department\n" + "\n".join(rows))).error
    assert error is not None and "the name of the label column, such as 'department'" in error.message


def test_many_distinct_sentences_are_no_labels(tmp_path: Path) -> None:
    rows = (f"row {n},the answer to question {n // 10}" for n in range(3000))
    assert check_files(write(tmp_path, "a.csv", "text,summary\n" + "\n".join(rows))).task == "generation"


@pytest.mark.parametrize(
    "columns", [[], [("id", " ".join(map(str, range(40))))], [("volume", MANY)], [("date", "1 1 1")]]
)
def test_other_columns_leave_a_text_to_write(columns: list[tuple[str, str]], tmp_path: Path) -> None:
    assert check_files(write(tmp_path, "a.csv", table(*columns))).task == "generation"


@pytest.mark.parametrize(
    ("first", "second", "task", "expected"),
    [
        ("0 1 1", "0 1", None, "multilabel"),
        ("0 1", "1 0", None, "classification"),
        ("false TRUE", "1.0 0.0", "classification", "classification"),
        ("0 1 1", "0 1", "multilabel", "multilabel"),
    ],
)
def test_columns_of_0_and_1_are_labels_where_the_request_names_them(
    first: str, second: str, task: str | None, expected: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", table(("toxic", first), ("insult", second)))
    result = check_files(path, path, task=task, columns=Columns(label="toxic, insult"))
    assert (result.task, result.error) == (expected, None)
    assert set(result.report["labels"]["train"]) == {"insult", "toxic"}


def test_columns_of_0_and_1_are_taken_for_the_task_multilabel(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table(("id", "1 2 3"), ("toxic", "0 1 1"), ("insult", "0 1")))
    result = check_files(path, task="multilabel")
    assert result.report["ignored_columns"] == ["id"] and set(result.report["labels"]["train"]) == {"insult", "toxic"}
    assert any(remark["kind"] == "one_hot" for remark in result.report["remarks"])


def sparse(name: str, ones: str, zeros: str, count: int = 40) -> str:
    """A table with a column for each of three labels. Each JSON object has only the key of its own label."""
    labels, lines = ("pos", "neg", "mixed"), []
    for n in range(count):
        if name.endswith(".jsonl"):
            lines.append(json.dumps({"text": f"film number {n}", labels[n % 3]: 1 if ones == "1" else ones}))
        else:
            cells = [ones if k in (n % 3, n % 5) else zeros for k in range(3)]
            lines.append(",".join([f"film number {n}", *cells]))
    header = [] if name.endswith(".jsonl") else ["text," + ",".join(labels)]
    return "\n".join([*header, *lines])


@pytest.mark.parametrize(
    ("name", "ones", "zeros"),
    [
        ("a.csv", "1", ""),
        ("a.csv", "x", ""),
        ("a.csv", "X", " "),
        ("a.csv", "✓", ""),
        ("a.csv", "TRUE", ""),
        ("a.csv", "yes", "no"),
        ("a.csv", "x", "-"),
        ("a.jsonl", "1", ""),
        ("a.jsonl", "x", ""),
    ],
)
def test_columns_of_ones_and_blanks_are_labels(name: str, ones: str, zeros: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, sparse(name, ones, zeros))
    error = check_files(path).error
    assert error is not None and error.param == "columns.label"
    listed = "'pos,neg,mixed'"
    assert f"set columns.label to the columns of zeros and ones, {listed}" in error.message
    assert "label column, such as" not in error.message  # this would train one of the labels
    named = check_files(path, columns=Columns(label="pos,neg,mixed"))
    assert named.error is None and set(named.report["labels"]["train"]) == {"pos", "neg", "mixed"}
    assert check_files(path, task="multilabel").report["labels"] == named.report["labels"]
    assert check_files(path, task="generation").error is None
    single = check_files(path, task="classification").error
    assert single is not None and f"the columns of zeros and ones, {listed}, if each belongs" in single.message


def test_a_single_column_of_ones_and_blanks_is_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,spam\n" + "\n".join(f"mail {n},{'1' * (n % 3 == 0)}" for n in range(40)))
    error = check_files(path).error
    assert error is not None and "such as 'spam'; write 0 in its empty cells" in error.message


def test_all_columns_of_0_and_1_are_suggested_if_the_text_has_another_name(tmp_path: Path) -> None:
    names = [f"label_{k}" for k in range(30)]
    rows = [",".join(["this is a comment", str(n), *[str(int(n % 30 == k)) for k in range(30)]]) for n in range(90)]
    rows = [f"{n},this is comment number {n}," + row.split(",", 2)[2] for n, row in enumerate(rows)]
    path = write(tmp_path, "a.csv", "id,comment_text," + ",".join(names) + "\n" + "\n".join(rows))
    error = check_files(path).error
    assert error is not None and "such as 'comment_text', and columns.label to the columns of zeros" in error.message
    assert ",".join(names) in error.message and "labels, such as" not in error.message
    result = check_files(path, columns=Columns(text="comment_text", label=",".join(names)))
    assert result.error is None and len(result.report["labels"]["train"]) == 30


def test_faults_in_columns_of_0_and_1_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table(("toxic", "0 1 2"), ("insult", "0 1")))
    error = check_files(path, columns=Columns(label="toxic,insult")).faults[0]
    assert error.message == (
        "a.csv, line 4, column 'toxic': expected 0 or 1 (also accepted: false and true, no and yes, n and y, f and t; "
        "- or an empty cell for 0; x or ✓ for 1), found '2'"
    )
    path = write(tmp_path, "b.csv", table(("toxic", "0 1 1"), ("insult", "0 1")))
    error = check_files(path, task="classification", columns=Columns(label="toxic,insult")).faults[0]
    assert "exactly one of the columns 'toxic', 'insult' must be 1, but 0 are" in error.message
    assert "column 'label'" not in error.message
    missing = check_files(path, columns=Columns(label="toxic,insults")).error
    assert missing is not None and "no column 'insults'" in missing.message and "'insult'?" in missing.message


REVIEWS = [(f"this is review number {n}", "good" if n % 2 else "bad") for n in range(40)]
TEXT, LABEL = "set columns.text to the name of the column that contains the texts, such as ", "such as "


@pytest.mark.parametrize(
    ("header", "rows", "parts"),
    [
        ("v1,v2", [(label, text) for text, label in REVIEWS], [TEXT + "'v2', and columns.label", LABEL + "'v1'"]),
        (
            "Datum,Notiz,Kategorie",
            [(f"1{n % 2}.03.2026", text, label) for n, (text, label) in enumerate(REVIEWS)],
            [TEXT + "'Notiz', and columns.label", LABEL + "'Kategorie'"],
        ),
        ("review,sentiment", REVIEWS, [TEXT + "'review'"]),
        ("good,this is the first row", [(b, a) for a, b in REVIEWS], ["if the first line is a row, begin the file"]),
        ("0,1", REVIEWS, ["if the first line is a row", "otherwise, " + TEXT + "'0'"]),
        ("this,that", [(a, f"so {a} it is") for a, _ in REVIEWS], ["rename these columns to prompt and comp"]),
    ],
)
def test_columns_that_look_like_texts_and_labels_are_suggested(
    header: str, rows: list[tuple[str, ...]], parts: list[str], tmp_path: Path
) -> None:
    content = "".join(f"{line}\n" for line in [header, *map(",".join, rows)])
    error = check_files(write(tmp_path, "a.csv", content)).error
    assert error is not None and error.param == "columns.text"
    assert [part for part in parts if part not in error.message] == [], error.message
    assert ("first line" in error.message) == header.startswith(("good", "0"))


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"id": 1, "data": {"text": "x"}, "annotations": []}, "export the project as JSON-MIN or CSV"),
        ({"doc": {"text": "x"}, "kind": "a"}, "the values in 'doc' are objects or lists"),
        ({"doc": ["a", "b"], "kind": "a"}, "write each row as one flat object"),
    ],
)
def test_nested_texts_are_told_how_to_be_written(row: dict[str, object], part: str, tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.jsonl", f"{json.dumps(row)}\n" * 20)).error
    assert error is not None and part in error.message


def test_lists_of_labels_are_suggested_before_other_columns(tmp_path: Path) -> None:
    rows = [{"text": text, "accept": [label], "answer": "reject" if n % 5 else "accept"} for n, (text, label) in
            enumerate(REVIEWS)]  # fmt: skip
    error = check_files(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))).error
    assert error is not None and "label column, such as 'accept'" in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cats", {"POS": 1, "NEG": 0}),
        ("cats", {"POS": 1.0, "NEG": 0.0}),
        ("cats", {"POS": True, "NEG": False}),
        ("cats", '{"POS": 1, "NEG": 0}'),
        ("annotations", {"choices": ["a", "b"]}),
        ("annotations", [{"choices": ["a"]}]),
        ("annotations", "['a', 'b']"),
    ],
)
def test_labels_in_objects_and_lists_are_asked_about(name: str, value: object, tmp_path: Path) -> None:
    others = {"POS": 0, "NEG": 1} if name == "cats" else ["b"]
    rows = [{"text": text, name: value if n % 2 else others} for n, (text, _) in enumerate(REVIEWS)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    error = check_files(path).error
    assert error is not None and f"label column, such as {name!r}" in error.message
    result = check_files(path, columns=Columns(label=name))
    assert result.error is None and sum(result.report["rows"].values()) == 40


def test_objects_that_are_the_same_in_all_rows_are_no_labels(tmp_path: Path) -> None:
    rows = [{"text": text, "span": {"start": 0, "end": 1}} for text, _ in REVIEWS]
    assert check_files(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))).task == "generation"


@pytest.mark.parametrize("as_text", [False, True])
def test_objects_of_scores_are_asked_about(as_text: bool, tmp_path: Path) -> None:
    scores = [{"POS": 0.25 * (n % 4), "NEG": 1 - 0.25 * (n % 4)} for n in range(40)]
    rows = [
        {"text": text, "cats": json.dumps(cats) if as_text else cats}
        for (text, _), cats in zip(REVIEWS, scores, strict=True)
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    error = check_files(path).error
    assert error is not None and error.param == "task"
    assert "'cats'" in error.message and "write the label of each row as text in a column named label" in error.message
    assert check_files(path, task="generation").error is None


def test_objects_of_zeros_and_ones_are_asked_about_in_parquet(tmp_path: Path) -> None:
    rows = [{"text": text, "cats": {"POS": n % 2, "NEG": 1 - n % 2}} for n, (text, _) in enumerate(REVIEWS)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    error = check_files(tmp_path / "a.parquet").error
    assert error is not None and "label column, such as 'cats'" in error.message
    result = check_files(tmp_path / "a.parquet", columns=Columns(label="cats"))
    assert set(result.report["labels"]["train"]) == {"NEG", "POS"}
