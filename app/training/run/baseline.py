"""Fits the baseline of a training run before its first step, and reports the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.training.baseline.comparison import SHOWN, shown_figure
from app.training.baseline.process import load_or_fit
from app.training.baseline.result import Fitted
from app.training.baseline.work import MOST_LABELS, derive_limits
from app.training.events import Events
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Rows, token_count
from app.wire.measurement import too_few
from app.wire.trainer import TrainSpec

_FEWEST_CHARACTERS = 1000  # a held-out text with fewer characters is too small to compare models on
_BYTES_PER_TOKEN = 4  # an approximate average


def fit_baseline(
    run: Path, spec: TrainSpec, settled: Settled, dataset: Dataset, events: Events, check: Callable[[], None]
) -> Fitted | None:
    """Load or fit the baseline, and emit a note about it. `check` is called while this function waits, and may raise an
    exception.

    Returns None if the request disables the baseline, if there is too little held-out data for comparing models, or if
    there are more than `MOST_LABELS` labels.
    """
    if spec.training.baseline is False or not any(_measurable(dataset).values()):
        return None
    if len(dataset.facts.labels) > MOST_LABELS:
        events.note("baseline", 0, f"there is no baseline for more than {MOST_LABELS:,} labels")
        return None
    bounds = derive_limits(spec.seed, settled.max_seconds)
    fitted = load_or_fit(run, bounds, settled.config.context_length, settled.max_seconds, check)
    _announce(events, fitted, settled.config.task)
    return fitted


def baseline_seconds(spec: TrainSpec, settled: Settled, dataset: Dataset) -> float:
    """Estimate how long `fit_baseline` takes, in seconds."""
    labels = len(dataset.facts.labels)
    if spec.training.baseline is False or not any(_measurable(dataset).values()) or labels > MOST_LABELS:
        return 0.0
    sizes = {name: _BYTES_PER_TOKEN * token_count(part) for name, part in dataset.parts.items()}
    train = sizes.pop("train")
    about = derive_limits(spec.seed, settled.max_seconds).seconds(train, sum(sizes.values()), labels)
    return about if settled.max_seconds is None else min(about, settled.max_seconds)


def _measurable(dataset: Dataset) -> dict[str, bool]:
    """Return, for each held-out split, whether it is large enough to compare models."""
    return {
        name: part.characters >= _FEWEST_CHARACTERS
        if dataset.facts.task == "generation"
        else isinstance(part, Rows) and not too_few(len(part))
        for name, part in dataset.parts.items()
        if name != "train"
    }


def _announce(events: Events, fitted: Fitted, task: str) -> None:
    if fitted.reason:
        events.note("baseline", 0, f"there is no baseline: {fitted.reason}")
        return
    report: dict[str, Any] = fitted.report
    figures = ", ".join(
        shown_figure(name, task, split) for name, split in report["splits"].items() if SHOWN[task] in split
    )
    events.note("baseline", 0, f"baseline ({report['description']}): {figures}", **report)
