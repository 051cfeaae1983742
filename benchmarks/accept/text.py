"""Compares the default recipe for language models with nanoGPT's CPU recipe on a book, and trains with a time limit.

The reference is nanoGPT's recipe, in benchmarks/language_model.py. Time limits are multiples of the time that the
reference takes in the same run, so the machine should otherwise be idle.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import language_model
from benchmarks.accept.record import Record
from benchmarks.accept.sources import source
from benchmarks.service import Service, running

STEPS, SHARE = 2000, 0.25  # steps of the reference; the share of its time within which our loop must be as good
LONG, BITS = 7.0, 1.85  # time limit in multiples of the reference's time; maximum bits per character after that time


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = source(data, "lm_shakespeare.txt")
    prepared = language_model.prepared(path, folder)
    seconds = {}
    for architecture in ("transformer", "lstm"):
        spent, bits, parameters = language_model.reference(architecture, path.read_text(encoding="utf-8"), STEPS)
        record.notes[f"{architecture} reference"] = {"seconds": spent, "bits": bits, "parameters": parameters}
        curve = []
        for point in language_model.ours(architecture, prepared, spent, spent / 40):
            curve.append(point)
            if point[1] <= bits:
                break
        reached = curve[-1][0] / spent if curve[-1][1] <= bits else float("inf")
        record.notes[f"{architecture} curve"] = curve
        what = f"{architecture}: share of the reference's {spent:.0f} s until its {bits:.3f} bits per character"
        record.at_most(what, reached, SHARE)
        seconds[architecture] = LONG * spent
    with running(folder / "data") as service:
        file = service.upload(path)
        for architecture, limit in seconds.items():
            _train(record, service, architecture, file, limit)


def _train(record: Record, service: Service, architecture: str, file: str, seconds: float) -> None:
    """Train within a time limit, as a user would."""
    training = {"max_seconds": round(seconds)}
    created = service.train(
        model=architecture, training_file=file, suffix=f"text-{architecture}", seed=1, training=training
    )
    job = service.finish(created["id"], 4 * seconds)
    record.equal(f"{architecture} status", job["status"], "succeeded")
    if job["status"] != "succeeded":
        record.notes[architecture] = job["error"]
        return
    version = service.version(job["fine_tuned_model"])
    record.notes[f"{architecture} parameters"] = version["parameters"]
    bits = version["metrics"]["validation"]["bits_per_character"]
    record.at_most(f"{architecture} held-out bits per character after {seconds:.0f} s", bits, BITS)
    text, reason = service.stream(job["fine_tuned_model"], "ROMEO:", max_tokens=60, seed=1, temperature=0.8)
    record.add(f"{architecture} streams", reason, "a finish reason, some text", bool(text and reason))
    record.notes[f"{architecture} sample"] = text
