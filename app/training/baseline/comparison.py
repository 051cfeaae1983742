"""Compares a network with the baseline of its training run, on the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.baseline.paired import PairedTest, correct_rows, mcnemar, t_test
from app.training.baseline.result import Fitted, Predictions
from app.wire.measurement import too_few

SHOWN = {"classification": "accuracy", "multilabel": "accuracy", "regression": "r2", "generation": "bits_per_character"}
_NAMES = {
    "classification": "accuracy", "multilabel": "exact-match accuracy", "regression": "R²",
    "generation": "bits per character",
}  # fmt: skip
_SIGNIFICANT = 0.05
OutputsAndTargets = tuple[NDArray[np.float64], NDArray[Any]]


def compare(
    fitted: Fitted, task: str, architecture: str, metrics: Mapping[str, Any], outputs: Mapping[str, OutputsAndTargets]
) -> dict[str, Any] | None:
    """Return the report on the baseline for `metrics.json`, with a comparison on the test data or, if there is too
    little, on the validation data.

    `metrics` and `outputs` are those of the network, keyed by held-out split; language models have no `outputs`.
    Returns None if there is no baseline, if all splits are too small for a comparison, or if the network's main metric
    is missing.
    """
    splits = fitted.report.get("splits", {})
    name = next((n for n in ("test", "validation") if n in splits and not too_few(splits[n].get("rows"))), None)
    if name is None:
        return None
    metric, split = SHOWN[task], splits[name]
    own, test = metrics[name].get(metric), None
    if name in outputs:
        own, test = _on_rows(task, fitted.predictions[name], *outputs[name])
    if own is None:
        return None
    comparison = {"split": name, "metric": metric, "network": own, "baseline": split[metric]}
    if test is not None:
        comparison |= {"test": test.name, "p": test.p}
    summary = _summary(task, architecture, fitted.report, comparison)
    return {**fitted.report, "comparison": comparison, "summary": summary}


def _on_rows(
    task: str, predictions: Predictions, outputs_NC: NDArray[np.float64], targets_N: NDArray[Any]
) -> tuple[float, PairedTest]:
    """Return the network's main metric on the baseline's rows, and a paired test of the network and the baseline."""
    rows_N = predictions.rows_N
    outputs_NC, targets_N, predicted_N = outputs_NC[rows_N], targets_N[rows_N], predictions.predicted_N
    if task == "regression":
        errors_N, others_N = (outputs_NC[:, 0] - targets_N) ** 2, (predicted_N - targets_N) ** 2
        variance = float(targets_N.astype(np.float64).var())
        r2 = 1.0 - float(errors_N.mean()) / variance if variance > 0 else 0.0
        return r2, t_test(errors_N.astype(np.float64), others_N.astype(np.float64))
    right_N = correct_rows(task, outputs_NC, targets_N)
    equal_N = predicted_N == targets_N
    return float(right_N.mean()), mcnemar(right_N, equal_N.all(1) if equal_N.ndim > 1 else equal_N)


def main_figure(task: str, value: float | None) -> str:
    """Return a task's main metric with its name: `0.928 accuracy`, or `no accuracy` if the value is None."""
    return f"{'no' if value is None else format(value, '.3f')} {_NAMES[task]}"


def shown_figure(split: str, task: str, figures: Mapping[str, Any]) -> str:
    """Return the main metric of a split, with the split's name: `0.928 validation accuracy`."""
    return f"{figures[SHOWN[task]]:.3f} {split} {_NAMES[task]}"


def _summary(task: str, architecture: str, report: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Return one sentence: `gru: 0.941 test accuracy; a linear model on the same rows: 0.928 (McNemar p = 0.004)`. If
    the baseline is significantly better, the sentence says so. Bits per character are compared without a test.
    """
    own = shown_figure(comparison["split"], task, {comparison["metric"]: comparison["network"]})
    name = _name(task, architecture, report)
    where = _where(name, report, comparison["split"])
    sentence = f"{architecture}: {own}; {where}: {comparison['baseline']:.3f}"
    if "p" in comparison:
        sentence += f" ({comparison['test']} p {p_value(comparison['p'])})"
        worse = comparison["p"] < _SIGNIFICANT and comparison["network"] < comparison["baseline"]
    else:
        worse = task == "generation" and comparison["network"] > comparison["baseline"]
    return f"{sentence}: the {name.partition(' ')[2]} is better" if worse else sentence


def _name(task: str, architecture: str, report: Mapping[str, Any]) -> str:
    """Return the baseline's name. For a `linear` network, this is the method: "a linear model" would be ambiguous."""
    if report["model"] == "ngram":
        return "an n-gram model"
    if architecture != "linear":
        return "a linear model"
    return "a ridge regression" if task == "regression" else "a linear SVM"


def _where(name: str, report: Mapping[str, Any], split: str) -> str:
    """Describe the baseline, the data that it was fitted to, and the data that it was measured on."""
    train, unit = report["train"], "characters" if report["model"] == "ngram" else "rows"
    text = f"{name} on the same {'text' if report['model'] == 'ngram' else 'rows'}"
    if train[unit] < train["of"]:
        text = f"{name} fitted to {train[unit]:,} of the {train['of']:,} training {unit}"
    held_out = report["splits"][split]
    if held_out[unit] < held_out["of"]:
        text += f", measured on {held_out[unit]:,} {split} {unit}"
    return text


def p_value(value: float) -> str:
    """Format a p-value with a relation sign: `= 0.004` or `< 0.001`."""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"
