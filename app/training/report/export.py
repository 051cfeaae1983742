"""Writes checkpoint directories: weights, configuration, labels, tokenizer, metrics and model card.

At any moment, a checkpoint directory is either complete or absent, so that a partial one is never visible. The weights
file has no metadata, so equal weights produce identical files.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from app.checkpoint import directory as checkpoint
from app.checkpoint.adapter import LowRankAdapter
from app.checkpoint.calibration import FILE, Calibration
from app.checkpoint.configuration import FORMAT_VERSION
from app.training.failures import BadData
from app.training.loop.evaluate import MATRIX_LABELS
from app.training.loop.progress import Progress
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Facts
from app.training.report import results
from app.training.report.weights import Weights
from app.wire.trainer import TrainSpec

_RESERVE = 1 << 16  # bytes reserved for values that are only known at the end of the run


def write(
    directory: Path, weights: Weights, spec: TrainSpec, settled: Settled, dataset: Dataset, metrics: dict[str, Any]
) -> None:
    """Write all files that are needed to load the version, and `training.json`, which records how it was trained.

    Replaces the directory.
    """
    temporary = _temporary(directory)
    facts = dataset.facts
    weights.write(temporary)
    if facts.labels:
        checkpoint.write_json(temporary / "labels.json", facts.labels)
    checkpoint.write_json(temporary / "config.json", _config(settled, facts, weights.adapter))
    if dataset.tokenizer is not None:
        shutil.copyfile(dataset.tokenizer, temporary / "tokenizer.json")
    checkpoint.write_json(temporary / "training.json", _origin(spec, settled, dataset, metrics))
    _publish(temporary, directory)


def check(spec: TrainSpec, settled: Settled, dataset: Dataset) -> None:
    """Raise BadData if a file of the checkpoint would exceed its size limit. Called before training starts."""
    facts = dataset.facts
    files = {
        "config.json": _config(settled, facts),
        "labels.json": facts.labels,
        "metrics.json": {name: _widest(facts.labels) for name in dataset.parts if name != "train"},
        "training.json": _origin(spec, settled, dataset, {}),
    }
    for name, value in files.items():
        size, limit = len(checkpoint.encode(value)), checkpoint.LIMITS[name]
        if size + _RESERVE > limit:
            cause = f"{len(facts.labels):,} labels of {sum(map(len, facts.labels)):,} characters in total"
            if name == "config.json":
                cause = f"{facts.features:,} numbers per step"
            raise BadData(
                f"{spec.training_file.filename} has {cause}, more than a version can contain: its {name} would "
                f"have {size:,} bytes, but the limit is {limit - _RESERVE:,}"
            )


def _widest(labels: list[str]) -> dict[str, Any]:
    """Return metrics whose JSON representation is as long as possible."""
    figures = dict.fromkeys(("precision", "recall", "f1"), 1.2345678901234567e-05) | {"support": 10**12}
    matrix = [[10**6] * len(labels)] * len(labels) if len(labels) <= MATRIX_LABELS else []
    return {"per_class": dict.fromkeys(labels, figures), "confusion_matrix": matrix}


def finish(
    directory: Path,
    best: Path,
    card: str,
    metrics: dict[str, Any],
    progress: Progress,
    dataset: Dataset,
    calibration: Calibration | None,
) -> None:
    """Write the final checkpoint: the content of the directory `best`, the metrics, calibration, plots and model card.

    Replaces `directory`.
    """
    # The import of this module loads matplotlib, which is only needed at the end of a run.
    from app.training.report import plots

    temporary = _temporary(directory)
    for file in best.iterdir():
        shutil.copyfile(file, temporary / file.name)
    training = checkpoint.load_json(temporary / "training.json")
    figures = {name: _short(part) for name, part in metrics.items()}
    checkpoint.write_json(temporary / "training.json", training | {"metrics": figures, "steps": progress.step})
    results.write_metrics(temporary / "metrics.json", metrics)
    results.write_csv(temporary / "results.csv", progress.history)
    plots.draw(temporary / "plots", progress.history, metrics, dataset.facts.report.get("length_histogram"))
    if calibration is not None:
        checkpoint.write_json(temporary / FILE, msgspec.to_builtins(calibration))
        plots.draw_reliability(temporary / "plots", calibration)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    checkpoint.validate(temporary)
    _publish(temporary, directory)


def _config(settled: Settled, facts: Facts, adapter: LowRankAdapter | None = None) -> dict[str, Any]:
    """Return the content of config.json. The labels, which can be numerous, are stored in labels.json instead."""
    optional = {
        "normalization": facts.normalization,
        "target": facts.target,
        "chat_template": facts.chat_template,
        "eos_token": facts.eos_token,
        "threshold": 0.5 if facts.task == "multilabel" else None,
        "adapter": None if adapter is None else asdict(adapter),
    }
    values: dict[str, Any] = settled.config.to_dict() | {"format_version": FORMAT_VERSION}
    return values | {name: value for name, value in optional.items() if value is not None}


def _short(split: dict[str, Any]) -> dict[str, Any]:
    """Return a split's metrics, except those whose size depends on the number of labels."""
    return {name: value for name, value in split.items() if name not in ("confusion_matrix", "per_class")}


def _temporary(directory: Path) -> Path:
    """Create an empty temporary directory next to `directory`."""
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _publish(temporary: Path, directory: Path) -> None:
    """Rename the finished directory to its final name."""
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(temporary, directory)
    checkpoint.sync_directory(directory.parent)


def _origin(spec: TrainSpec, settled: Settled, dataset: Dataset, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the content of training.json."""
    return {
        "spec": msgspec.to_builtins(spec),
        "settled": settled.to_dict(),
        "seed": spec.seed,
        "data": {
            "training_file": spec.training_file.sha256,
            "validation_file": spec.validation_file.sha256 if spec.validation_file else None,
            "report": dataset.facts.report,
        },
        "metrics": metrics,
    }
