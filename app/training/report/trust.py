"""Writes the model card's section on the reliability of answers: calibration, prediction sets, risk and coverage."""

from __future__ import annotations

from typing import Any

from app.checkpoint.calibration import CROSS_FITTED, Calibration
from app.wire.measurement import shows_calibration_error
from app.wording import quantity

_RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)


def summary(calibration: Calibration, *, selects: bool) -> str:
    """Return one sentence that describes the calibration, the rows used for it, and its result.

    `selects` specifies whether evaluations were used to choose the checkpoint. If `selects` is false, the weights are
    those of the last step.
    """
    rows, method = f"{calibration.rows:,} held-out rows", _method(calibration, selects)
    if calibration.before is None or calibration.after is None:
        return f"prediction intervals measured on {rows}, {method}"
    noise = "" if shows_calibration_error(calibration.rows) else "; too few rows to measure the calibration error"
    what = f"scale {calibration.scale[0]:.3g}" if len(calibration.scale) == 1 else "a scale per label"
    bias = ", with a bias per label" if calibration.bias else ""
    errors = f"; expected calibration error {calibration.before.ece:.1%} before, {calibration.after.ece:.1%} after"
    return f"probabilities calibrated on {rows}, {method}: {what}{bias}{noise or errors}"


def lines(calibration: Calibration, metrics: dict[str, Any], *, selects: bool) -> list[str]:
    """Return the section as lines of Markdown."""
    text = summary(calibration, selects=selects)
    shown = ["## How far to trust it", "", f"{text[0].upper()}{text[1:]}.", ""]
    if sets := _sets(calibration, metrics.get("test") or {}):
        shown += [sets, ""]
    if calibration.risk:
        shown += [*_risks(calibration), ""]
    return shown


def _method(calibration: Calibration, selects: bool) -> str:
    if calibration.method == CROSS_FITTED and selects:
        return "each scored by the checkpoint that is best on the other folds of these rows"
    if calibration.method == CROSS_FITTED:
        return "each scored by the network and its n-gram branch, with weights fitted on the other folds of these rows"
    return "which were not used for training" + (" or for choosing the checkpoint" if selects else "")


def _sets(calibration: Calibration, test: dict[str, Any]) -> str:
    """Return a sentence about the prediction sets or intervals, measured on the test rows if there are any."""
    parts = []
    for name in ("90", "95"):
        if figures := test.get(f"sets_{name}"):
            parts.append(f"{name}% prediction sets contain the true label for {figures['coverage']:.1%} of the test "
                         f"rows and have {figures['mean_size']:.2f} labels on average")  # fmt: skip
        elif figures := test.get(f"intervals_{name}"):
            parts.append(f"{name}% prediction intervals contain the true value for {figures['coverage']:.1%} of the "
                         f"test rows and are {figures['mean_width']:.4g} wide")  # fmt: skip
        elif not calibration.scale and (error := calibration.scores.quantile(int(name) / 100)) is not None:
            parts.append(f"{name}% prediction intervals extend {error:.4g} to both sides of the predicted value")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _risks(calibration: Calibration) -> list[str]:
    """Return a table of error rates, and of the thresholds that guarantee them."""
    levels = {risk: calibration.level(risk) for risk in _RISKS}
    attainable = {risk: level for risk, level in levels.items() if level is not None}
    if not attainable:
        rows = quantity(calibration.rows, "row")
        return [
            f"{rows} are too few, or contain too many errors, to guarantee an error rate of {_RISKS[-1]:.0%} or less."
        ]
    return [
        f"Limits on the error rate of answers with at least the given score (confidence {calibration.confidence:.1%}):",
        "",
        "| errors at most | score | answered | errors measured |",
        "|---|---|---|---|",
        *(f"| {risk:.0%} | {v.score:.4f} | {v.answered:.0%} | {v.errors:.1%} |" for risk, v in attainable.items()),
    ]
