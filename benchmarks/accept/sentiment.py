"""Checks sentiment classification through the HTTP API with default settings: every model must match a linear SVM.

On TF-IDF features of the same rows, the SVM reaches an accuracy of 0.693 and a macro-F1 of 0.644. The bounds are close
to these figures; the bounds for `auto` are higher. All figures are means over the seeds; set ACCEPT_SEEDS to `1` for
one seed.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks.accept.record import Record
from benchmarks.accept.sources import majority, rows, source
from benchmarks.service import Service, running

SEEDS = [int(seed) for seed in os.environ.get("ACCEPT_SEEDS", "1,2,3").split(",")]
MODELS: dict[str, tuple[float, float]] = {  # the minimum test accuracy and macro-F1
    "linear": (0.688, 0.0),
    "lstm": (0.693, 0.640),
    "gru": (0.693, 0.640),
    "transformer": (0.693, 0.640),
    "auto": (0.705, 0.655),
}
RNN_GAIN = 0.15  # the minimum gain in accuracy over always answering the most frequent label
MINUTES = 10  # the time limit for one network; auto has none, because it trains several


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = source(data, "sentiment_vader.csv")
    examples = rows(path)
    labels = {row["label"] for row in examples}
    text = next(row["text"] for row in examples if row["split"] == "test")
    with running(folder / "data") as service:
        file = service.upload(path)
        for model, (accuracy, macro_f1) in MODELS.items():
            runs = [_train(record, service, model, file, seed) for seed in SEEDS]
            record.at_least(f"{model} test accuracy", statistics.mean(run["accuracy"] for run in runs), accuracy)
            record.at_least(f"{model} test macro-F1", statistics.mean(run["macro_f1"] for run in runs), macro_f1)
            record.notes[model] = runs
            label = service.classify(f"sentiment-{model}", text)["data"][0]["label"]
            record.add(f"{model} answers", label, "a label", label in labels)
        rnn = _train(record, service, "rnn", file, 1)
        record.at_least("rnn test accuracy", rnn["accuracy"], majority(examples) + RNN_GAIN)


def _train(record: Record, service: Service, model: str, file: str, seed: int) -> dict[str, Any]:
    created = service.train(model=model, training_file=file, suffix=f"sentiment-{model}", seed=seed)
    job = service.finish(created["id"], 3600)
    record.equal(f"{model} status", job["status"], "succeeded")
    if job["status"] != "succeeded":
        raise RuntimeError(f"{model}: {job['error']}")
    minutes = (job["finished_at"] - job["started_at"]) / 60
    if model != "auto":
        record.at_most(f"{model} minutes", minutes, MINUTES)
    metrics = service.version(job["fine_tuned_model"])["metrics"]
    figures = {name: round(metrics["test"][name], 4) for name in ("accuracy", "macro_f1", "ece")}
    chosen = [trial["model"] for trial in job["trials"] if trial["chosen"]]
    summary = metrics.get("baseline", {}).get("summary")
    return figures | {"minutes": round(minutes, 2), "chosen": chosen, "summary": summary}
