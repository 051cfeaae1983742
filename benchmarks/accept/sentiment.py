"""Sentiment classification through the HTTP API with default settings: all four architectures learn and answer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accept.record import Record
from benchmarks.accept.sources import majority, rows, source
from benchmarks.service import running

MACRO_F1 = 0.58


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = source(data, "sentiment_vader.csv")
    examples = rows(path)
    most_frequent = majority(examples)
    text = next(row["text"] for row in examples if row["split"] == "test")
    with running(folder / "data") as service:
        file = service.upload(path)
        for architecture in ("rnn", "lstm", "gru", "transformer"):
            created = service.train(model=architecture, training_file=file, suffix=f"sentiment-{architecture}", seed=1)
            job = service.finish(created["id"], 1200)
            record.equal(f"{architecture} status", job["status"], "succeeded")
            if job["status"] != "succeeded":
                record.notes[architecture] = job["error"]
                continue
            metrics = service.version(job["fine_tuned_model"])["metrics"]["test"]
            record.at_most(f"{architecture} minutes", (job["finished_at"] - job["created_at"]) / 60, 10)
            record.at_least(f"{architecture} test accuracy", metrics["accuracy"], most_frequent + 0.15)
            if architecture in ("lstm", "transformer"):
                record.at_least(f"{architecture} test macro-F1", metrics["macro_f1"], MACRO_F1)
            record.notes[f"{architecture} macro_f1"] = metrics["macro_f1"]
            label = service.classify(job["fine_tuned_model"], text)["data"][0]["label"]
            record.add(f"{architecture} answers", label, "a label", label in {row["label"] for row in examples})
