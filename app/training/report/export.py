"""A checkpoint directory out of a network: weights, configuration, labels, tokenizer, figures, model card.

Whole or absent. The weights' file says nothing but the weights. Knows the directory format.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from app.checkpoint import directory as checkpoint
from app.training.failures import BadData
from app.training.loop.evaluate import MATRIX_LABELS, Network
from app.training.loop.progress import Progress, sync
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Facts
from app.training.report import results
from app.wire.trainer import TrainSpec

_ROOM = 1 << 16  # bytes for what is known only at the end


def write(
    directory: Path, network: Network, spec: TrainSpec, settled: Settled, prepared: Dataset, metrics: dict[str, Any]
) -> None:
    """What a version needs to be loaded, and what it came from. Replaces a directory of that name."""
    aside = _aside(directory)
    facts = prepared.facts
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, aside / "model.safetensors")
    sync(aside / "model.safetensors")
    if facts.labels:
        checkpoint.write_json(aside / "labels.json", facts.labels)
    checkpoint.write_json(aside / "config.json", _config(settled, facts))
    if prepared.tokenizer is not None:
        shutil.copyfile(prepared.tokenizer, aside / "tokenizer.json")
    checkpoint.write_json(aside / "training.json", _origin(spec, settled, prepared, metrics))
    _put(aside, directory)


def check(spec: TrainSpec, settled: Settled, prepared: Dataset) -> None:
    """Raise BadData where the files of a version would be larger than they may be, before anything is trained."""
    facts = prepared.facts
    made = {
        "config.json": _config(settled, facts),
        "labels.json": facts.labels,
        "metrics.json": {name: _widest(facts.labels) for name in prepared.parts if name != "train"},
        "training.json": _origin(spec, settled, prepared, {}),
    }
    for name, value in made.items():
        size, limit = len(checkpoint.encode(value)), checkpoint.LIMITS[name]
        if size + _ROOM > limit:
            large = f"{len(facts.labels):,} labels of {sum(map(len, facts.labels)):,} characters in all"
            if name == "config.json":
                large = f"{facts.features:,} numbers a step"
            raise BadData(
                f"{spec.training_file.filename} has {large}, more than a version can hold: its {name} would have "
                f"{size:,} bytes, and {limit - _ROOM:,} are the most"
            )


def _widest(labels: list[str]) -> dict[str, Any]:
    """Figures of an evaluation that take as much room as any can."""
    figures = dict.fromkeys(("precision", "recall", "f1"), 1.2345678901234567e-05) | {"support": 10**12}
    matrix = [[10**6] * len(labels)] * len(labels) if len(labels) <= MATRIX_LABELS else []
    return {"per_class": dict.fromkeys(labels, figures), "confusion_matrix": matrix}


def finish(directory: Path, best: Path, card: str, metrics: dict[str, Any], state: Progress, prepared: Dataset) -> None:
    """The final checkpoint: the best one, with its figures, plots and card."""
    from app.training.report import plots

    aside = _aside(directory)
    for file in best.iterdir():
        shutil.copyfile(file, aside / file.name)
    training = checkpoint.load_json(aside / "training.json")
    figures = {name: _short(part) for name, part in metrics.items()}
    checkpoint.write_json(aside / "training.json", training | {"metrics": figures, "steps": state.step})
    results.write_metrics(aside / "metrics.json", metrics)
    results.write_csv(aside / "results.csv", state.history)
    plots.draw(aside / "plots", state.history, metrics, prepared.facts.report.get("length_histogram"))
    (aside / "README.md").write_text(card, encoding="utf-8")
    checkpoint.validate(aside)
    _put(aside, directory)


def _config(settled: Settled, facts: Facts) -> dict[str, Any]:
    """What config.json says; the labels stand in labels.json alone, as there may be very many."""
    optional = {
        "normalization": facts.normalization,
        "target": facts.target,
        "chat_template": facts.chat_template,
        "threshold": 0.5 if facts.task == "multilabel" else None,
    }
    said: dict[str, Any] = settled.config.to_dict() | {"format_version": checkpoint.FORMAT_VERSION}
    return said | {name: value for name, value in optional.items() if value is not None}


def _short(part: dict[str, Any]) -> dict[str, Any]:
    """Without the figures that grow with the number of labels: those stand in metrics.json."""
    return {name: value for name, value in part.items() if name not in ("confusion_matrix", "per_class")}


def _aside(directory: Path) -> Path:
    aside = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def _put(aside: Path, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(aside, directory)
    checkpoint.sync_directory(directory.parent)


def _origin(spec: TrainSpec, settled: Settled, prepared: Dataset, metrics: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    return {
        "spec": msgspec.to_builtins(spec),
        "settled": settled.to_dict(),
        "seed": spec.seed,
        "data": {
            "training_file": spec.training_file.sha256,
            "validation_file": spec.validation_file.sha256 if spec.validation_file else None,
            "report": prepared.facts.report,
        },
        "metrics": metrics,
    }
