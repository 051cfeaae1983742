"""Draws the plots of a training run as SVG files.

The files do not contain their creation time, so the same figures produce identical files.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from app.checkpoint.calibration import Calibration, Reliability
from app.wire.measurement import shows_calibration_error
from app.wording import quantity

NAMED_LABELS, COUNTED_LABELS = 40, 15  # maximum numbers of labels for a confusion matrix with names, and with counts
_INK, _QUIET = "#1f5fbf", "#d9822b"


def draw(
    directory: Path, history: list[dict[str, float]], metrics: dict[str, Any], lengths: dict[str, Any] | None
) -> None:
    """Plot the loss and, if available, the sequence lengths and the confusion matrices.

    `lengths` is the length histogram of the data report.
    """
    directory.mkdir(exist_ok=True)
    with _style():
        _save(_loss(history), directory / "loss.svg")
        if lengths:
            _save(_lengths(lengths), directory / "lengths.svg")
        for name, part in metrics.items():
            if isinstance(part, dict) and part.get("confusion_matrix"):
                _save(_confusion(part, name), directory / f"confusion_{name}.svg")


def draw_reliability(directory: Path, calibration: Calibration) -> None:
    """Plot the accuracy of the answers against their confidence. Draws nothing for regression."""
    if calibration.before is not None and calibration.after is not None:
        directory.mkdir(exist_ok=True)
        with _style():
            _save(_reliability(calibration, calibration.before, calibration.after), directory / "reliability.svg")


def _style() -> AbstractContextManager[None]:
    return matplotlib.rc_context({"svg.hashsalt": "ostinato", "svg.fonttype": "path", "font.size": 9})


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")


def _loss(history: list[dict[str, float]]) -> Figure:
    figure = Figure(figsize=(6.0, 3.6))
    axes = figure.subplots()
    for key, label, style in (("train_loss", "train", _INK), ("valid_loss", "validation", _QUIET)):
        points = [(row["step"], row[key]) for row in history if key in row]
        if points:
            marker = "o" if key == "valid_loss" else ""
            axes.plot(*zip(*points, strict=True), label=label, color=style, marker=marker, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return figure


def _lengths(histogram: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(6.0, 3.0))
    axes = figure.subplots()
    edges, unit = histogram["edges"], histogram["unit"]
    axes.bar(edges[:-1], histogram["counts"].get("train", []), np.diff(edges), align="edge", color=_INK)
    axes.set_xlabel(f"length in {unit}")
    axes.set_ylabel("sequences")
    return figure


def _reliability(calibration: Calibration, before: Reliability, after: Reliability) -> Figure:
    figure = Figure(figsize=(4.2, 4.2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle="--")
    for diagram, name, style in ((before, "network", _QUIET), (after, "calibrated", _INK)):
        bins = [bin for bin in diagram.bins if bin.rows]
        points = [bin.confidence for bin in bins], [bin.accuracy for bin in bins]
        error = f", error {diagram.ece:.3f}" if shows_calibration_error(calibration.rows) else ""
        axes.plot(*points, label=f"{name}{error}", color=style, marker="o", markersize=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability")
    axes.set_ylabel("share of correct answers")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _confusion(part: dict[str, Any], name: str) -> Figure:
    labels, rows = list(part["per_class"]), part["confusion_matrix"]
    size = min(12.0, 2.5 + 0.45 * len(labels))
    figure = Figure(figsize=(size + 1.0, size))
    axes = figure.subplots()
    shares = [[n / max(1, sum(row)) for n in row] for row in rows]
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    shown = labels if len(labels) <= NAMED_LABELS else []
    # Unescaped, a dollar sign would begin a formula.
    names = [(label if len(label) <= 20 else f"{label[:17]}...").replace("$", r"\$") for label in shown]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(name if names else f"{name}, {quantity(len(labels), 'label')} in the order of labels.json")
    if len(labels) <= COUNTED_LABELS:
        for y, row in enumerate(rows):
            for x, n in enumerate(row):
                axes.text(x, y, str(n), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
    return figure
