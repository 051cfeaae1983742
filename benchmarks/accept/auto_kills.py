"""Sends kill -9 at random moments during an auto job, ten times each with SQLite and with PostgreSQL.

The job must end with the same weights and trial table as an undisturbed job.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.accept.kills import ends, on_each_database, weights
from benchmarks.accept.record import Record
from benchmarks.accept.sets import LabelledSet, build
from benchmarks.service import ENDED, Service, running, wait_until

KILLS, SHORTEST, LONGEST = 10, 0.5, 6.0  # the number of kills per database; the seconds between two kills
SETTINGS = {"OSTINATO_LEASE_SECONDS": "5", "OSTINATO_RESUME_EVERY_SECONDS": "2", "OSTINATO_MAX_ATTEMPTS": "100"}
TRAINING = {"max_steps": 150}


def check(record: Record, data: Path | None, folder: Path) -> None:
    labelled = build(data)["books"]()
    on_each_database(lambda backend, url: _check_backend(record, folder / backend, labelled, backend, SETTINGS | url))


def _check_backend(
    record: Record, folder: Path, labelled: LabelledSet, backend: str, settings: Mapping[str, str]
) -> None:
    with running(folder, settings=settings) as service:
        file = service.upload(labelled.write(folder))
        whole = service.finish(_train(service, file)["id"], 1800)
        record.equal(f"{backend} uninterrupted", whole["status"], "succeeded")
        job_id = _train(service, file)["id"]
        hits = _kill_at_random(service, job_id)
        record.equal(f"{backend} kills", sum(hits.values()), KILLS)
        record.notes[f"{backend} kills"] = dict(hits)
        killed = service.finish(job_id, 3600)
        record.equal(f"{backend} after the kills", killed["status"], "succeeded")
        record.equal(f"{backend} SHA-256 of the winner's weights", weights(service, killed), weights(service, whole))
        record.equal(f"{backend} table of trials", _table(killed), _table(whole))
        record.equal(f"{backend} ends of the two jobs", [ends(service, j["id"]) for j in (whole, killed)], [1, 1])


def _train(service: Service, file: str) -> dict[str, Any]:
    return service.train(model="auto", training_file=file, suffix="killed-auto", seed=7, training=TRAINING)


def _kill_at_random(service: Service, job_id: str) -> Counter[str]:
    """Kill the trainer or the worker at random moments. Returns how often each was killed."""
    draw, hits = random.Random(11), Counter[str]()
    while sum(hits.values()) < KILLS and service.job(job_id)["status"] not in ENDED:
        time.sleep(draw.uniform(SHORTEST, LONGEST))
        program = draw.choice(("trainer", "worker"))
        wait_until(lambda: service.pid("worker"), 60, "a running worker")
        if service.pid(program) and service.job(job_id)["status"] not in ENDED:
            service.kill(program)
            hits[program] += 1
    return hits


def _table(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table of trials, without their ids."""
    return [{name: value for name, value in trial.items() if name != "id"} for trial in job["trials"]]
