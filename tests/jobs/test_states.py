"""Ends of jobs and batches enqueue the correct events for webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from app.jobs.batch_progress import EXPIRED
from app.jobs.claims import JobClaims
from app.jobs.records import CANCELLED, FAILED, SUCCEEDED
from app.jobs.states import JobStates
from tests.jobs.fixtures import OWNER, Queue, claim
from tests.webhooks.fixtures import add_endpoint, deliveries, events

VALUES: dict[str, Any] = {
    "owner": OWNER, "body_sha256": "0" * 64, "request": {}, "model": "m", "training_file": "f", "seed": 1,
    "publish_name": "",
}  # fmt: skip


def test_each_way_in_which_a_training_job_ends_has_an_event(queue: Queue) -> None:
    endpoint = add_endpoint(queue.database, OWNER)
    add_endpoint(queue.database, "bob")
    jobs, claims = [queue.create() for _ in range(3)], JobClaims(queue.database)
    for status in (SUCCEEDED, FAILED):
        job = claim(queue)
        with queue.database.transaction() as session:
            claims.finish(session, job.id, job.attempt, status)
    queue.jobs.cancel(jobs[2].id, OWNER)
    assert events(queue.database) == [
        (endpoint, f"fine_tuning.job.{status}", job.id)
        for status, job in zip(("succeeded", "failed", "cancelled"), jobs, strict=True)
    ]
    finished = [queue.get(job).finished_at for job in jobs]
    assert [row.created_at for row in deliveries(queue.database)] == finished


@pytest.mark.parametrize(
    ("status", "error", "event"),
    [
        (SUCCEEDED, None, "batch.completed"),
        (CANCELLED, None, "batch.cancelled"),
        (FAILED, {"code": "invalid_input_file", "message": "no requests", "param": None}, "batch.failed"),
        (FAILED, {"code": EXPIRED, "message": "too late", "param": None}, "batch.expired"),
    ],
)
def test_each_way_in_which_a_batch_ends_has_an_event(
    queue: Queue, status: str, error: dict[str, Any] | None, event: str
) -> None:
    endpoint, states = add_endpoint(queue.database, OWNER), JobStates(queue.database)
    with queue.database.transaction() as session:
        queue.jobs._repository.insert(session, id="batch-1", kind="batch", **VALUES)
        states.end(session, "batch-1", status, **({} if error is None else {"error": error}))
    assert events(queue.database) == [(endpoint, event, "batch-1")]


def test_jobs_that_pause_and_evaluations_have_no_event(queue: Queue) -> None:
    add_endpoint(queue.database, OWNER)
    job = queue.create()
    queue.jobs.pause(job.id, OWNER)
    claims = JobClaims(queue.database)
    with queue.database.transaction() as session:
        queue.jobs._repository.insert(session, id="evaljob-1", kind="evaluation", **VALUES)
    evaluation = claim(queue)
    assert evaluation.id == "evaljob-1"
    with queue.database.transaction() as session:
        claims.finish(session, evaluation.id, evaluation.attempt, SUCCEEDED)
    assert deliveries(queue.database) == []
