"""One report contains all faulty rows of a file, and some faulty rows may be left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.faults import LISTED, BadRows, Faults, smallest_fraction
from app.training.data.files import Source
from app.training.data.scan import Scan
from app.training.failures import BadData
from tests.training import runs
from tests.training.data import scans
from tests.training.data.tables import write


def scan(path: Path, skip_bad_rows: float = 0.0, staging: Path | None = None) -> Scan:
    return scans.scan(path, skip_bad_rows=skip_bad_rows, staging=staging)[0]


def table(*bad: str) -> str:
    return "text,value\n" + "".join(f"row {n},{n}\n" for n in range(96)) + "".join(f"{row}\n" for row in bad)


def test_all_faults_are_in_one_report(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("x,much", "y,", "z,more", "last,nan"))
    with pytest.raises(BadRows) as caught:
        scan(path)
    error = caught.value
    assert error.rows == 4 and [fault.where for fault in error.faults] == [
        (f"line {n}", "column 'value'") for n in (98, 99, 100, 101)
    ]
    assert [(kind.partition(";")[0], count) for kind, count in error.counts.items()] == [
        ("column 'value': … is not a number", 3),
        ("column 'value': … is not a finite number of at most …", 1),
    ]
    assert error.message.startswith("a.csv, line 98, column 'value': 'much' is not a number. In total, 4 of 100 rows")
    assert "line 99" in error.message and "skip_bad_rows" in error.message
    assert [line.partition(":")[0] for line in error.listing().splitlines()] == [
        f"a.csv, line {n}, column 'value'" for n in (98, 99, 100, 101)
    ]
    assert json.loads(json.dumps(error.to_dict()))["faults"][0]["where"] == ["line 98", "column 'value'"]


def test_faults_are_counted_by_kind(tmp_path: Path) -> None:
    """Two reasons count as one kind if they differ only in quoted values, whatever the quotes are."""
    steps = "must be a list of steps; each step is a list with the same number of values, such as [[0.1, 2], [0.3, 1]]"
    reasons = [
        f"{steps}; found nothing", f"{steps}; the steps differ in length", f"{steps}; the steps differ in length",
        "not valid JSON: Expecting ',' delimiter", "not valid JSON: Expecting ':' delimiter",
        *(f"{value!r} is not a number" for value in ("it's", "so \"it\"", "a'b\"c", "d")),
    ]  # fmt: skip
    source, faults = Source(tmp_path / "a.csv", "a.csv", "csv", False), Faults()
    for n, reason in enumerate(reasons):
        faults.add(source.fault(reason, f"line {n}", "column 'value'"))
    assert sorted(faults.counts.values()) == [1, 1, 1, 2, 4] and faults.counts["column 'value': … is not a number"] == 4
    error = faults.failure(99)
    assert isinstance(error, BadRows) and f"1 × column 'value': {steps}; found nothing" in error.kinds()
    assert "2 × column 'value': must be a list of steps; each step" in error.kinds()


def test_each_kind_has_an_example(tmp_path: Path) -> None:
    source, faults = Source(tmp_path / "a.csv", "a.csv", "csv", False), Faults()
    for n in range(LISTED + 50):
        faults.add(source.fault(f"{'x' * n!r} is not a number", f"line {n}", "column 'value'"))
    faults.add(source.fault("the label is empty", "line 900", "column 'label'"))
    error = faults.failure(9000)
    assert isinstance(error, BadRows) and "a.csv, line 900, column 'label': the label is empty" in error.listing()


def test_malformed_lines_are_faults_beside_the_others(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"row {n}", "value": n}) for n in range(8)]
    lines = [*good, "{broken", '{"text": "x", "value": "y"}', "[1]"]
    with pytest.raises(BadRows) as caught:
        scan(write(tmp_path, "a.jsonl", "\n".join(lines)))
    places = [fault.where for fault in caught.value.faults]
    assert places == [
        ("line 9", "column 2"), ("line 10", "column 'value'"), ("line 11", "column 1")
    ]  # fmt: skip


def test_one_fault_is_reported_as_itself(tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        scan(write(tmp_path, "a.csv", table("x,much")))
    assert caught.value.message.startswith("a.csv, line 98, column 'value': 'much' is not a number. Fix this row, or")
    assert not isinstance(caught.value, BadRows)


def test_a_long_report_is_bounded(tmp_path: Path) -> None:
    source = Source(tmp_path / "a.csv", "a.csv", "csv", False)
    faults = Faults()
    for n in range(5000):
        faults.add(source.fault(f"reason {'x' * (n % 60)}", f"line {n}", "column 'text'"))
    error = faults.failure(9000)
    assert isinstance(error, BadRows) and len(error.faults) == LISTED
    assert error.counts.pop("other faults") > 0 and len(error.counts) == 20
    assert len(error.listing().splitlines()) < 6 * 21 and len(error.message) < 5000


@pytest.mark.parametrize(("share", "kept"), [(0.04, True), (0.039, False), (1, True), (0, False)])
def test_a_share_of_the_rows_may_be_dropped(share: float, kept: bool, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("x,much", "y,", "z,more", "last,nan"))
    if not kept:
        with pytest.raises(BadRows):
            scan(path, share)
        return
    result = scan(path, share)
    assert (len(result.splits_N), result.dropped.rows) == (96, 4)


def test_a_series_with_a_faulty_row_is_dropped_whole(tmp_path: Path) -> None:
    rows = [
        f"{name},{step},{n + step},{label}"
        for n, (name, label) in enumerate(("ax", "by", "cx", "dy"))
        for step in range(3)
    ]
    rows[4] = "b,1,much,y"
    rows.append(",1,1,x")  # of no series
    path = write(tmp_path, "a.csv", "series,time,height,label\n" + "\n".join(rows))
    result = scan(path, 0.5, tmp_path)
    assert (result.lengths_N.tolist(), result.dropped.rows) == ([3, 3, 3], 2)
    assert result.steps_SF.ravel().tolist() == [0, 1, 2, 2, 3, 4, 3, 4, 5]


def test_steps_of_another_width_can_be_dropped(tmp_path: Path) -> None:
    rows = [{"features": [[n, 1]], "value": n} for n in range(9)] + [{"features": [[1]], "value": 1}] * 2
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(BadRows, match="the row has 1 number per step"):
        scan(path)
    assert len(scan(path, 0.5, tmp_path).steps_SF) == 9


def test_a_training_without_its_bad_rows(tmp_path: Path) -> None:
    """Every pass over the file leaves out the same rows, and the report contains their number."""
    good = [json.dumps({"text": text, "label": label}) for text, label in runs.sentences(40)]
    bad = ["{", '{"text": "x", "label": {}}', '{"text": "x"}']
    content = "\n".join([bad[0], *good[:20], bad[1], *good[20:], bad[2]])
    small = {"width": 16, "layers": 1, "max_steps": 2, "batch_size": 16, "skip_bad_rows": 0.1}
    events = runs.train(runs.make(tmp_path / "a", "a.jsonl", content, training=small))
    runs.train(runs.make(tmp_path / "b", "a.jsonl", "\n".join(good), training=small))
    assert runs.digest(tmp_path / "a") == runs.digest(tmp_path / "b")
    report, warnings = runs.notes(events)
    assert report["dropped"]["rows"] == 3 and sum(report["dropped"]["counts"].values()) == 3
    assert warnings["dropped"].startswith("3 rows that cannot be used are left out: 1 × ")
    assert [f"(line {line})" in warnings["dropped"] for line in (1, 22, 43)] == [True] * 3


def test_a_job_lists_its_faults_in_an_event(tmp_path: Path) -> None:
    *_, note, failed = runs.train(runs.make(tmp_path, "a.csv", table("x,much", "y,")))
    assert (note.kind, note.level) == ("faults", "error") and note.message.count("\n") == 1
    assert note.data["rows"] == 2 and failed.code == "invalid_training_file"


def test_rows_of_a_wrong_width_are_faults_beside_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("a,1,2", "b", "c,d", 'e,"1"x', "f,1", "g,1,2"))
    with pytest.raises(BadRows) as caught:
        scan(path)
    assert [fault.where[0] for fault in caught.value.faults] == [f"line {n}" for n in (98, 99, 100, 101, 103)]
    assert caught.value.skippable and scan(path, 0.06).dropped.rows == 5


def test_after_a_quote_that_is_never_closed_nothing_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("a,x", "b,1", 'c,"1', "d,1", "e,y"))
    with pytest.raises(BadRows) as caught:
        scan(path, 1)
    assert [fault.where[0] for fault in caught.value.faults] == ["line 98", "line 100"]
    assert not caught.value.skippable
    assert caught.value.message.endswith("The file cannot be read after the last of these rows, line 100")


def test_plain_text_has_no_rows_to_drop(tmp_path: Path) -> None:
    [*_, failed] = runs.train(runs.make(tmp_path, "a.txt", runs.book(20), training={"skip_bad_rows": 0.1}))
    assert (failed.code, failed.param) == ("invalid_hyperparameter", "training.skip_bad_rows")


@pytest.mark.parametrize(
    ("rows", "total", "fraction"),
    [(3, 23, 0.14), (1, 2, 0.5), (29, 100, 0.3), (28, 100, 0.28), (1, 1000, 0.001), (1, 999, 0.0011), (2, 2, 1.0)],
)
def test_the_smallest_fraction_that_leaves_the_rows_out_is_named(rows: int, total: int, fraction: float) -> None:
    assert smallest_fraction(rows, total) == fraction
    assert rows <= fraction * total


def test_the_fraction_of_the_report_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("x,much", "y,"))
    with pytest.raises(BadRows, match=r"set training.skip_bad_rows to 0\.021 or more") as caught:
        scan(path)
    dropped = scan(path, skip_bad_rows=caught.value.fraction).dropped
    assert dropped is not None and dropped.rows == 2


def test_many_bad_rows_are_reported_with_their_share_the_limit_and_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,value\n" + "x,much\n" * 3 + "y,\nz,1\nz z,2\nz z z,3\nz z z z,4\n" * 2)
    with pytest.raises(BadRows) as caught:
        scan(path, skip_bad_rows=0.2)
    reason = "They are 39 % of the rows, and training.skip_bad_rows allows 20 %; to leave them out nevertheless, set it"
    assert caught.value.message.endswith(f"{reason} to 0.39 or more")
    assert scan(path, skip_bad_rows=0.39).dropped.rows == 5


def test_rows_that_are_all_bad_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(BadRows) as caught:
        scan(write(tmp_path, "a.csv", "text,value\nx,much\ny,\n"))
    assert not caught.value.skippable and caught.value.message.endswith("Fix these rows or the column 'value'")


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ("x,y,z", "Fix this row, or set training.skip_bad_rows to 0.1 or more to leave it out"),
        ('"x,y', "The rest of the file cannot be read, so later rows are not checked"),
    ],
)
def test_the_error_of_a_single_row_says_what_to_do(row: str, advice: str, tmp_path: Path) -> None:
    content = "text,label\n" + "x,a\ny,b\n" * 4 + f"z,a\n{row}\n"
    with pytest.raises(BadData, match=r"a\.csv, line 11") as caught:
        scan(write(tmp_path, "a.csv", content))
    assert caught.value.message.endswith(advice)


def test_a_large_share_is_not_advised_for_a_single_row_either(tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        scan(write(tmp_path, "a.csv", "text,label\nx,a\nx,y,z\n"))
    assert "skip_bad_rows" not in caught.value.message


def test_a_first_row_that_ends_the_reading_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="later rows are not checked"):
        scan(write(tmp_path, "a.csv", 'text,label\n"x,a\ny,b\n'))
