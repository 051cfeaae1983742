"""Checks that tokenizers lose no text, and that `auto` identifies languages with at least sixty texts."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from app.tokenization.training import train
from benchmarks.accept.record import Record
from benchmarks.accept.sources import rows, source
from benchmarks.service import running

ACCURACY, FEWEST = 0.985, 60


def check(record: Record, data: Path | None, folder: Path) -> None:
    texts_and_labels = rows(source(data, "langid_udhr.csv"))
    texts = [row["text"] for row in texts_and_labels]
    for kind in ("bpe", "char", "byte"):
        tokenizer = train(texts, kind, 2000)
        record.equal(f"texts that {kind} changes", sum(tokenizer.decode(tokenizer.encode(t)) != t for t in texts), 0)
    counts = Counter(row["label"] for row in texts_and_labels)
    kept = [row for row in texts_and_labels if counts[row["label"]] >= FEWEST]
    with (folder / "languages.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    record.notes |= {"texts": len(kept), "labels": len({row["label"] for row in kept})}
    with running(folder / "data") as service:
        file = service.upload(folder / "languages.csv")
        created = service.train(model="auto", training_file=file, suffix="languages", seed=1)
        job = service.finish(created["id"], 3600)
        record.equal("status", job["status"], "succeeded")
        if job["status"] == "succeeded":
            metrics = service.version(job["fine_tuned_model"])["metrics"]["test"]
            record.at_least("test accuracy", metrics["accuracy"], ACCURACY)
