"""Trains a linear model and a GRU on a CSV file of 2,000,000 rows, within 2 GiB of memory. The linear model may take at
most twice as long as scikit-learn.

The reference reads the same file, hashes its words, and fits a linear model by stochastic gradient descent in one pass
(scikit-learn's HashingVectorizer and SGDClassifier). Set ACCEPT_ROWS to a smaller number of rows for a quick run.
"""

from __future__ import annotations

import csv
import itertools
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier

from benchmarks.accept.record import Record
from benchmarks.service import Service, running

ROWS = int(os.environ.get("ACCEPT_ROWS", "2000000"))
MEMORY, TIMES = 2.0, 2.0  # maximum memory of the trainer in GiB; maximum time as a multiple of the reference's
GRU_STEPS = 200  # the memory of a run does not depend on the number of its steps
LABELS, TOPICS, WORDS, TEST_ROWS = 4, 300, 20_000, 5_000
_BATCH = 10_000


def write(path: Path, rows: int) -> None:
    """Write texts of 5 to 20 words. One word in ten belongs to the topic of the row's label."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(WORDS)]
    topics = [words[label * TOPICS : (label + 1) * TOPICS] for label in range(LABELS)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "split"])
        for number in range(rows + TEST_ROWS):
            label = draw.randrange(LABELS)
            text = [draw.choice(topics[label] if draw.random() < 0.1 else words) for _ in range(draw.randint(5, 20))]
            writer.writerow([" ".join(text), f"topic {label}", "train" if number < rows else "test"])


def _batches(path: Path, split: str) -> Iterator[tuple[list[str], list[str]]]:
    with path.open(encoding="utf-8", newline="") as stream:
        chosen = (row for row in csv.DictReader(stream) if row["split"] == split)
        while batch := list(itertools.islice(chosen, _BATCH)):
            yield [row["text"] for row in batch], [row["label"] for row in batch]


def reference(path: Path) -> float:
    """Fit the reference and return its test accuracy."""
    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=2**20)
    model = SGDClassifier(loss="log_loss")
    classes = [f"topic {label}" for label in range(LABELS)]
    for texts, labels in _batches(path, "train"):
        model.partial_fit(vectorizer.transform(texts), labels, classes=classes)
    texts, labels = next(_batches(path, "test"))
    return float(model.score(vectorizer.transform(texts), labels))


def check(record: Record, data: Path | None, folder: Path) -> None:
    path = folder / "large.csv"
    write(path, ROWS)
    record.notes["rows"], record.notes["megabytes"] = ROWS, round(path.stat().st_size / 1e6)
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.accept.large", str(path)]
    accuracy = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])
    seconds = time.perf_counter() - began
    record.notes["reference"] = {"seconds": round(seconds, 1), "test accuracy": accuracy}
    with running(folder / "data") as service:
        file = service.upload(path)
        took, figures = _train(record, service, "linear", file, {})
        record.at_most("linear: time as a multiple of the reference's", took / seconds, TIMES)
        record.at_least("linear: test accuracy less the reference's", figures["accuracy"] - accuracy, -0.01)
        _train(record, service, "gru", file, {"max_steps": GRU_STEPS})


def _train(
    record: Record, service: Service, model: str, file: str, training: dict[str, Any]
) -> tuple[float, dict[str, Any]]:
    """Train, and return the seconds from the request until the version is ready, and the test figures."""
    began = time.perf_counter()
    created = service.train(model=model, training_file=file, suffix=f"large-{model}", seed=1, training=training)
    with _Peak(service) as peak:
        job = service.finish(created["id"], 6 * 3600)
    took = time.perf_counter() - began
    record.equal(f"{model}: status", job["status"], "succeeded")
    if job["status"] != "succeeded":
        raise RuntimeError(f"{model}: {job['error']}")
    record.at_most(f"{model}: memory of the trainer, GiB", peak.bytes / 2**30, MEMORY)
    figures = service.version(job["fine_tuned_model"])["metrics"]["test"]
    record.notes[model] = {"seconds": round(took, 1), "test accuracy": figures["accuracy"]}
    return took, figures


class _Peak:
    """Context manager that measures the peak resident memory of the trainer and the programs that it starts."""

    def __init__(self, service: Service) -> None:
        self.bytes, self._service, self._done = 0, service, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            if pid := self._service.pid("trainer"):
                self.bytes = max(self.bytes, *(_peak_of(int(each)) for each in _group(pid)), 0)


def _group(leader: int) -> list[str]:
    """Return the process ids of a process group."""
    listed = subprocess.run(["ps", "-o", "pid=", "-g", str(leader)], capture_output=True, text=True, check=False)
    return [*listed.stdout.split(), str(leader)]


def _peak_of(pid: int) -> int:
    """Return the peak resident memory of a process, in bytes, or 0 if the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


if __name__ == "__main__":
    print(reference(Path(sys.argv[1])), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
