"""Collects outputs for the validation rows, unbiased by the choice of the checkpoint, to calibrate the final version.

The checkpoint with the best evaluation is the best partly by chance, so its outputs are better on the rows of that
evaluation than on new rows. The validation rows are therefore divided into folds. For the rows of a fold, the outputs
of the checkpoint that is best on the other folds are kept. Therefore, a row does not influence the choice of the
checkpoint that scores it, or the weights that combine the outputs of the network and its n-gram branch. For most folds,
the chosen checkpoint is also the best on all rows, so the kept outputs are close to those of the final version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.training.loop import mixing, selection
from app.training.loop.batches import spaced
from app.training.loop.evaluate import Observer, measure
from app.training.plan.config import Settled
from app.training.prepare.dataset import Facts, Rows, Stream

FOLDS, FEWEST_FOLDS = 10, 2
FOLD_VALUES = 20_000_000  # with more outputs, fewer folds are used, because metrics are computed for each fold
ROWS, VALUES = 20_000, 1_000_000  # the maximum numbers of rows and of outputs (rows times outputs per row) to keep
FEWEST = 20  # with fewer rows, some folds would have at most one row


@dataclass(slots=True)
class FoldBest:
    """The best evaluation when the rows of one fold are left out. Implements `selection.Kept`."""

    best_value: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)


def most_rows(width: int) -> int:
    """Return the maximum number of rows for the calibration of a network with `width` outputs."""
    return min(ROWS, VALUES // width)


def fold_numbers(rows: int, folds: int) -> NDArray[np.int64]:
    """Return the fold of each row, chosen at random because neighbouring rows may have the same label."""
    return np.random.default_rng(rows).permutation(rows) % folds


class CrossFit:
    """The kept outputs, updated after each evaluation.

    Disabled for generation, for fewer than `FEWEST` rows, and if there are unbiased rows without cross-fitting. This is
    the case if evaluations use only some of the rows, or if evaluations are used neither to choose the checkpoint nor
    to fit the weights of an n-gram branch (`mixed`).

    `rows_M` are the numbers of the rows whose outputs are kept, and `outputs_MC` are their outputs.
    """

    def __init__(self, settled: Settled, facts: Facts, data: Rows | Stream, *, mixed: bool = False) -> None:
        self._rule, self._facts = settled.metric, facts
        width = max(1, len(facts.labels))
        self.enabled = (
            facts.task != "generation"
            and isinstance(data, Rows)
            and settled.eval_rows is None
            and (settled.metric != "last" or mixed)
            and len(data) >= FEWEST
        )
        count = len(data) if self.enabled and isinstance(data, Rows) else 0
        self.rows_M = spaced(count, most_rows(width))
        folds = min(FOLDS, max(FEWEST_FOLDS, FOLD_VALUES // max(1, count * width)))
        self._folds_N = fold_numbers(count, folds)
        self.outputs_MC = np.zeros((len(self.rows_M), width), dtype=np.float32)
        self._best = [FoldBest() for _ in range(folds)]

    @property
    def complete(self) -> bool:
        """Whether cross-fitting is enabled and has outputs for every row in `rows_M`."""
        return self.enabled and all(best.best_value is not None for best in self._best)

    def observer(self, fraction: float) -> Observer | None:
        """Return a function that receives the outputs of one evaluation, or None if cross-fitting is disabled.

        `fraction` is the completed share of the run.
        """
        return partial(self._observe, fraction) if self.enabled else None

    def _observe(self, fraction: float, parts_PNC: NDArray[np.float64], targets: NDArray[Any]) -> None:
        for fold, best in enumerate(self._best):
            others_N = self._folds_N != fold
            outputs_NC = self._combined(parts_PNC, targets, others_N)
            metrics = measure(self._facts, outputs_NC[others_N], targets[others_N])
            replaces = selection.improves(self._rule, metrics, fraction, best)
            best.best_value = selection.best(self._rule, metrics, fraction, best)
            if replaces:
                best.best_metrics = {"valid_loss": metrics["loss"]}
                own_M = ~others_N[self.rows_M]
                self.outputs_MC[own_M] = outputs_NC[self.rows_M[own_M]]

    def _combined(
        self, parts_PNC: NDArray[np.float64], targets: NDArray[Any], others_N: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the network's outputs.

        If the network has an n-gram branch, returns the weighted sum of both outputs, with weights fitted on the rows
        in `others_N`.
        """
        if len(parts_PNC) == 1:
            single_NC: NDArray[np.float64] = parts_PNC[0]
            return single_NC
        network_NC, branch_NC = parts_PNC
        weights = mixing.fit(self._facts.task, network_NC[others_N], branch_NC[others_N], targets[others_N])
        mixed_NC: NDArray[np.float64] = weights[0] * network_NC + weights[1] * branch_NC
        return mixed_NC

    def tensors(self) -> dict[str, Tensor]:
        """Return the state to store in a resume point."""
        if not self.enabled:
            return {}
        pairs = [(best.best_value, best.best_metrics.get("valid_loss")) for best in self._best]
        values = [[math.nan if value is None else value for value in pair] for pair in pairs]
        return {"outputs": torch.from_numpy(self.outputs_MC.copy()), "best": torch.tensor(values, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state stored in a resume point.

        Resume points of earlier releases do not contain this state; the evaluations after the restart then create it.
        """
        if not self.enabled or not tensors:
            return
        self.outputs_MC = tensors["outputs"].cpu().numpy().copy()
        for best, (value, loss) in zip(self._best, tensors["best"].tolist(), strict=True):
            if not math.isnan(value):
                best.best_value, best.best_metrics = value, {"valid_loss": loss}
