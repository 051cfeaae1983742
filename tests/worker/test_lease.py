"""The lease of a job: cancellation, a claim by another worker, and an unavailable database."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.db.database import Database, DatabaseUnavailable
from app.db.tables import JobRow
from app.worker.resources import Resources
from tests.jobs.fixtures import Queue, until
from tests.promises import kept
from tests.worker.running import LONG, reached, working


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cancelled_trainer_is_gone_within_two_seconds(queue: Queue, resources: Resources, stubborn: bool) -> None:
    def cancelling() -> float:
        job = queue.create(plan=LONG | {"stubborn": stubborn})
        until(reached(queue, job))
        pid = json.loads((resources.trainers.folder / f"{job.id}.json").read_bytes())["pid"]
        queue.jobs.cancel(job.id, "alice")
        start = time.monotonic()
        until(lambda: not Path(f"/proc/{pid}").exists())
        seconds = time.monotonic() - start
        until(lambda: queue.get(job).status == "cancelled")
        return seconds

    with working(resources):
        kept(2.0, cancelling)


def test_a_fenced_worker_kills_its_trainer_and_changes_nothing(queue: Queue, resources: Resources) -> None:
    job = queue.create(plan=LONG)
    with working(resources) as worker:
        until(reached(queue, job))
        entry = resources.trainers.folder / f"{job.id}.json"
        with queue.database.transaction() as session:  # as if another worker had claimed it
            values = {"attempt": 7, "lease_owner": "another", "lease_until": JobRow.lease_until + 300}
            session.execute(update(JobRow).values(**values))
        before = queue.get(job)
        until(lambda: not entry.exists())
        worker.stop()
    assert queue.get(job) == before


def test_a_worker_waits_for_an_unavailable_database(
    queue: Queue, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.create(plan={"steps": 100, "step_seconds": 0.02})
    outage, refused = threading.Event(), list[str]()
    real = Database.transaction

    def transaction(self: Database) -> Any:
        if outage.is_set() and self is resources.database:
            refused.append(threading.current_thread().name)
            raise DatabaseUnavailable("unavailable")
        return real(self)

    monkeypatch.setattr(Database, "transaction", transaction)
    with working(resources):
        until(reached(queue, job))
        outage.set()
        until(lambda: len(refused) >= 4, resources.settings.lease_seconds)
        outage.clear()
        done = until(lambda: (row := queue.get(job)).ended and row)
    assert (done.status, done.attempt) == ("succeeded", 1)
    assert queue.steps(job) == list(range(1, 101))
