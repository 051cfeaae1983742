"""A version's calibration (`calibration.json`), which converts scores to probabilities, sets and intervals.

Imports neither torch nor numpy: the trainer writes calibrations, and the API process applies them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

from app.errors import CheckpointInvalid
from models.config import ModelConfig

FILE = "calibration.json"
FORMAT_VERSION = 1
SCORES, LEVELS, BINS = 2000, 100, 100  # maximum numbers of scores, of risk levels, and of bins
# A level is tested only if at least this many errors are expected at the tested risk. With a confidence of 0.975, the
# upper bound of the error rate is 7.22/n if 2 of n answers are wrong.
START = 7.3
CROSS_FITTED, APART = "cross-fitted", "apart"


class ConformalScores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The nonconformity scores of `rows` rows, for split conformal prediction (Vovk et al., 2005).

    `values` is in ascending order. If only m < `rows` scores are kept, entry i (from 0) is the score of rank ⌈(i + 1) ·
    rows / m⌉, so that quantiles are never too small.
    """

    rows: int
    values: list[float]

    def quantile(self, coverage: float) -> float | None:
        """Return a score threshold that a new row exceeds with a probability of at most 1 − `coverage`.

        Returns None if there are too few rows, that is, if `coverage` exceeds rows / (rows + 1).
        """
        rank = math.ceil((self.rows + 1) * coverage - 1e-9)
        if rank > self.rows:
            return None
        return self.values[-(-rank * len(self.values) // self.rows) - 1]


class RiskLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The coverage and the risk if rows with a score below `score` are left unanswered.

    `answered` is the share of rows that are answered, `errors` is the share of wrong answers among them, and `bound` is
    the upper confidence bound of that share.
    """

    score: float
    answered: float
    errors: float
    bound: float


class Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bin of a reliability diagram: its number of rows, their mean score, and their accuracy."""

    rows: int
    confidence: float
    accuracy: float


class Reliability(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reliability diagram with bins of equal width, from 0 to 1, and its expected calibration error."""

    ece: float
    bins: list[Bin]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A calibration, measured on `rows` held-out rows.

    If x are the logits of the network, the calibrated logits are `scale * x + bias`. `scale` has one entry for all
    labels, or one per label; an empty `bias` means zeros. `scale` and `bias` are empty for regression.

    `method` is "apart" if these rows were used neither for training nor for choosing the checkpoint, and "cross-fitted"
    if the rows of each fold were scored by the checkpoint that was chosen on the other folds.

    `scores` are the nonconformity scores of all rows, and `label_scores` are the same scores separated by label, if
    each label has enough rows. The score of a row is 1 - p for classification, where p is the probability of the true
    label; 1 - min(p) over all true labels for multilabel classification; and the absolute error for regression.

    `risk` is the risk-coverage table, from the strictest to the most lenient threshold, with bounds that each hold with
    the given `confidence`. `before` and `after` are the reliability without and with calibration. For `after`, each row
    is calibrated with parameters that were fitted without that row.
    """

    format_version: int
    rows: int
    method: str
    scale: list[float]
    bias: list[float]
    scores: ConformalScores
    label_scores: list[ConformalScores] = []
    risk: list[RiskLevel] = []
    confidence: float = 0.975
    before: Reliability | None = None
    after: Reliability | None = None

    def quantiles(self, coverage: float, labels: int) -> list[float] | None:
        """Return, for each label, the largest nonconformity score at which the label belongs to a prediction set.

        Returns None if there are too few rows. If every label has enough rows for this coverage, each label has its own
        quantile; otherwise, all labels share one quantile.
        """
        own = [scores.quantile(coverage) for scores in self.label_scores]
        quantiles = [quantile for quantile in own if quantile is not None]
        if own and len(quantiles) == len(own):
            return quantiles
        quantile = self.scores.quantile(coverage)
        return None if quantile is None else [quantile] * labels

    def level(self, max_risk: float) -> RiskLevel | None:
        """Return the level that answers the most rows among those with a guaranteed error rate of at most `max_risk`.

        The levels are tested from the strictest to the most lenient, until a level's bound exceeds `max_risk`. Since
        this order is fixed in advance, the true error rate of the chosen level exceeds `max_risk` with a probability of
        at most 1 - `confidence` (fixed sequence testing; Angelopoulos et al., Learn then Test, 2021). Levels with too
        few rows to tolerate at least two errors are not tested.
        """
        chosen = None
        for level in self.risk:
            if level.answered * self.rows * max_risk < START:
                continue
            if level.bound > max_risk:
                break
            chosen = level
        return chosen

    @property
    def least_risk(self) -> float:
        """The lowest `max_risk` for which `level` returns a level, or 1 if there is none."""
        starts = [START / (level.answered * self.rows) for level in self.risk]
        risks = sorted({*starts, *(level.bound for level in self.risk)})
        return next((risk for risk in risks if self.level(risk) is not None), 1.0)


def parse_calibration(value: object, config: ModelConfig) -> Calibration:
    """Check and convert a parsed calibration.json. Raises CheckpointInvalid, with the invalid field in the message."""
    try:
        calibration = msgspec.convert(value, Calibration)
    except msgspec.ValidationError as error:
        raise CheckpointInvalid(f"{FILE} is not valid: {error}") from None
    if config.task == "generation":
        raise CheckpointInvalid(f"{FILE} does not belong in a checkpoint for generation")
    _check(calibration.format_version == FORMAT_VERSION, f"format_version must be {FORMAT_VERSION}")
    _check(calibration.method in (CROSS_FITTED, APART), f"method must be {CROSS_FITTED} or {APART}")
    _check(0 < calibration.confidence < 1, "confidence must be above 0 and below 1")
    _check_logits(calibration, config)
    _check_scores(calibration.scores, "scores")
    lengths = (0, config.classes) if config.task == "classification" else (0,)
    _check(len(calibration.label_scores) in lengths, "label_scores must have one entry per label, or none")
    for scores in calibration.label_scores:
        _check_scores(scores, "label_scores")
    _check_risk(calibration.risk)
    for reliability in filter(None, (calibration.before, calibration.after)):
        _check(len(reliability.bins) <= BINS, f"a reliability diagram may have at most {BINS} bins")
    return calibration


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise CheckpointInvalid(f"{FILE}: {message}")


def _check_logits(calibration: Calibration, config: ModelConfig) -> None:
    labelled = config.task != "regression"
    scale, bias = calibration.scale, calibration.bias
    _check(len(scale) in ((1, config.classes) if labelled else (0,)), "scale must have one entry, or one per label")
    _check(len(bias) in ((0, config.classes) if labelled else (0,)), "bias must have one entry per label, or none")
    _check(all(0 < value < math.inf for value in scale), "scale must be above 0")
    _check(all(map(math.isfinite, bias)), "bias must be finite")


def _check_scores(scores: ConformalScores, name: str) -> None:
    count = len(scores.values)
    _check(1 <= count <= min(SCORES, scores.rows), f"{name} must have 1 to {SCORES} values, and at most one per row")
    _check(all(map(math.isfinite, scores.values)) and _ascending(scores.values), f"{name} must be in ascending order")


def _check_risk(levels: list[RiskLevel]) -> None:
    _check(len(levels) <= LEVELS, f"risk may have at most {LEVELS} levels")
    shares = [share for level in levels for share in (level.score, level.answered, level.errors, level.bound)]
    _check(all(0 <= share <= 1 for share in shares), "the numbers in risk must be from 0 to 1")
    _check(_ascending([level.answered for level in levels]), "risk must begin with the strictest level")


def _ascending(values: Sequence[float]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))
