"""A table in a file that is named like plain text is recognised, or an error asks for its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns
from tests.training import runs
from tests.training.data.tables import write


def rows(delimiter: str, header: str = "text,label", count: int = 24) -> str:
    """A table whose cells are separated by `delimiter`."""
    lines = [header.replace(",", delimiter)]
    lines += [f"row {n}, with a comma{delimiter}{'ab'[n % 2]}" for n in range(count)]
    if delimiter == ",":
        lines = [header, *(f'"row {n}, quoted",{"ab"[n % 2]}' for n in range(count))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "content",
    [
        rows(";"),
        rows("\t"),
        rows("|"),
        rows(","),
        rows("\t", "Text,Label"),
        "Export 2024\n\n" + rows(";"),
        "# a comment, with a comma\n" + rows(","),
        rows(";", "Message;category".replace(";", ",")).replace("Message", "text"),
        "\n".join(f"__label__{'ab'[n % 2]} row {n}" for n in range(24)),
        "\n".join(f'{{"text": "row {n}", "label": "{"ab"[n % 2]}"}}' for n in range(24)),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.text"])
def test_a_table_beyond_doubt_is_read_as_one_and_told(content: str, name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, content)
    result = check_files(path)
    assert (result.error, result.task) == (None, "classification")
    assert sum(result.report["rows"].values()) == 24
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "read_as_table"]
    assert "set task to generation" in remark["message"] and remark["message"].startswith(f"{name} is read as")
    assert check_files(path, task="generation").report["characters"]["train"] == len(content)


@pytest.mark.parametrize(
    ("content", "evidence"),
    [
        ("\n".join(f"row {n}\t{'ab'[n % 2]}" for n in range(24)), "2 cells separated by tabs"),
        ("\n".join(f"row {n};{'ab'[n % 2]};x" for n in range(24)), "3 cells separated by ';'"),
        ("\n".join(f"{'ab'[n % 2]},row {n}" for n in range(24)), "2 cells separated by commas"),
        ("review|how\n" + "\n".join(f"row {n}|{n % 5}" for n in range(24)), "2 cells separated by '|'"),
        (
            "review,sentiment\n" + "\n".join(f'"row {n}, quoted",{"ab"[n % 2]}' for n in range(24)),
            "'review', 'sentiment'",
        ),
        ("text;department\n" + "\n".join(f"row; {n};{'ab'[n % 2]}" for n in range(24)), "'text', 'department'"),
    ],
)
def test_what_may_be_a_table_is_asked_about(content: str, evidence: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", content)
    error = check_files(path).error
    assert error is not None and error.param == "task"
    assert error.message.startswith("a.txt looks like a table: ") and evidence in error.message
    assert "set task to generation" in error.message
    assert check_files(path, task="generation").error is None


@pytest.mark.parametrize(
    "content",
    [
        runs.book(40),
        runs.book(40)[::-1],
        "one, two\nthree, four\n",  # too short to tell
        "text: a label\n" + runs.book(20),
        "\n".join(f"line {n}" + ", and more" * (n % 3) for n in range(40)),
        "\n\n".join(f"A paragraph, with a comma; number {n}.\nIts second line" for n in range(20)),
        "{\n" + runs.book(20),
    ],
)
def test_a_text_stays_a_text(content: str, tmp_path: Path) -> None:
    result = check_files(write(tmp_path, "a.txt", content))
    assert (result.task, result.error) == ("generation", None) and "remarks" not in result.report


@pytest.mark.parametrize("name", ["some-script", "some-script.py", "novel.1"])
def test_a_text_without_the_suffix_of_a_data_file_is_reported(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, runs.book(40))
    [remark] = check_files(path).report["remarks"]
    assert (remark["kind"], remark["level"]) == ("read_as_text", "warn")
    assert remark["message"].startswith(f"{name} is read as plain text for generation, because its name has none of")
    assert ".csv" in remark["message"]
    assert "remarks" not in check_files(path, task="generation").report


def test_a_text_that_is_too_short_to_learn_from_is_reported(tmp_path: Path) -> None:
    [(kind, message)] = check_files(write(tmp_path, "a.txt", "echo hello\n" * 9)).warnings
    assert kind == "short_text" and message.startswith("99 characters are too few to learn from")
    assert check_files(write(tmp_path, "b.txt", "echo hello\n" * 1000)).warnings == []
    for rows, kinds in ((30, ["short_text"]), (600, [])):
        content = "prompt,completion\n" + "".join(f"question {n},answer {n}\n" for n in range(rows))
        result = check_files(write(tmp_path, "c.csv", content))
        assert [kind for kind, _ in result.warnings] == kinds
        assert sum(result.report["characters"].values()) == len(content.replace(",", "").replace("\n", "")) - 16


def test_labels_of_fasttext_lines(tmp_path: Path) -> None:
    lines = ["__label__a __label__b both, x", "__label__a  spaced ", "__label__b,__label__c comma"] * 8
    result = check_files(write(tmp_path, "a.txt", "\n".join(lines)))
    assert result.task == "multilabel" and set(result.report["labels"]["train"]) == {"a", "b", "c"}
    broken = check_files(write(tmp_path, "b.txt", "\n".join([*lines, "__label__ none"])), task="multilabel")
    assert broken.error is None


@pytest.mark.parametrize(
    ("line", "every", "advice"),
    [
        ("text {n} __label__{label}", 1, "contain __label__ after a text; to classify, write the labels first"),
        ("text {n} __LABEL__{label}", 2, "contain __label__ after a text; to classify, write the labels first"),
        ("__label__{label} text {n}", 2, "begin with __label__; to classify, set task to classification"),
        ("__LABEL__{label} text {n}", 1, "begin with __LABEL__; to classify, write __label__ instead"),
        (" __class__{label} text {n}", 2, "begin with __class__; to classify, write __label__ instead"),
    ],
)
def test_lines_with_labels_are_asked_about(line: str, every: int, advice: str, tmp_path: Path) -> None:
    lines = [line.format(n=n, label="ab"[n % 3 % 2]) if n % every == 0 else f"text {n}" for n in range(24)]
    path = write(tmp_path, "a.txt", "\n".join(lines))
    error = check_files(path).error
    assert error is not None and error.param == "task" and advice in error.message
    assert "set task to generation" in error.message
    assert check_files(path, task="generation").error is None


def test_lines_without_a_label_are_faults_if_the_task_is_to_learn_labels(tmp_path: Path) -> None:
    lines = ["# a comment", *(f"__label__{'ab'[n % 2]} text {n}" for n in range(15)), *(f"text {n}" for n in range(4))]
    path = write(tmp_path, "a.txt", "\n".join(lines))
    result = check_files(path, task="classification")
    assert [fault.where[0] for fault in result.faults] == ["line 1", "line 17", "line 18", "line 19", "line 20"]
    assert check_files(path, task="classification", skip_bad_rows=0.3).error is None


@pytest.mark.parametrize("task", [None, "classification"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_text_is_a_table_if_its_first_line_names_the_columns_of_the_request(
    delimiter: str, task: str | None, tmp_path: Path
) -> None:
    rows = [delimiter.join(("review", "kind")), *(f"film {n}{delimiter}{'ab'[n % 2]}" for n in range(40))]
    path = write(tmp_path, "pipe", "\n".join(rows))
    result = check_files(path, task=task, columns=Columns(text="review", label="kind"))
    assert (result.task, result.error) == ("classification", None)
    assert any("contains the columns named in the request" in remark["message"] for remark in result.report["remarks"])
    wrong = check_files(path, columns=Columns(text="review", label="class")).error
    assert wrong is not None
