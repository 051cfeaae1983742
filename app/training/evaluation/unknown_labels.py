"""Reports evaluated rows with labels that a version does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from app.training.data.label_twins import spelling_advice
from app.training.evaluation.held_out import HeldOut
from app.training.evaluation.scores import covered_rows
from app.training.prepare.dataset import Rows
from app.wording import quantity

_LISTED = 20  # the maximum number of labels in the warning


def unknown_labels(held_out: HeldOut, own: Sequence[str]) -> list[str]:
    """Return the labels of the evaluated rows that are not among the version's `own` labels."""
    if len(held_out.labels) == len(own) or not isinstance(held_out.data, Rows):
        return []
    targets_N = held_out.data.targets_N
    numbers = range(len(own), len(held_out.labels))
    return [held_out.labels[number] for number in numbers if _occurs(targets_N, number)]


def _occurs(targets_N: NDArray[Any], number: int) -> bool:
    return bool((targets_N == number if targets_N.ndim == 1 else targets_N[:, number] > 0).any())


def warning_of(reference: str, held_out: HeldOut, own: Sequence[str]) -> str:
    """Return a warning about the labels that the version `reference` does not have, or "" if there are none.

    The warning states how many rows the loss covers.
    """
    unknown = unknown_labels(held_out, own)
    if not unknown or not isinstance(held_out.data, Rows):
        return ""
    rows, covered = len(held_out.data), int(covered_rows(held_out.data.targets_N, len(own)).sum())
    loss = f"the loss covers only the other {covered:,} of {quantity(rows, 'row')}"
    loss = loss if covered else "there are no other rows, so no loss is computed"
    message = f"{reference} does not have these labels, so their rows count as wrong: {_listing(unknown)}; {loss}"
    return message + spelling_advice(unknown, own)


def _listing(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _LISTED:,} more" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more
