"""The roles of columns that a preview detects before a request names any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.detected_roles import detect_roles
from app.training.data.detection import detect
from app.wire.preview import DetectedRoles
from tests.training.data.tables import write

TEXT = "the parcel number {n} came late"


def detected(folder: Path, header: str, cells: list[str]) -> DetectedRoles | None:
    """The roles in a table with 40 rows: a text with its own number, then the n-th of `cells` in turn."""
    rows = [f"{TEXT.format(n=n)},{cells[n % len(cells)].format(n=n)}" for n in range(40)]
    name = "a.csv"
    return detect_roles(detect(write(folder, name, "\n".join([header, *rows]) + "\n"), name))


@pytest.mark.parametrize(
    ("header", "cells", "task", "columns"),
    [
        ("message,category", ["late", "lost"], "classification", {"text": "message", "label": "category"}),
        ("a,b", ["late", "lost"], "classification", {"text": "a", "label": "b"}),
        ("text,b", ["late", "lost"], "classification", {"text": "text", "label": "b"}),
        ("body,price", ["{n}.5"], "regression", {"text": "body", "value": "price"}),
        ("body,rude,urgent", ["1,0", "0,1", "1,1"], "multilabel", {"text": "body", "label": ["rude", "urgent"]}),
        ("body,mood,number", ["good,{n}", "bad,{n}"], "classification", {"text": "body", "label": "mood"}),
    ],
)
def test_a_table_without_usual_names_has_guessed_roles(
    tmp_path: Path, header: str, cells: list[str], task: str, columns: dict[str, str]
) -> None:
    assert detected(tmp_path, header, cells) == DetectedRoles(task, columns, guessed=True)


def test_roles_that_training_detects_are_not_guessed(tmp_path: Path) -> None:
    roles = detected(tmp_path, "text,label", ["late", "lost"])
    assert roles == DetectedRoles("classification", {"text": "text", "label": "label"}, guessed=False)


@pytest.mark.parametrize(("header", "cells"), [("a,b", ["cell {n}"]), ("message,2.5", ["1.5", "2.5"])])
def test_contents_that_show_no_target_have_no_roles(tmp_path: Path, header: str, cells: list[str]) -> None:
    assert detected(tmp_path, header, cells) is None
