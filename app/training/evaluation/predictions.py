"""Writes the predictions of an evaluation to a CSV file, and finds the worst mistakes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.training.data.example import Example
from app.training.evaluation.held_out import HeldOut
from app.training.evaluation.scores import Scores
from app.wording import shortest

MISTAKES = 50  # the maximum number of mistakes in the list
_TEXT_CHARACTERS = 500  # the maximum length of a text in the list of mistakes; the CSV file contains complete texts
_PROBABILITY_LABELS = 50  # with more labels, the CSV file contains only the probability of the predicted label


def write(path: Path, held_out: HeldOut, scores: Scores, against: Scores | None) -> list[dict[str, Any]]:
    """Write the CSV file, and return the worst mistakes: the wrongly predicted rows with the largest loss or, for
    regression, the rows with the largest error.

    Reads the texts from the user's file again, so they do not have to be kept in memory.
    """
    worst = {int(row): place for place, row in enumerate(_worst(scores))}
    mistakes: list[dict[str, Any]] = [{}] * len(worst)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_header(scores, against, _has_series(held_out)))
        for row, example in enumerate(_examples(held_out)):
            name = example.series or _text(example)
            writer.writerow([example.where, name, *_cells(scores, row, example), *_other_cells(against, row)])
            if row in worst:
                mistakes[worst[row]] = _mistake(scores, row, example)
    return mistakes


def _examples(held_out: HeldOut) -> Iterator[Example]:
    assert held_out.files is not None
    chosen = zip(held_out.files.examples(), held_out.chosen_N, strict=True)
    return (example for example, is_chosen in chosen if is_chosen)


def _has_series(held_out: HeldOut) -> bool:
    return held_out.files is not None and held_out.files.training.shape == "series"


def _worst(scores: Scores) -> list[int]:
    wrong_N = np.flatnonzero(~scores.correct_N) if scores.correct_N is not None else np.arange(len(scores.losses_N))
    order_N = np.argsort(-scores.losses_N[wrong_N], kind="stable")
    return [int(row) for row in wrong_N[order_N[:MISTAKES]]]


def _text(example: Example) -> str:
    return "\n".join(text for text in example.texts if text)


def _mistake(scores: Scores, row: int, example: Example) -> dict[str, Any]:
    text = _text(example)
    shown = text if len(text) <= _TEXT_CHARACTERS else text[:_TEXT_CHARACTERS] + "…"
    mistake: dict[str, Any] = {"where": example.where, "text": shown}
    mistake |= {"series": example.series} if example.series else {}
    if scores.values_N is not None:
        return mistake | {"value": example.value, "predicted": shortest(float(scores.values_N[row]))}
    assert scores.probabilities_NC is not None
    names = [*scores.true(row), *(label for label in scores.predicted(row) if label not in scores.true(row))]
    probabilities = {name: float(scores.probabilities_NC[row, scores.labels.index(name)]) for name in names}
    mistake |= {"labels": scores.true(row), "predicted": scores.predicted(row), "probabilities": probabilities}
    return mistake | {"score": scores.confidence(row)}


def _header(scores: Scores, against: Scores | None, has_series: bool) -> list[str]:
    names = ["row", "series" if has_series else "text"]
    if scores.values_N is not None:
        names += ["value", "predicted", "squared_error"]
        return [*names, *(["against_predicted", "against_squared_error"] if against else [])]
    names += ["label", "predicted", "correct", "probability"]
    names += [f"probability_{label}" for label in scores.labels] if len(scores.labels) <= _PROBABILITY_LABELS else []
    return [*names, *(["against_predicted", "against_correct", "against_probability"] if against else [])]


def _cells(scores: Scores, row: int, example: Example) -> list[Any]:
    if scores.values_N is not None:
        return [_digits(example.value), *_other_cells(scores, row)]
    assert scores.probabilities_NC is not None
    cells: list[Any] = ["|".join(scores.true(row)), *_other_cells(scores, row)]
    if len(scores.labels) <= _PROBABILITY_LABELS:
        cells += [f"{value:.6f}" for value in scores.probabilities_NC[row]]
    return cells


def _digits(value: float) -> str:
    """Format a number with at most twelve significant digits: enough for Unix times, and without rounding errors."""
    return f"{value:.12g}"


def _other_cells(scores: Scores | None, row: int) -> list[Any]:
    """Return the cells that describe a version's prediction for a row, without the true value."""
    if scores is None:
        return []
    if scores.values_N is not None:
        return [_digits(shortest(float(scores.values_N[row]))), f"{scores.losses_N[row]:.6g}"]
    assert scores.probabilities_NC is not None and scores.correct_N is not None
    predicted = scores.predicted(row)
    columns = [scores.labels.index(label) for label in predicted]
    probability = min((float(scores.probabilities_NC[row, column]) for column in columns), default=None)
    shown = "" if probability is None else f"{probability:.6f}"
    return ["|".join(predicted), int(scores.correct_N[row]), shown]
