"""Objects with a repeated name: the last value is used, and this is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data import json_lines
from app.training.data.files import EVERYTHING
from tests.training.data.tables import detected, remarks_of, write

TWICE = '{"text": "a", "label": "x", "label": "y"}'
ONCE = '{"text": "b", "label": "y"}'
NESTED = '{"text": "c", "label": "y", "meta": {"a": 1, "b": 2, "a": 3}}'


@pytest.mark.parametrize(
    ("content", "where", "count", "name"),
    [
        (f"{ONCE}\n{TWICE}\n{ONCE}\n{TWICE}\n", "line 2", 2, "label"),
        (f"[{ONCE}, {TWICE}]", "row 2", 1, "label"),
        (f"{ONCE}\n{NESTED}\n", "line 2", 1, "a"),
        (f"{TWICE}\n".replace(", ", ",\n") * 2, "line 1", 2, "label"),
        ('{"text": ["a", "b"], "label": ["x", "y"], "label": ["x", "x"]}', "row 1", 1, "label"),
    ],
)
def test_repeated_names_are_told(content: str, where: str, count: int, name: str, tmp_path: Path) -> None:
    source = detected(write(tmp_path, "a.jsonl", content))
    for _ in range(2):  # a file is read several times
        assert all(record.fault is None for record in json_lines.records(source, EVERYTHING))
    assert (
        f"has the key {name!r} twice; only the key's last value is read (records: {count})"
        in remarks_of(source)["repeated_names"]
    )
    assert [remark.where for remark in source.remarks if remark.kind == "repeated_names"] == [where]


def test_names_of_different_objects_may_be_equal(tmp_path: Path) -> None:
    source = detected(write(tmp_path, "a.jsonl", f'{ONCE}\n{{"text": "a", "label": "x", "meta": {{"text": 1}}}}\n'))
    assert len(list(json_lines.records(source, EVERYTHING))) == 2 and "repeated_names" not in remarks_of(source)
