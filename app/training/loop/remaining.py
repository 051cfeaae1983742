"""The size of evaluations, in rows or tokens, which is used to estimate the duration of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Rows, Stream

CLOSING = 3.0  # estimated seconds for the calibration, the plots and the files of a version


@dataclass(frozen=True, slots=True)
class EvaluationWork:
    """The size of each evaluation during the run, and the total size of all evaluations after the run's last step.

    Sizes are numbers of rows or, for a text, numbers of tokens.
    """

    regular: int
    closing: int

    @classmethod
    def of(cls, settled: Settled, dataset: Dataset) -> EvaluationWork:
        """Return the evaluation work for a run with these settings on this data."""
        validation = size_of(dataset.validation)
        closing = sum(size_of(part) for name, part in dataset.parts.items() if name != "train")
        if settled.config.task == "generation":
            closing += validation  # evaluated a second time, to compute the errors that are used to compare trials
        return cls(min(settled.eval_rows or validation, validation), closing)


def size_of(part: Rows | Stream) -> int:
    """Return the number of rows or, for a text, the number of tokens."""
    return len(part) if isinstance(part, Rows) else len(part.ids_T)


def evaluations_between(settled: Settled, first: int, last: int) -> int:
    """Count the evaluations after step `first`, up to and including step `last`, the end of the run."""
    every = settled.eval_every
    if every is None or last <= first:
        return 0
    ends_between = last % every != 0
    return last // every - first // every + ends_between
