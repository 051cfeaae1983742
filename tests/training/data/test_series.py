"""Long tables with one step per row become one example per series."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.training.data.example import Example
from app.training.data.files import Record, Source
from app.training.data.inputs import open_files
from app.training.data.layouts import Layout
from app.training.data.scan import DataFiles
from app.training.data.series import read_examples
from app.training.failures import BadData
from app.wire.training_options import Columns
from tests.training.data.scans import scan
from tests.training.data.tables import assert_fault, detected, read, write


def test_rows_are_gathered_by_series_in_the_order_of_time(tmp_path: Path) -> None:
    table = "series,time,x,y,label\nb,2,3,30,up\na,1,1,10,down\nb,10,4,40,up\nb,1,2,20,up\n"
    layout, examples = read(write(tmp_path, "a.csv", table))
    assert (layout.task, layout.steps) == ("classification", ("x", "y"))
    steps = {e.labels[0]: e.features_TF.tolist() for e in examples if e.features_TF is not None}
    assert steps == {"up": [[2.0, 20.0], [3.0, 30.0], [4.0, 40.0]], "down": [[1.0, 10.0]]}
    with pytest.raises(BadData, match=r"line 3, column 'label': the value differs from that in line 2, although"):
        read(write(tmp_path, "b.csv", "series,time,x,label\nb,2,3,up\nb,1,1,down\n"))


def test_readings_named_value_are_features_of_a_labelled_series(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "series,time,value,label\na,2,20,up\na,1,10,up\n")
    layout, (example,) = read(path)
    assert (layout.task, layout.steps) == ("classification", ("value",))
    assert example.features_TF is not None and example.features_TF.tolist() == [[10.0], [20.0]]
    layout, (example,) = read(write(tmp_path, "b.csv", "series,x,value\na,1,7\na,2,7\n"))
    assert (layout.task, layout.steps, example.value) == ("regression", ("x",), 7.0)


def test_steps_are_sorted_by_number_or_by_date(tmp_path: Path) -> None:
    for times in (
        ("10", "9", "9.5"),
        ("2026-02-01", "2025-12-31", "2026-01-09"),
        ("2026-01-01T10:00:00.5", "2025-12-31", "2026-01-01 10:00"),
        ("2026-02-01", "2026-01", "2026-01-01T00:00:00.000001"),
        ("2026-01-01T12:30Z", "2026-01-01T13:00+02:00", "20260101T110001Z"),
    ):
        rows = "".join(f"a,{time},{n},up\n" for n, time in enumerate(times))
        _, (example,) = read(write(tmp_path, "a.csv", f"series,time,x,label\n{rows}"))
        assert example.features_TF is not None and example.features_TF[:, 0].tolist() == [1, 2, 0]


def series(count: int, steps: int = 1) -> Iterator[Example]:
    """Yield the examples of a table with `count` series."""
    source = Source(Path("a.csv"), "a.csv", "csv", gzip=False)
    layout = Layout(source, "classification", "series", {"series": "series", "label": "label"}, ("x",))
    rows = ((number, step) for number in range(count) for step in range(steps))
    return read_examples(
        layout, (Record("line 2", {"series": f"s{number}", "x": step, "label": "up"}) for number, step in rows)
    )


def seconds_to_yield(count: int) -> float:
    """The processor time for yielding all examples except for the first one, for which the whole table is read."""
    examples = series(count)
    next(examples)
    start = time.thread_time()
    assert sum(1 for _ in examples) == count - 1
    return time.thread_time() - start


def test_yielding_takes_time_in_proportion_to_the_number_of_series() -> None:
    """Compares two sizes in one process. With 32 times as many series, the time grows about 32-fold, and not
    1,024-fold."""
    small, large = (min(seconds_to_yield(count) for _ in range(3)) for count in (4_000, 128_000))
    assert large < 96 * small


def test_memory_is_released_as_series_are_yielded() -> None:
    tracemalloc.start()
    try:
        examples = series(100, steps=300)
        next(examples)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(80):
            next(examples)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < before / 2


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "series,value,label\na,x,up\n", ["line 2", "'value'", "'x' is not a number"]),
        ("a.csv", "series,x,label\na,1,up\n ,2,up\n", ["line 3", "'series'", "empty"]),
        (
            "a.csv",
            "series,time,x,label\na,noon,1,up\n",
            ["line 2", "'time'", "'noon' is not a time", "2026-01-31T09:05"],
        ),
        (
            "a.csv",
            "series,time,x,label\na,12/31/2023,1,up\n",
            ["line 2", "'time'", "'12/31/2023' is not a time", "ISO"],
        ),
        ("a.csv", "series,time,x,label\na,9:05,1,up\n", ["line 2", "'time'", "'9:05' is not a time", "ISO"]),
        (
            "a.csv",
            "series,time,x,label\na,2026-01-31,1,up\nb,3,1,up\na,3,1,up\n",
            ["line 4", "'time'", "'3' is a number, but the time of line 2 is a date without an offset"],
        ),
        (
            "a.csv",
            "series,time,x,label\na,2026-01-31T09:00Z,1,up\na,2026-01-31T09:00,1,up\n",
            ["line 3", "'time'", "is a date without an offset, but the time of line 2 is a date with an offset"],
        ),
        ("a.csv", "series,time,x,label\na,,1,up\n", ["line 2", "'time'", "empty"]),
        ("a.csv", "series,time,x,label\na,nan,1,up\n", ["line 2", "'time'", "not a time"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)


def test_rows_of_series_that_are_left_out_are_told(tmp_path: Path) -> None:
    rows = [f"{'abcdefgh'[n // 3]},{n},{n if n not in (4, 5) else 'x'},{'pq'[n // 3 % 2]}" for n in range(24)]
    path = write(tmp_path, "a.csv", "series,time,x,label\n" + "\n".join([*rows, ",,,", ",,,"]))
    _, remarks = scan(path, skip_bad_rows=0.3)
    assert remarks["series_left_out"].message == (
        "a.csv, line 6: 1 of 8 series is not used, because some of its rows cannot be used: 'b'"
    )
    assert (remarks["empty_rows"].where, remarks["empty_rows"].count) == ("line 26", 2)


def test_the_share_of_rows_of_series_that_cannot_be_used_states_what_it_counts(tmp_path: Path) -> None:
    rows = [f"{n // 3},{n},{n if n not in (4, 5, 7) else 'x'},{'pq'[n // 3 % 2]}" for n in range(120)]
    with pytest.raises(BadData) as caught:
        scan(write(tmp_path, "a.csv", "series,time,x,label\n" + "\n".join(rows)))
    assert "In total, 3 rows cannot be used" in caught.value.message
    assert caught.value.message.endswith(
        "0.074 or more to leave them out (a share of the total of these rows and the 38 usable series)"
    )
    scan(tmp_path / "a.csv", skip_bad_rows=0.074)
    rows = [f"{n // 3},{n},{n if n != 7 else 'x'},{'pq'[n // 3 % 2]}" for n in range(120)]
    with pytest.raises(BadData, match="a share of the total of this row and the 39 usable series"):
        scan(write(tmp_path, "b.csv", "series,time,x,label\n" + "\n".join(rows)))


def test_rows_with_another_number_of_features_are_left_out_of_both_passes(tmp_path: Path) -> None:
    rows = [{"features": [[n, 1]] if n != 5 else [[n]], "label": "pq"[n % 2]} for n in range(20)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    result, _ = scan(path, skip_bad_rows=0.1)
    files = open_files(detected(path), None, Columns(), None)
    assert isinstance(files, DataFiles)
    assert [example.where for example in files.examples()] == [f"line {n}" for n in range(1, 21) if n != 6]
    assert len(result.splits_N) == 19


def test_series_without_a_split_and_with_equal_times_are_told(tmp_path: Path) -> None:
    rows = [f"{'abcdefgh'[n // 3]},{n // 2},{n},{'pq'[n // 3 % 2]},{'train' if n < 9 else ''}" for n in range(24)]
    _, remarks = scan(write(tmp_path, "a.csv", "series,time,x,label,split\n" + "\n".join(rows)))
    assert (remarks["no_split"].where, remarks["no_split"].count) == ("line 11", 5)
    assert (remarks["equal_times"].where, remarks["equal_times"].count) == ("line 2", 8)


def test_blanks_around_the_names_of_series_are_told(tmp_path: Path) -> None:
    rows = [f"{'abcdefgh'[n // 3]}{' ' * (n == 5)},{n},{'pq'[n // 3 % 2]}" for n in range(24)]
    result, remarks = scan(write(tmp_path, "a.csv", "series,x,label\n" + "\n".join(rows)))
    assert result.lengths_N.tolist() == [3] * 8
    assert remarks["series_trimmed"].message == (
        "a.csv, line 7: blanks around the names of series are removed in 1 row"
    )
