"""Emits the notes at the start of a training run: the data report, warnings about the data, and the configuration."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.training.data.report import warnings_of
from app.training.data.row_sample import TRAIN_SAMPLE
from app.training.events import Events
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Rows
from app.wire.measurement import consequences, too_few
from app.wording import quantity


def announce(events: Events, dataset: Dataset, settled: Settled) -> None:
    """Emit the opening notes, all with step 0."""
    announce_data(events, dataset, settled)
    shown = {name: value for name, value in settled.to_dict().items() if name not in ("digests", "class_weights")}
    events.note("settled", 0, _summary(settled), **shown)


def announce_data(events: Events, dataset: Dataset, settled: Settled) -> None:
    """Emit the notes about the data."""
    report = {name: value for name, value in dataset.facts.report.items() if name != TRAIN_SAMPLE}
    report["truncated"] = settled.truncated
    counts = report.get("rows") or report.get("characters") or {}
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    events.note("data_report", 0, f"data: {sizes} {'rows' if 'rows' in report else 'characters'}", **report)
    announce_remarks(events, report.get("remarks") or [])
    for kind, message in _warnings(report, settled):
        events.note(kind, 0, message, "warn")
    rows = (report.get("rows") or {}).get("validation")
    # A linear model always keeps its last weights, regardless of the number of validation rows.
    selects = settled.metric != "last" or settled.config.architecture == "linear"
    if settled.config.task != "generation" and rows and (few := consequences(rows, selects=selects)):
        events.note("few_validation_rows", 0, few, "warn" if too_few(rows) else "info")
    if long := _long_rows(dataset, settled):
        events.note("row_limit", 0, long)


def announce_remarks(events: Events, remarks: list[dict[str, Any]]) -> None:
    """Emit one note for each remark. Each note must have a unique kind, so repeated kinds are numbered."""
    kinds: Counter[str] = Counter()
    for remark in remarks:
        kind = remark["kind"]
        kinds[kind] += 1
        name = kind if kinds[kind] == 1 else f"{kind}_{kinds[kind]}"
        events.note(name, 0, remark["message"], remark["level"], where=remark["where"], count=remark["count"])


def _summary(settled: Settled) -> str:
    model = settled.config
    size = f"{quantity(model.layers, 'layer')} of {model.width}, " if model.architecture != "linear" else ""
    branch = f"{model.ngram_buckets:,} buckets for n-grams, " if model.ngram_buckets else ""
    end = quantity(settled.total_steps, "step") if settled.total_steps else f"{settled.max_seconds:g} seconds"
    return (
        f"{model.architecture}: {size}context {model.context_length}, {branch}"
        f"{end} of {settled.batch_size * settled.accumulation}, learning rate {settled.learning_rate:g}, "
        f"{quantity(settled.threads, 'thread')}, {settled.precision}"
    )


def _long_rows(dataset: Dataset, settled: Settled) -> str:
    """Return a sentence about the training rows that are cut to save time, or "" if there are none."""
    train, limit, context = dataset.train, settled.row_limit, settled.config.context_length
    if not isinstance(train, Rows) or not 0 < limit < context or not (cut := int((train.lengths_N > limit).sum())):
        return ""
    unit = "steps" if settled.config.input == "features" else "tokens"
    share = cut / len(train)
    return (
        f"{quantity(cut, 'training row')} ({share:.1%}) {'is' if cut == 1 else 'are'} longer than {limit} {unit}; "
        f"training reads only the beginning, but evaluations read up to {context}; training.context_length sets "
        "one limit for both"
    )


def _warnings(report: dict[str, Any], settled: Settled) -> list[tuple[str, str]]:
    """Return the kind and the message of each warning."""
    warnings = warnings_of(report, settled.config.task)
    if settled.truncated:
        unit = "steps" if settled.config.input == "features" else "tokens"
        verb = "is" if settled.truncated == 1 else "are"
        message = f"{quantity(settled.truncated, 'row')} {verb} cut to {settled.config.context_length} {unit}"
        warnings.append(("truncated", message))
    if settled.max_seconds:
        message = "with max_seconds, training stops after a fixed time, so equal requests may produce different weights"
        warnings.append(("time_limit", message))
    return warnings
