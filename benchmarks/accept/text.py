"""Ten minutes of training on a book, for an LSTM and a Transformer of one to two million parameters."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accept.record import Record
from benchmarks.accept.sources import source
from benchmarks.service import running

BITS = 2.4


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = source(data, "lm_shakespeare.txt")
    with running(folder / "data") as service:
        file = service.upload(path)
        for architecture in ("lstm", "transformer"):
            created = service.train(
                model=architecture, training_file=file, suffix=f"text-{architecture}", seed=1,
                training={"max_seconds": 600},
            )  # fmt: skip
            job = service.finish(created["id"], 1500)
            record.equal(f"{architecture} status", job["status"], "succeeded")
            if job["status"] != "succeeded":
                record.notes[architecture] = job["error"]
                continue
            version = service.version(job["fine_tuned_model"])
            parameters, bits = version["parameters"], version["metrics"]["validation"]["bits_per_character"]
            record.add(f"{architecture} parameters", parameters, "1 to 2 million", 1e6 <= parameters <= 2e6)
            record.at_most(f"{architecture} held-out bits per character", bits, BITS)
            text, reason = service.stream(job["fine_tuned_model"], "ROMEO:", max_tokens=60, seed=1, temperature=0.8)
            record.add(f"{architecture} streams", reason, "a finish reason, some text", bool(text and reason))
            record.notes[f"{architecture} sample"] = text
