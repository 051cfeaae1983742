"""A service with one model of each kind, for the tests of the console: the API, and a fake engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.jobs.claims import JobClaims
from app.jobs.records import SUCCEEDED, TRAINING_LANE
from tests.clients.console import claimed_job
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, engine_of, settings_in

LABELS = ("negative", "neutral", "positive")
FIGURES = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 45}
METRICS: dict[str, Any] = {
    "rows": 140, "accuracy": 0.89, "per_class": dict.fromkeys(LABELS, FIGURES),
    "confusion_matrix": [[25, 3, 17], [14, 20, 1], [0, 23, 37]], "rows_sha256": "e5" * 32,
}  # fmt: skip
EVIL = "<img src=x onerror=window.hacked=1>"
CARD = f"""# LSTM for classification

An LSTM with **80** parameters, for `{EVIL}`.

| | test |
|---|---|
| rows | 140 |

- seed 3
"""
ROWS_SHA = "5f" * 32
BINS = [{"rows": 70, "confidence": 0.6, "accuracy": 0.7}, {"rows": 70, "confidence": 0.95, "accuracy": 0.97}]
RISK = [
    {"score": 0.9, "answered": 0.2, "errors": 0.0, "bound": 0.045},
    {"score": 0.5, "answered": 1.0, "errors": 0.11, "bound": 0.15},
]
CALIBRATION: dict[str, Any] = {
    "format_version": 1, "rows": 140, "method": "apart", "scale": [1.0], "bias": [],
    "scores": {"rows": 140, "values": [i / 140 for i in range(140)]},
    "risk": RISK, "confidence": 0.975, "after": {"ece": 0.04, "bins": BINS},
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "seed": 3,
    "spec": {
        "model": "lstm",
        "training_file": {"filename": "moods.csv"},
        "training": {"epochs": 4.0, "encoding": "utf-8", "skip_bad_rows": 0.1},
        "validation_split": 0.2,
        "columns": {"text": "text", "label": "of an earlier file"},
    },
    "settled": {"learning_rate": 0.0125, "optimizer": "adamw", "model": {}},
    "data": {
        "training_file": ROWS_SHA,
        "validation_file": None,
        "report": {
            "rows": {"train": 900, "test": 140},
            "labels": {"train": dict.fromkeys(LABELS, 300)},
            "length_histogram": {"edges": [1, 4, 8, 16], "counts": {"train": [10, 30, 5]}, "unit": "tokens"},
            "remarks": [],
        },
    },
}
PREDICTIONS = (
    "row,text,label,predicted,correct,probability\n7,so so,positive,neutral,0,0.8\n9,great,positive,positive,1,0.9\n"
)
MISTAKE = {"labels": ["positive"], "predicted": ["neutral"], "probabilities": {"neutral": 0.8}, "where": "line 7"}
TRAINED_ON = "the evaluated rows of a.csv are the training rows of mood:1"
REPORT: dict[str, Any] = {
    "metrics": METRICS, "split": "test", "mistakes": [{"text": f"so so {EVIL}", **MISTAKE}],
    "rows_sha256": METRICS["rows_sha256"], "warnings": [],
}  # fmt: skip


@dataclass
class Showroom:
    """The running service. `mood:1` has a job and its files; `mood:2` has metrics only."""

    api: Api
    shelf: Shelf
    engine: FakeEngine
    job: str

    @property
    def url(self) -> str:
        return self.api.url

    def finish_evaluation(self, report: dict[str, Any] = REPORT) -> str:
        """Run the oldest queued evaluation, like a worker. Returns its id."""
        claims, services = JobClaims(self.api.services.database), self.api.services
        file = services.files.create("local", "predictions.csv", "evals", iter([PREDICTIONS.encode()]))
        with services.database.transaction() as session:
            job = claims.claim(session, "worker", 600.0, 3, TRAINING_LANE)
            assert job is not None and job.kind == "evaluation"
            claims.finish(session, job.id, job.attempt, SUCCEEDED, result_files=[file.id], report=report)
        return job.id


@contextmanager
def showroom(folder: Path, database: Path) -> Iterator[Showroom]:
    """Start the service in a folder. `database` is an empty SQLite file with the tables."""
    settings = settings_in(folder / "data")
    settings.data.mkdir(parents=True)
    shutil.copy(database, settings.data / "ostinato.db")
    shelf = Shelf(settings, folder)
    with engine_of(settings) as engine, Api(settings) as api:
        api.wait_ready()
        job = claimed_job(api, table=b"text,label,split\nbad,negative,train\nso so,positive,test\n")
        files = {"training.json": json.dumps(TRAINING), "README.md": CARD, "calibration.json": json.dumps(CALIBRATION)}
        shelf.classifier("mood", alias="champion", metrics={"test": METRICS}, files=files, job_id=job)
        shelf.classifier("mood", metrics={"test": METRICS | {"accuracy": 0.91}})
        shelf.classifier("rival")
        shelf.put("waves", input="features", features=2, labels=LABELS)
        shelf.generator("echo")
        yield Showroom(api, shelf, engine, job)
    shelf.close()
