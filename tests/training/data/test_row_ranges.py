"""Numbers of rows are listed as ranges."""

from __future__ import annotations

import pytest

from app.training.data.row_ranges import RowRanges


@pytest.mark.parametrize(
    ("places", "listing"),
    [
        (["line 3"], "line 3"),
        (["line 3", "line 4", "line 5", "line 9"], "lines 3-5, 9"),
        (["row 3", "row 5"], "rows 3, 5"),
        (["line 3", "line 3", "line 4"], "lines 3-4"),
        (["series x", "line 4"], "line 4"),
        (["series x"], ""),
        ([f"line {2 * n}" for n in range(60)], "lines " + ", ".join(str(2 * n) for n in range(50)) + ", …"),
    ],
)
def test_places_are_listed_as_ranges(places: list[str], listing: str) -> None:
    ranges = RowRanges()
    for place in places:
        ranges.add(place)
    assert str(ranges) == listing


def test_the_files_are_listed_apart() -> None:
    ranges = RowRanges()
    for where, of_file in (("line 3", ""), ("line 4", ""), ("line 2", " of the validation file")):
        ranges.add(where, of_file)
    assert str(ranges) == "lines 3-4; line 2 of the validation file"
