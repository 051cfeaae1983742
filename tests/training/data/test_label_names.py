"""The spelling and the order of labels, and the remarks about unusual labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import DataReport, check_files
from app.training.data.label_names import in_order
from tests.training.data.scans import scan_labels
from tests.training.data.tables import write


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (["10", "9", "1", "0"], ["0", "1", "9", "10"]),
        (["1.5", "-2", "10", "-10", "+3"], ["-10", "-2", "1.5", "+3", "10"]),
        (["2", "02", "1"], ["1", "02", "2"]),
        (["b", "10", "9"], ["10", "9", "b"]),
        (["b", "B", "a"], ["B", "a", "b"]),
        ([], []),
    ],
)
def test_numbers_are_ordered_as_numbers(labels: list[str], ordered: list[str]) -> None:
    assert in_order(labels) == ordered


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["spam", "spam\u200b", "ham"], ["ham", "spam"]),
        (["\ufeffspam", "spam", "ham"], ["ham", "spam"]),
        (["caf\u00e9", "cafe\u0301", "bar"], ["bar", "caf\u00e9"]),
        (["1", "1.0", "2", "10.0"], ["1", "2", "10"]),
        (["2.5", "2.50", "3.00"], ["2.5", "3"]),
        (["1", "1.0", "NaN"], ["1", "NaN"]),
        (["true", "True", "FALSE"], ["false", "true"]),
        (["soft\u00adware", "hard"], ["hard", "software"]),
    ],
)
def test_spellings_of_one_label_are_joined_and_told(labels: list[str], merged: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, labels)
    assert result.labels == merged
    remark = remarks["labels_merged"]
    assert remark.level == "info" and "are merged" in remark.message and " rows) as " in remark.message
    assert result.splits_N.shape == (4 * len(labels),)


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "2", "3.5"],
        ["true", "false"],
        ["True", "False", "maybe"],
        ["1", "1.0", "beta"],  # versions, perhaps
        ["007", "7", "8"],
        ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "b"],  # a joiner is a part of Persian words
    ],
)
def test_labels_stay_as_they_are_written(labels: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, labels)
    assert sorted(result.labels) == sorted(labels) and "labels_merged" not in remarks


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        (["True", "False"], ["false", "true"]),
        (["TRUE", "FALSE", "nan"], ["false", "nan", "true"]),
        (["1.0", "1.50", ".5"], ["0.5", "1", "1.5"]),
        (["-0.0", "-.5", "+2.0"], ["-0.5", "0", "+2"]),
        (["1.0", "2.0", "nan"], ["1", "2", "NaN"]),
    ],
)
def test_numbers_and_truths_are_written_in_one_way_and_told(
    labels: list[str], written: list[str], tmp_path: Path
) -> None:
    result, remarks = scan_labels(tmp_path, labels)
    assert result.labels == written and "labels_merged" not in remarks
    remark = remarks["labels_written"]
    assert remark.level == "info" and "in every file format" in remark.message
    assert f"'{labels[0]}' (4 rows) as " in remark.message


def test_the_spelling_of_the_base_version_is_kept(tmp_path: Path) -> None:
    result, _ = scan_labels(tmp_path, ["1", "1.0", "2.0"], base_labels=("1.0", "2.0"))
    assert result.labels == ["1.0", "2.0"]
    for written in (["true", "false"], ["True", "False"], ["TRUE", "False"]):
        assert scan_labels(tmp_path, written, base_labels=("False", "True"))[0].labels == ["False", "True"]
        assert scan_labels(tmp_path, written, base_labels=("false", "true"))[0].labels == ["false", "true"]
    result, _ = scan_labels(tmp_path, ["cafe\u0301", "b"], base_labels=("cafe\u0301", "b"))
    assert result.labels == ["b", "cafe\u0301"]


@pytest.mark.parametrize(
    ("labels", "base_labels", "read"),
    [
        (["1.0", "0.0", "-1.0", "unknown"], ("-1", "0", "1"), ["-1", "0", "1", "unknown"]),
        (["1", "2", "unknown"], ("1.0", "2.0"), ["1.0", "2.0", "unknown"]),
        (["True", "FALSE", "unknown"], ("false", "true"), ["false", "true", "unknown"]),
        (["1.0", "beta", "3.0"], ("1", "beta"), ["1", "3.0", "beta"]),
        (["7.0", "x"], ("007", "7", "y"), ["7", "x"]),
    ],
)
def test_labels_match_those_of_the_version_even_if_others_are_words(
    labels: list[str], base_labels: tuple[str, ...], read: list[str], tmp_path: Path
) -> None:
    result, remarks = scan_labels(tmp_path, labels, base_labels=base_labels)
    assert result.labels == read
    remark = remarks["labels_matched"]
    assert remark.level == "info" and "of the version" in remark.message
    assert f"'{labels[0]}' (4 rows) as " in remark.message and "'unknown'" not in remark.message


@pytest.mark.parametrize("base_labels", [("1", "1.00", "beta"), ("007", "08"), ("1.0", "beta")])
def test_labels_that_match_no_single_label_of_the_version_stay(base_labels: tuple[str, ...], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["1.0", "7", "word"], base_labels=base_labels)
    assert result.labels == ["1.0", "7", "word"] and "labels_matched" not in remarks


@pytest.mark.parametrize(
    "twins",
    [
        ("hardware", "Hardware"),
        ("credit card", "credit  card"),
        ("credit card", "creditcard"),
        ("it's", "it\u2019s"),
        ('"spam"', "spam"),
        ("\uff53pam", "spam"),
        ("STRASSE", "stra\u00dfe"),
        ("credit card", "credit\u00a0card"),
        ("a-b", "a\u2013b"),
        ("a\u2011b", "a\u2014b"),
        ("-1", "\u22121"),
        ("Room-booking", "Room booking"),
        ("Room_booking", "Room booking"),
        ("room - booking", "Room_Booking"),
        ("\u0130stanbul", "istanbul"),
        ("I\u015eIK", "\u0131\u015f\u0131k"),
    ],
)
def test_labels_that_look_alike_are_warned_about(twins: tuple[str, str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, [*twins, "other"])
    assert len(result.labels) == 3
    remark = remarks["look_alike_labels"]
    assert (remark.level, remark.count) == ("warn", 8) and remark.message.count("(4 rows)") == 2
    assert "other" not in remark.message


def test_the_most_frequent_spelling_is_named(tmp_path: Path) -> None:
    _, remarks = scan_labels(tmp_path, ["spam", "Spam", "Spam", "a-b", "a-b", "a b"])
    message = remarks["look_alike_labels"].message
    assert message.endswith(". If they have the same meaning, use one spelling (the most frequent: 'Spam', 'a-b')")


def test_numbers_with_a_hyphen_are_not_numbers_without(tmp_path: Path) -> None:
    _, remarks = scan_labels(tmp_path, ["1-2", "12", "-5", "5", "C-", "C"])
    assert "look_alike_labels" not in remarks


@pytest.mark.parametrize(
    "twins",
    [
        ("cop", "\u0441\u043e\u0440"),  # Cyrillic
        ("Home", "\u041dome"),
        ("HOT", "\u0397\u039fT"),  # Greek
        ("\u03b1\u03bf", "\u0430\u043e"),  # Greek and Cyrillic
        ("no\u00ebl", "n\u043e\u0435\u0308l"),
    ],
)
def test_labels_in_different_scripts_that_look_alike_are_warned_about(twins: tuple[str, str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, [*twins, "other"])
    assert len(result.labels) == 3
    remark = remarks["mixed_scripts"]
    assert (remark.level, remark.count) == ("warn", 8) and "other'" not in remark.message
    assert remark.message.isascii() and "\\u" in remark.message  # otherwise, both would look the same here too


def test_labels_of_one_script_are_not_look_alikes_of_each_other(tmp_path: Path) -> None:
    labels = ["\u043d\u0435\u0442", "\u0434\u0430", "\u0441\u043e\u0440", "\u0440\u043e\u0442", "yes", "no"]
    remarks = scan_labels(tmp_path, labels)[1]
    assert not {"mixed_scripts", "look_alike_labels", "equal_numbers"} & remarks.keys()
    upper = scan_labels(tmp_path, [labels[0], labels[0].upper()])[1]
    assert "look_alike_labels" in upper


@pytest.mark.parametrize(
    "twins",
    [
        ("1E3", "1000", "2"),
        ("7", "007"),
        ("+7", "7"),
        ("0", "-0"),
        ("1", "01", "001"),
        ("07", "7.0", "beta"),
        ("1", "1.0", "beta"),
    ],
)
def test_equal_numbers_are_warned_about(twins: tuple[str, ...], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, [*twins, "12"])
    assert len(result.labels) == len(twins) + 1
    remark = remarks["equal_numbers"]
    assert remark.level == "warn" and "same number" in remark.message and "'12'" not in remark.message
    assert "beta" not in remark.message


def test_long_numbers_that_differ_in_the_last_digit_are_not_equal(tmp_path: Path) -> None:
    assert "equal_numbers" not in scan_labels(tmp_path, [f"12345678901234567890123456789{n}" for n in range(4)])[1]


@pytest.mark.parametrize("label", ["NaN", "None", "null", "n/a", "N/A", "?", "-", "<NA>"])
def test_labels_that_mean_nothing_are_warned_about(label: str, tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["a", "b", label])
    assert label in result.labels and remarks["missing_labels"].level == "warn"
    assert repr(label) in remarks["missing_labels"].message


def test_quotes_rare_labels_and_numbers_are_warned_about(tmp_path: Path) -> None:
    _, remarks = scan_labels(tmp_path, ['"quoted"', "b"])
    assert "'\"quoted\"' (4 rows)" in remarks["quoted_labels"].message
    _, remarks = scan_labels(tmp_path, ["a"] * 9 + ["b"] * 9 + ["c", "d"], repeat=1)
    assert remarks["rare_labels"].level == "warn" and remarks["rare_labels"].message.endswith("'c', 'd'")
    _, remarks = scan_labels(tmp_path, [f"{n / 4}" for n in range(21)])
    _, amounts = scan_labels(tmp_path, [f"{n},70" for n in range(21)])
    assert "numbers such as '0,70'" in amounts["numeric_labels"].message and "delimiters" not in amounts
    assert "set columns.value to 'label' instead of columns.label" in amounts["numeric_labels"].message
    assert "numeric_labels" not in scan_labels(tmp_path, [f"C{n}" for n in range(21)])[1]
    assert remarks["numeric_labels"].level == "warn" and "columns.value" in remarks["numeric_labels"].message
    assert "numeric_labels" not in scan_labels(tmp_path, [f"{n}" for n in range(21)])[1]


def test_the_rows_of_each_label_are_told_in_a_bounded_list(tmp_path: Path) -> None:
    _, remarks = scan_labels(tmp_path, ["a", "a", "b"])
    assert remarks["labels"].message == "a.csv has 2 labels with these row counts: 'a' 8, 'b' 4"
    _, remarks = scan_labels(tmp_path, [f"label {n}" for n in range(5000)], repeat=2)
    assert len(remarks["labels"].message) < 600 and remarks["labels"].message.endswith("and 4,980 more")
    _, remarks = scan_labels(tmp_path, [f"{'aA'[n % 2]}{n // 2}" for n in range(5000)], repeat=2)
    assert all(len(remark.message) < 1000 for remark in remarks.values())
    assert "and 2,490 more" in remarks["look_alike_labels"].message


def both(folder: Path, training: str, validation: str) -> DataReport:
    """The report on a CSV file with `training` labels and a JSONL file with `validation` labels (JSON values)."""
    rows = "".join(f"text {n},{label}\n" for n, label in enumerate(training.split()))
    records = "".join(f'{{"text": "other {n}", "label": {label}}}\n' for n, label in enumerate(validation.split()))
    return check_files(write(folder, "a.csv", f"text,label\n{rows}"), write(folder, "b.jsonl", records))


@pytest.mark.parametrize(
    ("training", "validation", "labels"),
    [
        ("True False True False", "true false", ["false", "true"]),
        ("TRUE FALSE True False", "true false", ["false", "true"]),
        ("1.0 2.0 1.0 2.0", "1 2", ["1", "2"]),
    ],
)
def test_labels_of_two_files_are_unified_if_they_are_certainly_equal(
    training: str, validation: str, labels: list[str], tmp_path: Path
) -> None:
    report = both(tmp_path, training, validation)
    assert report.error is None
    assert [list(rows) for rows in report.report["labels"].values()] == [labels, labels]
    assert any(remark["kind"] == "labels_merged" for remark in report.report["remarks"])


@pytest.mark.parametrize("training", ["True False unknown True", "Yes No Yes No"])
def test_labels_of_two_files_that_only_look_alike_are_told(training: str, tmp_path: Path) -> None:
    validation = "true false" if "True" in training else '"yes" "no"'
    report = both(tmp_path, training, validation)
    assert report.error is not None and "but no training row has it" in report.error.message
    assert any(remark["kind"] == "look_alike_labels" for remark in report.report["remarks"])


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (["true", "1", "0", "false"], ["'1' (4 rows), 'true' (4 rows)", "'0' (4 rows), 'false' (4 rows)"]),
        (["T", "F", "true"], ["'T' (4 rows), 'true' (4 rows)"]),
        (["yes", "no", "Y", "unknown"], ["'Y' (4 rows), 'yes' (4 rows)"]),
        (["pos", "Positive", "neg", "neutral"], ["'Positive' (4 rows), 'pos' (4 rows)"]),
        (["1", "0"], []),
        (["true", "false", "maybe"], []),
        (["t", "1", "a", "b", "c"], []),  # characters
        (["positive", "negative", "neutral"], []),
    ],
)
def test_labels_with_the_same_meaning_are_warned_about(labels: list[str], groups: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, labels)
    assert set(result.labels) == set(labels)
    assert ("equal_meaning" in remarks) == bool(groups)
    assert all(group in remarks["equal_meaning"].message for group in groups)
