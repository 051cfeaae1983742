"""The end of a training run: evaluates the kept weights on all held-out data, and writes the final checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import load_file

from app.checkpoint import directory as checkpoint
from app.training.baseline.comparison import Outputs, compare
from app.training.baseline.result import Fitted
from app.training.events import Events
from app.training.loop.divergence import check_metrics
from app.training.loop.evaluate import EvaluationSplit, Observer, evaluate
from app.training.loop.figures import validation_figures
from app.training.loop.loop import Training
from app.training.report import card, errors, export, results
from app.wire.trainer import Done, Metrics, Phase, TrainSpec

BASELINE = "baseline"  # the key in the metrics of a version, beside its splits


def complete(
    run: Path,
    spec: TrainSpec,
    training: Training,
    best: Path,
    baseline: Fitted | None,
    events: Events,
    check: Callable[[], None],
) -> Done:
    """Write `results.csv`, `done.json` and `checkpoint/`, with the weights from the directory `best`.

    `check` is called between batches and may raise. `checkpoint/` marks the run as finished and is therefore written
    last: if this attempt is killed before that, the next attempt repeats all of these steps.
    """
    settled, dataset, network, progress = training.settled, training.dataset, training.network, training.progress
    events.emit(Phase("evaluating"))
    network.load_state_dict(load_file(best / "model.safetensors", device=settled.device))
    outputs: dict[str, Outputs] = {}
    metrics = _evaluate(training, outputs, check)
    if settled.eval_rows is not None:
        # Earlier evaluations used only a subset of the validation data; this one used all of it.
        figures = validation_figures(metrics["validation"], full=True)
        step, tokens = progress.best_step, progress.trained_tokens
        events.emit(Metrics(step, settled.total_steps, figures, 1.0, 0.0, tokens, final=True))
    if baseline is not None:
        config = settled.config
        if report := compare(baseline, config.task, config.architecture, metrics, outputs):
            events.note("comparison", progress.best_step, report["summary"], **report["comparison"])
            metrics[BASELINE] = report
    events.emit(Phase("publishing"))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    text = card.write(spec, settled, dataset.facts, metrics, parameters)
    results.write_csv(run / "results.csv", progress.history)
    validation = EvaluationSplit(dataset.validation, dataset.facts, settled.device)
    errors.write(run / "errors.npy", network, validation, check)
    done = Done(
        checkpoint="checkpoint",
        task=settled.config.task,
        architecture=settled.config.architecture,
        parameters=parameters,
        metrics=metrics,
        trained_tokens=progress.trained_tokens,
        results="results.csv",
        step=progress.best_step,
        errors="errors.npy",
    )
    checkpoint.write_bytes(run / "done.json", msgspec.json.encode(done))
    export.finish(run / "checkpoint", best, text, metrics, progress, dataset)
    return done


def _evaluate(training: Training, outputs: dict[str, Outputs], check: Callable[[], None]) -> dict[str, Any]:
    """The metrics of each held-out split, keyed by the name of the split. The outputs of rows go into `outputs`."""
    dataset, settled = training.dataset, training.settled

    def keep(name: str) -> Observer:
        return lambda outputs_NC, targets_N: outputs.update({name: (outputs_NC, targets_N)})

    splits = {name: data for name, data in dataset.parts.items() if name != "train"}
    metrics = {
        name: evaluate(training.network, EvaluationSplit(data, dataset.facts, settled.device), check, keep(name))
        for name, data in splits.items()
    }
    digests = dataset.facts.report.get("sha256", {})  # prepared data of earlier releases has none
    for name, values in metrics.items():
        if name in digests:
            values["rows_sha256"] = digests[name]
        check_metrics(name, values, training.progress.best_step, settled)
    return metrics
