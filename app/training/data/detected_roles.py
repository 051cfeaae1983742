"""Detects the task and the roles of a file's columns for a preview, before a request names any of them."""

from __future__ import annotations

from app.training.data.files import Source
from app.training.data.formats import READERS
from app.training.data.guesses import Sample
from app.training.data.layouts import find_layout
from app.training.failures import BadData
from app.wire.preview import DetectedRoles
from app.wire.training_options import Columns


def detect_roles(source: Source) -> DetectedRoles | None:
    """Return the task and the columns that training would detect, or a guess if the request must name the columns.

    Returns None if the contents do not show which column contains the texts, or which one to predict.
    """
    try:
        layout = find_layout(source, Columns(), None)
    except BadData:
        return _guess(source)
    return DetectedRoles(layout.task, layout.roles, guessed=False)


def _guess(source: Source) -> DetectedRoles | None:
    """Guess the columns of a table with one text and one target in each row from their contents."""
    present = READERS[source.format].header(source)
    sample = Sample(source, present, present)
    texts = _text_columns(sample, present)
    return _with_target(sample, texts[0]) if texts and not sample.begins_with_row() else None


def _text_columns(sample: Sample, present: list[str]) -> list[str]:
    """Return the columns that may contain the texts, the most likely one first."""
    return [name for name in present if name.strip().lower() == "text"] or sample.full_texts()


def _with_target(sample: Sample, text: str) -> DetectedRoles | None:
    """Return the roles for texts in the column `text`, or None if no other column looks like a target."""
    flags = [name for name in sample.flags() if name != text]
    labels = sample.by_likelihood(name for name in sample.categories() if name != text)
    if len(flags) > 1 and set(labels) <= set(flags):
        return DetectedRoles("multilabel", {"text": text, "label": flags}, guessed=True)
    if labels:
        return DetectedRoles("classification", {"text": text, "label": labels[0]}, guessed=True)
    if len(numbers := [name for name in sample.numbers() if name != text]) == 1:
        return DetectedRoles("regression", {"text": text, "value": numbers[0]}, guessed=True)
    return None
