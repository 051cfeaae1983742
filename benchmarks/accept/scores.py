"""Checks a regression, which predicts the sentiment of a text as a number from -4 to 4."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accept.record import Record
from benchmarks.accept.sources import source
from benchmarks.service import running
from models.choices import NETWORKS

R2 = 0.53


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = source(data, "sentiment_vader.csv")
    best = -1.0
    with running(folder / "data") as service:
        file = service.upload(path)
        for architecture in NETWORKS:
            created = service.train(
                model=architecture, training_file=file, suffix=f"score-{architecture}", seed=1, task="regression",
                columns={"value": "score"},
            )  # fmt: skip
            job = service.finish(created["id"], 1800)
            record.equal(f"{architecture} status", job["status"], "succeeded")
            if job["status"] == "succeeded":
                r2 = service.version(job["fine_tuned_model"])["metrics"]["test"]["r2"]
                record.notes[f"{architecture} r2"] = r2
                best = max(best, r2)
    record.at_least("test R2 of the best architecture", best, R2)
