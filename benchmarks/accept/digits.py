"""Checks that every architecture learns to classify handwritten digits, which are sequences of 8 rows of 8 numbers."""

from __future__ import annotations

import json
from pathlib import Path

from sklearn.datasets import load_digits

from benchmarks.accept.record import Record
from benchmarks.service import running
from models.choices import NETWORKS

ACCURACY = 0.98


def write(path: Path) -> None:
    """Write the digits as JSONL with a `split` column."""
    digits = load_digits()
    with path.open("w", encoding="utf-8") as stream:
        for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            split = "test" if number % 5 == 0 else "validation" if number % 5 == 1 and number % 2 else "train"
            row = {"features": image.tolist(), "label": str(label), "split": split}
            stream.write(json.dumps(row) + "\n")


def check(record: Record, data: Path | None, folder: Path) -> None:
    write(folder / "digits.jsonl")
    image = load_digits().images[0].tolist()
    with running(folder / "data") as service:
        file = service.upload(folder / "digits.jsonl")
        jobs = {a: service.train(model=a, training_file=file, suffix=f"digits-{a}", seed=1)
                for a in NETWORKS}  # fmt: skip
        for architecture, created in jobs.items():
            job = service.finish(created["id"], 1800)
            record.equal(f"{architecture} status", job["status"], "succeeded")
            if job["status"] == "succeeded":
                metrics = service.version(job["fine_tuned_model"])["metrics"]["test"]
                record.at_least(f"{architecture} test accuracy", metrics["accuracy"], ACCURACY)
                label = service.classify(job["fine_tuned_model"], [image])["data"][0]["label"]
                record.equal(f"{architecture} reads the first digit", label, "0")
