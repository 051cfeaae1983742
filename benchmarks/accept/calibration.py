"""Checks on test rows that the guarantees for calibrated probabilities, prediction sets and abstention hold.

The networks are trained with default settings. A network's test rows are randomly divided in half 20 times: a
calibration is fitted to one half and measured on the other. This requires no further training.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.checkpoint.calibration import APART, Calibration
from app.training.calibration.calibrate import CalibrationRows, apply, calibrate, evidence, probabilities
from app.training.calibration.reliability import answers, reliability
from app.training.prepare.dataset import Facts
from benchmarks.accept.record import Record
from benchmarks.accept.sources import rows, source
from benchmarks.service import Service, running

SPLITS, ECE, LARGE = 20, 0.03, 5000
RISKS = (0.1, 0.2)
TEST_ROWS = 6000  # in the second run, which therefore has fewer training rows
Array = NDArray[Any]


def check(record: Record, data: Path | None, folder: Path) -> None:
    examples = rows(source(data, "sentiment_vader.csv"))
    with running(folder / "data") as service:
        for name, table in (("as split", examples), (f"{TEST_ROWS} test rows", _resplit(examples))):
            path = folder / f"{name.replace(' ', '-')}.csv"
            _write(path, table)
            _measure(record, service, path, name, [row for row in table if row["split"] == "test"])


def _resplit(examples: list[dict[str, str]]) -> list[dict[str, str]]:
    """Shuffle the rows. The first rows become test rows, and 10 % of the other rows become validation rows."""
    shuffled = [dict(row) for row in examples]
    random.Random(1).shuffle(shuffled)
    for number, row in enumerate(shuffled):
        row["split"] = "test" if number < TEST_ROWS else "val" if number % 10 == 0 else "train"
    return shuffled


def _write(path: Path, table: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)


def _measure(record: Record, service: Service, path: Path, name: str, test: list[dict[str, str]]) -> None:
    created = service.train(model="gru", training_file=service.upload(path), suffix="calibration", seed=1)
    job = service.finish(created["id"], 3600)
    record.equal(f"{name}: status", job["status"], "succeeded")
    if job["status"] != "succeeded":
        return
    version = service.version(job["fine_tuned_model"])
    metrics = version["metrics"]["test"]
    record.notes[name] = {key: metrics[key] for key in ("accuracy", "ece", "ece_uncalibrated", "sets_90", "sets_95")}
    logits_NC = _logits(service, job["fine_tuned_model"], [row["text"] for row in test])
    facts = Facts("classification", "tokens", "rows", labels=version["labels"])
    targets_N = np.asarray([facts.labels.index(row["label"]) for row in test])
    probs_NC = probabilities("classification", logits_NC)
    bound = ECE if len(test) >= LARGE else _perfect(probs_NC)
    record.at_most(f"{name}: expected calibration error", metrics["ece"], bound)
    _resampled(record, name, facts, logits_NC, targets_N)


def _logits(service: Service, reference: str, texts: list[str]) -> Array:
    """Return the calibrated logits of all texts."""
    logits: list[list[float]] = []
    for start in range(0, len(texts), 200):
        reply = service.classify(reference, texts[start : start + 200], use_activation=False, truncate_prompt_tokens=-1)
        logits += [item["probs"] for item in reply["data"]]
    return np.asarray(logits)


def _perfect(probs_NC: Array) -> float:
    """Return the 95 % quantile of the calibration error of a perfectly calibrated model with the same scores."""
    scores_N, generator = probs_NC.max(1), np.random.default_rng(0)
    draws = [reliability(scores_N, generator.random(len(scores_N)) < scores_N).ece for _ in range(1000)]
    return float(np.quantile(draws, 0.95))


def _resampled(record: Record, name: str, facts: Facts, logits_NC: Array, targets_N: Array) -> None:
    """Calibrate on random halves of the test rows, and measure prediction sets and abstention on the other halves."""
    coverages, sizes, kept = [], [], {risk: 0 for risk in RISKS}
    shares: dict[float, list[float]] = {risk: [] for risk in RISKS}
    for number in range(SPLITS):
        order_N = np.random.default_rng(number).permutation(len(targets_N))
        ours, others = np.array_split(order_N, 2)
        made = calibrate(facts, CalibrationRows(logits_NC[ours], targets_N[ours], APART))
        sets = evidence(facts, made, logits_NC[others], targets_N[others])["sets_90"]
        coverages.append(sets["coverage"])
        sizes.append(sets["mean_size"])
        for risk in RISKS:
            share, errors = _abstaining(made, risk, logits_NC[others], targets_N[others])
            kept[risk] += errors <= risk
            shares[risk].append(share)
    error = float(np.std(coverages, ddof=1) / SPLITS**0.5)
    record.at_least(f"{name}: mean coverage of 90 % sets", float(np.mean(coverages)), 0.9 - 2 * error)
    record.notes[f"{name}: mean size of 90 % sets"] = float(np.mean(sizes))
    for risk in RISKS:
        record.at_least(f"{name}: splits in which the errors stay within {risk}", kept[risk], 0.9 * SPLITS)
        record.notes[f"{name}: answered at a risk of {risk}"] = float(np.mean(shares[risk]))


def _abstaining(made: Calibration, risk: float, logits_NC: Array, targets_N: Array) -> tuple[float, float]:
    """Return the share of answered rows and the error rate among them."""
    level = made.level(risk)
    if level is None:
        return 0.0, 0.0
    scores_N, right_N = answers("classification", probabilities("classification", apply(made, logits_NC)), targets_N)
    chosen_N = scores_N >= level.score
    return float(chosen_N.mean()), float((~right_N[chosen_N]).mean()) if chosen_N.any() else 0.0
