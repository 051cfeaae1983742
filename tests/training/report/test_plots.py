"""The plots of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.training.report.plots import COUNTED_LABELS, NAMED_LABELS, draw

HISTORY = [{"step": step, "train_loss": 1.0 / step, "valid_loss": 2.0 / step} for step in range(1, 6)]
LENGTHS = {"edges": [0, 5, 10], "counts": {"train": [3, 4]}, "unit": "tokens"}


def confusion(labels: list[str]) -> dict[str, Any]:
    matrix = [[int(row == column) for column in labels] for row in labels]
    return {"test": {"per_class": {label: {} for label in labels}, "confusion_matrix": matrix}}


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw(tmp_path / name, HISTORY, confusion(["a", "$b$"]), LENGTHS)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files.keys() == {"loss.svg", "lengths.svg", "confusion_test.svg"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files


def test_what_has_no_figures_is_not_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "plots", [], {"test": {"loss": 1.0}}, None)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["loss.svg"]


def test_many_labels_are_drawn_without_names_and_counts(tmp_path: Path) -> None:
    sizes = {}
    for count in (COUNTED_LABELS, COUNTED_LABELS + 1, NAMED_LABELS, NAMED_LABELS + 1):
        draw(tmp_path / str(count), HISTORY, confusion([f"label {n}" for n in range(count)]), None)
        sizes[count] = (tmp_path / str(count) / "confusion_test.svg").read_text().count("<use")
    assert sizes[COUNTED_LABELS] > sizes[COUNTED_LABELS + 1]
    assert sizes[NAMED_LABELS] > sizes[NAMED_LABELS + 1]
