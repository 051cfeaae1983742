"""Measures how accurate the time estimates shown to users are: dry runs, and `estimated_finish` after a tenth of a run.

Performs five training runs on generated data. The machine should otherwise be idle.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.accept.record import Record
from benchmarks.service import ENDED, Service, checked, running, wait_until

LARGEST = 0.2  # the maximum median error of the remaining time that is estimated after a tenth of a run
WORDS, ROWS, LINES = 3000, 6000, 4000
SHARE = 0.1
RUNS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> (file, request)
    "lstm": ("texts.csv", {"model": "lstm", "training": {"epochs": 6}}),
    "gru": ("texts.csv", {"model": "gru", "training": {"epochs": 6}}),
    "transformer": ("texts.csv", {"model": "transformer", "training": {"epochs": 6}}),
    "language model": ("tale.txt", {"model": "lstm", "training": {"max_steps": 400}}),
    "linear": ("texts.csv", {"model": "linear"}),
}


def write_data(folder: Path) -> None:
    """Write a table of texts with four labels, and a plain text. Words are distributed as in natural language."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstu", k=draw.randint(2, 9))) for _ in range(WORDS)]
    weights = [1 / (rank + 2) for rank in range(WORDS)]

    def sentence() -> str:
        return " ".join(draw.choices(words, weights, k=draw.randint(5, 50)))

    with (folder / "texts.csv").open("w") as stream:
        stream.write("text,label\n")
        stream.writelines(f"{sentence()} {words[k % 4 * 7]},{'abcd'[k % 4]}\n" for k in range(ROWS))
    (folder / "tale.txt").write_text("".join(f"{sentence()}.\n" for _ in range(LINES)))


def measure(service: Service, file_id: str, request: dict[str, Any]) -> dict[str, float]:
    """Train once, and return the time of the run, and the relative errors of two estimates: that of a dry run, and the
    first one after a tenth of the run.
    """
    body = {"training_file": file_id, "seed": 1, **request}
    dry = checked(service.client.post("/v1/fine_tuning/jobs", params={"dry_run": "true"}, json=body, timeout=600))
    job_id = service.train(**body)["id"]
    early: dict[str, float] = {}

    def ended() -> dict[str, Any] | None:
        job = service.job(job_id)
        if not early and job["progress"] >= SHARE and job["estimated_finish"] is not None:
            early.update(progress=job["progress"], finish=job["estimated_finish"], now=time.time())
        return job if job["status"] in ENDED else None

    done = wait_until(ended, 1800, f"the end of {job_id}", every=0.3)
    assert done["status"] == "succeeded" and early, done["error"]
    took = done["finished_at"] - done["started_at"]
    left = done["finished_at"] - early["now"]
    return {
        "seconds": took,
        "dry_run": dry["seconds"],
        "dry_run_deviation": abs(dry["seconds"] - took) / took,
        "at": early["progress"],
        "left": left,
        "deviation": abs(early["finish"] - done["finished_at"]) / max(1.0, left),
    }


def check(record: Record, data: Path | None, folder: Path) -> None:
    write_data(folder)
    measured = {}
    with running(folder / "data") as service:
        files = {name: service.upload(folder / name) for name in ("texts.csv", "tale.txt")}
        for name, (file, request) in RUNS.items():
            measured[name] = {k: round(v, 3) for k, v in measure(service, files[file], request).items()}
            print(f"  {name}: {measured[name]}", flush=True)
    record.notes["runs"] = measured
    deviations = [run["deviation"] for run in measured.values()]
    record.at_most("median deviation of the time left after a tenth", statistics.median(deviations), LARGEST)
    of_dry_runs = [run["dry_run_deviation"] for run in measured.values()]
    record.at_most("median deviation of the dry run's time", statistics.median(of_dry_runs), 2 * LARGEST)
