"""Completes a training run: evaluates the kept weights on all held-out data, and writes the final checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.checkpoint import directory as checkpoint
from app.checkpoint.calibration import Calibration
from app.training.baseline.comparison import OutputsAndTargets, compare
from app.training.baseline.result import Fitted
from app.training.calibration import calibrate
from app.training.calibration.held_out import held_out_rows
from app.training.events import Events
from app.training.loop.divergence import check_metrics
from app.training.loop.evaluate import EvaluationSplit, evaluate, measure, outputs_of
from app.training.loop.figures import validation_figures
from app.training.loop.loop import Training
from app.training.prepare.dataset import Facts
from app.training.report import card, errors, export, probes, results, trust
from app.training.report.weights import restore
from app.wire.probes import encode
from app.wire.trainer import Done, Metrics, Phase, TrainSpec
from app.wording import quantity
from models.tasks import LanguageModel

RESULTS, ERRORS, PROBES = "results.csv", "errors.npy", "probes.msgpack"
BASELINE = "baseline"  # a key in a version's metrics, at the same level as the names of the splits


def complete(
    run: Path,
    spec: TrainSpec,
    training: Training,
    best: Path,
    baseline: Fitted | None,
    events: Events,
    check: Callable[[], None],
) -> Done:
    """Write the results, errors and probes, `done.json`, and `checkpoint/` with the weights from the directory `best`.
    Return the final event, which `done.json` contains.

    `check` is called between batches and may raise an exception. `checkpoint/` marks the run as finished and is
    therefore written last. If this attempt is killed earlier, the next attempt calls this function again.
    """
    settled, dataset, network, progress = training.settled, training.dataset, training.network, training.progress
    events.emit(Phase("evaluating"))
    restore(network, best, settled.device)
    outputs = _outputs(training, check)
    calibration = _calibrate(training, outputs["validation"], events) if outputs else None
    answers = {name: _calibrated(part, calibration) for name, part in outputs.items()}
    metrics = _metrics(training, outputs, answers, calibration, check)
    if settled.eval_rows is not None:
        # Evaluations during training used only a part of the validation data; the final evaluation used all of it.
        figures = validation_figures(metrics["validation"], full=True)
        step, tokens = progress.best_step, progress.trained_tokens
        events.emit(Metrics(step, settled.total_steps, figures, 1.0, 0.0, tokens, final=True))
    if baseline is not None:
        _compare(baseline, training, metrics, answers, events)
    events.emit(Phase("publishing"))
    done = _done(training, metrics)
    text = card.write(spec, settled, dataset.facts, metrics, done.parameters, calibration)
    results.write_csv(run / RESULTS, progress.history)
    errors.write(run / ERRORS, _errors(training, answers, check))
    checkpoint.write_bytes(run / PROBES, encode(probes.of_validation(dataset.facts, dataset.validation)))
    checkpoint.write_bytes(run / "done.json", msgspec.json.encode(done))
    export.finish(run / "checkpoint", best, text, metrics, progress, dataset, calibration)
    return done


def _compare(
    baseline: Fitted, training: Training, metrics: dict[str, Any], answers: dict[str, OutputsAndTargets], events: Events
) -> None:
    """Compare the network with the baseline, emit a note, and add the comparison to the metrics."""
    config = training.settled.config
    if report := compare(baseline, config.task, config.architecture, metrics, answers):
        events.note("comparison", training.progress.best_step, report["summary"], **report["comparison"])
        metrics[BASELINE] = report


def _done(training: Training, metrics: dict[str, Any]) -> Done:
    config, progress = training.settled.config, training.progress
    return Done(
        checkpoint="checkpoint",
        task=config.task,
        architecture=config.architecture,
        parameters=sum(parameter.numel() for parameter in training.network.parameters()),
        metrics=metrics,
        trained_tokens=progress.trained_tokens,
        results=RESULTS,
        step=progress.best_step,
        errors=ERRORS,
        probes=PROBES,
    )


def _errors(training: Training, answers: dict[str, OutputsAndTargets], check: Callable[[], None]) -> errors.RowErrors:
    """Return the errors on the validation data, which are used to compare the trials of an auto job."""
    if isinstance(training.network, LanguageModel):
        return errors.of_text(training.network, _splits(training)["validation"], check)
    return errors.of_rows(training.dataset.facts.task, *answers["validation"])


def _outputs(training: Training, check: Callable[[], None]) -> dict[str, OutputsAndTargets]:
    """Return the network's outputs for each held-out split; empty for generation."""
    network = training.network
    if isinstance(network, LanguageModel):
        return {}
    return {name: outputs_of(network, split, check) for name, split in _splits(training).items()}


def _splits(training: Training) -> dict[str, EvaluationSplit]:
    dataset, device = training.dataset, training.settled.device
    return {
        name: EvaluationSplit(data, dataset.facts, device) for name, data in dataset.parts.items() if name != "train"
    }


def _metrics(
    training: Training,
    outputs: dict[str, OutputsAndTargets],
    answers: dict[str, OutputsAndTargets],
    calibration: Calibration | None,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Return the metrics of each held-out split, keyed by the split's name.

    If there is a calibration, metrics are computed from calibrated outputs, as the service returns them.
    """
    facts = training.dataset.facts
    if answers:
        metrics = {name: measure(facts, *part) for name, part in answers.items()}
    else:
        metrics = {name: evaluate(training.network, split, check) for name, split in _splits(training).items()}
    if calibration is not None:
        metrics = _with_evidence(metrics, facts, outputs, calibration)
    digests = facts.report.get("sha256", {})  # earlier releases did not store this value with the data
    for name, values in metrics.items():
        if name in digests:
            values["rows_sha256"] = digests[name]
        check_metrics(name, values, training.progress.best_step, training.settled)
    return metrics


def _calibrated(outputs: OutputsAndTargets, calibration: Calibration | None) -> OutputsAndTargets:
    logits_NC, targets = outputs
    return outputs if calibration is None else (calibrate.apply(calibration, logits_NC), targets)


def _with_evidence(
    metrics: dict[str, Any], facts: Facts, outputs: dict[str, OutputsAndTargets], calibration: Calibration
) -> dict[str, Any]:
    """Return the metrics, including those of the calibration.

    For the figures of the validation split, each row is calibrated with values that were fitted to other rows.
    """
    figures = {"validation": calibrate.own_evidence(calibration)}
    if "test" in outputs:
        figures["test"] = calibrate.evidence(facts, calibration, *outputs["test"])
    return {name: values | figures[name] for name, values in metrics.items()}


def _calibrate(training: Training, validation: OutputsAndTargets, events: Events) -> Calibration | None:
    """Calibrate the network and emit a note about it. Returns None if rows are too few or outputs are not finite."""
    step, rows = training.progress.best_step, held_out_rows(training, validation)
    if rows is None or len(rows.targets) < calibrate.FEWEST:
        count = quantity(0 if rows is None else len(rows.targets), "held-out row")
        message = (
            f"the probabilities are not calibrated: this requires {calibrate.FEWEST} held-out rows; there are {count}"
        )
        events.note("no_calibration", step, message)
        return None
    if not np.isfinite(rows.outputs_NC).all():
        return None  # the metrics are not finite either, so the run fails later
    weighted = training.settled.class_weights is not None
    calibration = calibrate.calibrate(training.dataset.facts, rows, weighted=weighted)
    events.note("calibration", step, trust.summary(calibration, selects=training.settled.metric != "last"))
    return calibration
